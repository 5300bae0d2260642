// A plugin of TypeDoc: the API reference has a page for each entry of the package, named after it, and the main one is sorted by
// subject. What is inherited from Node is left to Node's own documentation.
import { Comment, CommentTag, Converter, IntrinsicType, RendererEvent } from 'typedoc';

/** What `connectx` exports, in the order of a reader's questions. An export that is not here is an error. */
const SUBJECTS = {
  TCP: ['connect', 'createConnection', 'Socket', 'ConnectOptions', 'SocketOptions'],
  UDP: ['connectUdp', 'connectUdpSync', 'UdpConnectOptions'],
  'Source options': [
    ...['SourceOptions', 'SourceAddresses', 'SourceFunction', 'PortRangeFunction', 'Destination', 'SocketOption'],
  ],
  'Source pools': [
    ...['SourcePool', 'SourcePoolOptions', 'PoolSource', 'ChooseSource', 'PoolStats', 'PoolSourceStats'],
    ...['StickySource', 'RestOptions', 'portSlice', 'PortSliceOptions'],
  ],
  Errors: ['ConnectxError', 'Reason', 'ErrorDetails'],
  'Ports in use': [
    ...['portUsage', 'UsageFilter', 'PortUsage', 'PortMonitor', 'PortMonitorOptions', 'PortMonitorEvents'],
    ...['listenerConflicts', 'ListenerConflict', 'SocketProcess'],
  ],
  Capabilities: ['capabilities', 'Capabilities', 'Runtime'],
  Tracing: ['ConnectTrace', 'TracedAttempt', 'TracedTechnique'],
};

const ORDER = Object.values(SUBJECTS).flat();
const subjectOf = (name) => Object.entries(SUBJECTS).find(([, names]) => names.includes(name))?.[0];

const signaturesOf = (reflection) => reflection.signatures ?? [];

function addCategory(reflection, subject) {
  for (const one of reflection.signatures ?? [reflection]) {
    one.comment ??= new Comment();
    one.comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: subject }]));
  }
}

/** What further signatures of a function repeat, and what only says how a class is made. */
function shorten(reflection) {
  const members = [reflection, ...(reflection.children ?? [])];
  for (const one of members.flatMap((member) => [member, ...signaturesOf(member)])) {
    delete one.overwrites;
    delete one.inheritedFrom;
    if (one.comment) one.comment.blockTags = one.comment.blockTags.filter(({ tag }) => tag !== '@since');
  }
  for (const one of members.flatMap((member) => signaturesOf(member).slice(1))) {
    if (one.comment === undefined) continue;
    one.comment.summary = [];
    one.comment.blockTags = one.comment.blockTags.filter(({ tag }) => tag === '@category');
  }
}

const byOrder = (one, other) => ORDER.indexOf(one.name) - ORDER.indexOf(other.name);

export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const entry of project.children ?? []) {
      const isMain = entry.name === 'index';
      for (const reflection of entry.children ?? []) {
        for (const member of [...(reflection.children ?? [])])
          if (member.inheritedFrom !== undefined) project.removeReflection(member);
        if (!isMain) continue;
        // The same function by another name.
        if (reflection.name === 'createConnection') reflection.type = new IntrinsicType('typeof connect');
        const subject = subjectOf(reflection.name);
        if (subject === undefined)
          app.logger.error(`scripts/typedoc-subjects.mjs has no subject for ${reflection.name}`);
        else addCategory(reflection, subject);
      }
      entry.name = isMain ? 'connectx' : `connectx/${entry.name}`;
    }
  });
  // After TypeDoc has sorted, and has looked whether everything is documented.
  app.renderer.on(RendererEvent.BEGIN, ({ project }) => {
    for (const entry of project.children ?? []) {
      for (const reflection of entry.children ?? []) shorten(reflection);
      for (const category of entry.categories ?? []) category.children.sort(byOrder);
    }
  });
}
