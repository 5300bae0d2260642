// The text of docs/reliability.md. Plain data in, Markdown out.

/**
 * What must not happen, in the order of the page: of which runs, by name, and of which of their rows. `each`: a line for every row;
 * `checks`: the rows themselves are counted, for what they count is only how often somebody looked.
 */
const CLAIMS = [
  {
    run: /^faults$/,
    what: 'faults (a system call fails, a netlink answer is spoilt) without a clear error or fallback, or that leave anything open',
  },
  { run: /^fuzz$/, what: 'invented netlink answers, addresses and routes that a decoder mishandles' },
  { run: /^sanitized$/, what: 'tests and calls in which AddressSanitizer, UBSan or LeakSanitizer find something' },
  { run: /^races$/, row: /^TCP/, what: 'TCP: contested attempts with two owners of a 4-tuple, or none' },
  {
    run: /^races$/,
    row: /^UDP/,
    what: 'UDP: contested attempts with two owners of a 4-tuple; processes are killed meanwhile',
  },
  { run: /^races$/, row: /^tests/, what: 'tests of contests that fail' },
  { run: /^soak$/, row: /^UDP flows that were overshadowed/, what: 'UDP flows overshadowed' },
  { run: /^soak$/, row: /^(TCP|UDP) connects$/, what: 'connects at exhaustion that end in a way they must not' },
  {
    run: /^soak$/,
    row: /flat$/,
    what: 'heap, resident set, descriptors, handles, kernel sockets: those that grow',
    checks: true,
  },
  {
    run: /^soak$/,
    row: /ended|at the end|anything/,
    what: 'descriptors, handles or sockets left at the end, and anything else that was wrong',
    checks: true,
  },
  { run: /^node(s|-\d+)$/, what: 'tests that fail', each: true },
  { run: /^prebuilds$/, what: 'binaries that do not load', each: true },
];

const KERNELS = /^kernel-/;

/** Whether a run of this name belongs on the page. */
export const isKnown = (name) => KERNELS.test(name) || CLAIMS.some(({ run }) => run.test(name));

const FEATURES = {
  bindAddressNoPort: '`IP_BIND_ADDRESS_NO_PORT`',
  localPortRange: '`IP_LOCAL_PORT_RANGE`',
  fastOpen: '`TCP_FASTOPEN_CONNECT`',
  udpShared: 'sock_diag for UDP',
  portUsage: 'sock_diag for TCP',
};

const CAPABILITIES = 'capabilities()';
const sum = (rows, name) => rows.reduce((total, one) => total + one[name], 0);

/** What of a run is kept: no details, and of a kernel only how many tests there were and what it lacks. */
export function kept({ name, command, date, commit, node, kernel, arch, rows }) {
  const common = { name, command, date: date.slice(0, 10), commit, node, kernel, arch };
  if (!KERNELS.test(name)) return { ...common, rows: rows.map(({ what, tried, failed }) => ({ what, tried, failed })) };
  const tests = rows.filter(({ what }) => what !== CAPABILITIES);
  const told = rows.find(({ what }) => what === CAPABILITIES);
  const can = told === undefined ? undefined : JSON.parse(told.detail);
  const total = { what: 'tests', tried: sum(tests, 'tried'), failed: sum(tests, 'failed') };
  return { ...common, lacks: can && Object.keys(FEATURES).filter((feature) => !can[feature]), rows: [total] };
}

const number = (value) => value.toLocaleString('en-US');
const cell = (text) => `${text}`.replaceAll('|', '\\|');
const line = (cells) => `| ${cells.map(cell).join(' | ')} |`;
const table = (columns, rows) => [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');

/** `0 of 46,025`: nobody can take the one for the other. */
const times = ({ tried, failed }) => {
  const text = `${number(failed)} of ${number(tried)}`;
  return tried === 0 ? 'not tried' : failed === 0 ? text : `**${text}**`;
};

const when = ({ date, commit }) => (commit === undefined ? date : `${date}, ${commit}`);
const repeat = ({ command }) => `\`${command}\``;

function linesOf({ run: pattern, row = /^/, what, each = false, checks = false }, runs) {
  return runs
    .filter(({ name }) => pattern.test(name))
    .flatMap((run) => {
      const rows = run.rows.filter((one) => row.test(one.what));
      if (rows.length === 0) return [];
      const counted = checks ? rows.map(({ failed }) => ({ tried: 1, failed: Math.min(failed, 1) })) : rows;
      const whole = { tried: sum(counted, 'tried'), failed: sum(counted, 'failed') };
      const lines = each
        ? rows.map((one) => [`${what}: ${one.what.replace(/^.*Node v?/, 'Node ')}`, one])
        : [[what, whole]];
      return lines.map(([claim, counts]) => [claim, times(counts), when(run), repeat(run)]);
    });
}

/** Numerically where names end in numbers: node-22, kernel-5.10. */
const byName = (one, other) => one.name.localeCompare(other.name, 'en', { numeric: true });

/** `runs` as `kept()` gives them. */
export function pageOf(runs) {
  const sorted = [...runs].sort(byName);
  const lines = CLAIMS.flatMap((claim) => linesOf(claim, sorted));
  const kernels = sorted.filter(({ name }) => KERNELS.test(name));
  const failed = sorted.flatMap(({ rows }) => rows).filter((one) => one.failed > 0).length;
  return `${[
    '# Reliability',
    'What was done to make connectx fail, and how often it did. The tables are made of [reliability.json](reliability.json), which ' +
      '`npm run reliability` fills from the runs on this machine; the command in a row repeats it from a fresh clone. ' +
      (failed === 0 ? 'Nothing failed.' : `**${failed} of the checks failed.**`),
    table(['what must not happen', 'how often it did', 'measured on, at commit', 'repeat it with'], lines),
    '*Contested*: processes, cluster workers and threads want the same 4-tuples at the same time. *Overshadowed*: a flow gets a datagram ' +
      'of another one that is open. *Soak*: an hour of TCP and UDP, IPv4 and IPv6, at exhaustion most of the time, with faults, aborts and kills.',
    '## Kernels',
    "Tests in virtual machines (QEMU) with Debian's kernels. connectx detects what an older kernel lacks, and the tests check what it " +
      'does instead ([TCP](tcp.md#kernels), [UDP](udp.md)).',
    table(
      ['kernel', 'tests that fail', 'lacks', 'measured on, at commit', 'repeat it with'],
      kernels.map((run) => [
        `${run.kernel}, ${run.arch}`,
        times(run.rows[0]),
        run.lacks === undefined ? 'not known' : run.lacks.map((name) => FEATURES[name]).join(', ') || 'nothing',
        when(run),
        repeat(run),
      ]),
    ),
  ].join('\n\n')}\n`;
}
