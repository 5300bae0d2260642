// The text of docs/reliability.md. Plain data in, Markdown out.

/** In the order of the page; `reports` says which runs belong there, by name. */
export const SECTIONS = [
  {
    title: 'Faults',
    reports: /^faults$/,
    text:
      'Every system call that the addon makes is made to fail with each errno that it can give, and every answer of netlink is spoilt: ' +
      'cut short, reordered, foreign, overlong, interrupted. After each fault there must be a clear error or the documented fallback, no ' +
      'descriptor and no locked port may be left, and the next call must work. *Warm* is a fault in a process that has connected ' +
      'before, *cold* one at its very first call. `npm test` takes a part of them.',
  },
  {
    title: 'Hostile input',
    reports: /^fuzz$/,
    text:
      'The decoders of netlink answers, socket addresses and routes against invented bytes (libFuzzer, with AddressSanitizer and ' +
      'UndefinedBehaviorSanitizer). Any finding ends the run.',
  },
  {
    title: 'Sanitizers',
    reports: /^sanitized$/,
    text: 'The tests over an addon that is built with sanitizers.',
  },
  {
    title: 'Races',
    reports: /^races$/,
    text:
      'Processes, cluster workers and threads that want the same 4-tuples at the same time; those of UDP are killed with SIGKILL at random. Failed would be: two owners of one ' +
      "4-tuple at a time, by the owners' own clocks or in the kernel's table; an owner that does not hear its own echoes. No port " +
      'may stay locked. The plain kernel, as the control, fails at once.',
  },
  {
    title: 'Soak',
    reports: /^soak$/,
    text:
      'TCP and UDP, IPv4 and IPv6, with faults, aborts and killed processes, at exhaustion most of the time. Descriptors, memory, ' +
      'handles and the sockets of the kernel must be flat, every flow must hear its own echoes only, and at the end nothing may be left.',
  },
  {
    title: 'Node',
    reports: /^node(s|-\d+)$/,
    text: 'The whole suite on each release line.',
  },
  {
    title: 'Kernels',
    reports: /^kernel-/,
    together: true,
    text:
      'Tests inside of virtual machines (QEMU) with the kernels of Debian, for x86-64 and arm64. What an older kernel lacks is ' +
      'detected, and what it does instead is tested; [tcp.md](tcp.md#kernels) and [udp.md](udp.md) say what that is.',
  },
  {
    title: 'Binaries',
    reports: /^prebuilds$/,
    text: 'The prebuilt addons, each in a process of its architecture, as far as there is one to be had.',
  },
];

const number = (value) => value.toLocaleString('en-US');
const cell = (text) => `${text}`.replaceAll('|', '\\|').replaceAll('\n', ' ');
const row = (cells) => `| ${cells.map(cell).join(' | ')} |`;

/** Numerically where names end in numbers: node-22, kernel-5.10. */
const byName = (one, other) => one.name.localeCompare(other.name, 'en', { numeric: true });

function where({ date, node, kernel, arch, commit }) {
  const parts = [date.slice(0, 10), `Node ${node.replace(/^v/, '')}`, `Linux ${kernel}`, arch, commit];
  return parts.filter((part) => part !== undefined).join(', ');
}

const sum = (rows, name) => rows.reduce((total, one) => total + one[name], 0);

/** One row for each run. */
function whole(run) {
  const rows = run.rows.filter((one) => !isNote(one));
  const what = `Linux ${run.kernel}, ${run.arch}: ${rows.length} files of tests`;
  return { ...run, rows: [{ what, tried: sum(rows, 'tried'), failed: sum(rows, 'failed'), detail: '' }] };
}

function table(runs) {
  const lines = [row(['what', 'tried', 'failed', 'repeat it with']), row(['---', '---:', '---:', '---'])];
  for (const { rows, command } of runs) {
    for (const { what, tried, failed } of rows) {
      if (!isNote({ what })) lines.push(row([what, number(tried), number(failed), `\`${command}\``]));
    }
  }
  return lines.join('\n');
}

// What a machine can do is no check.
const isNote = ({ what }) => what === 'capabilities()';

function details(runs) {
  return runs
    .map((run) => {
      const told = run.rows.filter((one) => one.detail !== '' && !isNote(one));
      const lines = told.map(({ what, detail }) => `- ${what}: ${detail}`);
      return [`${run.name}: ${where(run)}.`, ...(lines.length > 0 ? ['', ...lines] : [])].join('\n');
    })
    .join('\n\n');
}

const LACKS = [
  ['bindAddressNoPort', '`IP_BIND_ADDRESS_NO_PORT`'],
  ['localPortRange', '`IP_LOCAL_PORT_RANGE`'],
  ['fastOpen', '`TCP_FASTOPEN_CONNECT`'],
  ['udpShared', 'sock_diag for UDP'],
  ['portUsage', 'sock_diag for TCP'],
];

function capabilities(runs) {
  const told = runs.flatMap((run) => {
    const found = run.rows.find(isNote);
    return found === undefined ? [] : [{ run, can: JSON.parse(found.detail) }];
  });
  if (told.length === 0) return [];
  const lines = told.map(({ run, can }) =>
    row([`${run.kernel}, ${run.arch}`, ...LACKS.map(([key]) => (can[key] ? 'yes' : 'no'))]),
  );
  const head = row(['kernel', ...LACKS.map(([, title]) => title)]);
  return [
    'What each of them has, by `capabilities()`:',
    [head, row(['---', ...LACKS.map(() => '---')]), ...lines].join('\n'),
  ];
}

/** `runs` as `report()` of lib.mjs has written them. */
export function pageOf(runs) {
  const sorted = [...runs].sort(byName);
  const sections = SECTIONS.flatMap(({ title, reports, text, together = false }) => {
    const of = sorted.filter(({ name }) => reports.test(name));
    return of.length === 0
      ? []
      : [[`## ${title}`, text, table(together ? of.map(whole) : of), ...capabilities(of), details(of)].join('\n\n')];
  });
  const tried = sorted.flatMap(({ rows }) => rows).filter((one) => !isNote(one));
  const failed = tried.filter((one) => one.failed > 0).length;
  const verdict = failed === 0 ? 'Nothing failed.' : `${failed} of these rows have failures.`;
  return `${[
    '# Reliability',
    'What was done to make connectx fail, and what came of it. Each table is made of the figures that a run has left in ' +
      '[reliability/](reliability) (`npm run reliability`), never by hand; each row is repeated by the command beside it, from a fresh ' +
      `clone. ${verdict}`,
    ...sections,
  ].join('\n\n')}\n`;
}
