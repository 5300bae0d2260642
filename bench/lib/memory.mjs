// What does an open socket weigh? For TCP and for UDP alike.
import { Party } from './party.mjs';
import { number, ratio, spread } from './report.mjs';
import { pairedRatio, summary } from './statistics.mjs';
import { hold } from './transports.mjs';

export const SOCKETS = 5000;
const WARM_UP = 200;
// The young generation is free to grow by more than all these sockets weigh, and does so or does not by chance.
const execArgv = ['--min-semi-space-size=1', '--max-semi-space-size=1'];

/** In the party's process. */
export function memoryTasks(transport) {
  const endAll = (sockets) => Promise.all(sockets.map((socket) => transport.end(socket)));
  return {
    /** Bytes a socket, of resident memory and of the JavaScript heap. */
    async weigh({ connect, server }, count) {
      // What grows once grows now: compiled code, the addon, the heap's first pages.
      const first = [];
      await hold(transport, connect, first, WARM_UP);
      await endAll(first.splice(0));
      if (transport.isAccepted) await server.drain(WARM_UP);
      const held = [];
      const before = await settled();
      await hold(transport, connect, held, count);
      const after = await settled();
      await endAll(held);
      return { rss: (after.rss - before.rss) / count, heap: (after.heap - before.heap) / count };
    },
  };
}

async function settled() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, heap: heapUsed + external };
}

/** The first of `peers` is what the others are compared with; `ours` have the target. */
export async function measureMemory({ families, contestants, atMost }, { tasks, peers, ours }) {
  const [reference] = peers;
  const sections = [];
  const targets = [];
  const rounds = atMost({ quick: 3, full: 9 });
  for (const family of families) {
    const settings = contestants(peers).map((one) => ({ ...one, family, tasks }));
    const taken = settings.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (const [index, setting] of settings.entries()) {
        const party = await Party.start(setting, { execArgv });
        try {
          taken[index].push(await party.call('weigh', SOCKETS));
        } finally {
          await party.stop();
        }
      }
    }
    const column = (index, name) => taken[index].map((one) => one[name]);
    const rows = settings.map(({ label }, index) => ({
      peer: label,
      rss: summary(column(index, 'rss')),
      heap: summary(column(index, 'heap')),
      rssOverReference: pairedRatio(column(index, 'rss'), column(0, 'rss')),
      heapOverReference: pairedRatio(column(index, 'heap'), column(0, 'heap')),
    }));
    sections.push({
      setting: `IPv${family}, ${rounds} rounds`,
      columns: [
        '',
        'resident',
        'quartiles',
        `/ ${reference}`,
        'quartiles',
        'JavaScript heap',
        'quartiles',
        `/ ${reference}`,
      ],
      rows: rows.map(({ peer, rss, heap, rssOverReference, heapOverReference }) => [
        peer,
        number(rss.median, 0),
        spread(rss, 0),
        ratio(rssOverReference.median),
        spread(rssOverReference, 3),
        number(heap.median, 0),
        spread(heap, 0),
        ratio(heapOverReference.median),
      ]),
      data: { family, sockets: SOCKETS, rounds, rows },
    });
    for (const { peer, rssOverReference } of rows.filter((row) => ours.includes(row.peer))) {
      targets.push({ what: `IPv${family}: ${peer} / ${reference}`, value: rssOverReference.median, most: 1.05 });
    }
  }
  return { sections, targets };
}
