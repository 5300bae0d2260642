// The text of docs/reliability.md. Plain data in, Markdown out.

/**
 * What must not happen, in the order of the page: in which runs, and in which of their rows, by name. `of` is what was counted.
 * `each`: the rows are named; `checks`: the rows themselves are counted, for what they count is only how often somebody looked.
 */
const CLAIMS = [
  { run: /^soak$/, row: /^UDP flows that were overshadowed/, what: 'a UDP flow is overshadowed', of: 'flows' },
  {
    run: /^races$/,
    row: /^UDP/,
    what: 'UDP: a contested 4-tuple has two owners, while processes are killed',
    of: 'attempts',
  },
  { run: /^races$/, row: /^TCP/, what: 'TCP: a contested 4-tuple has two owners, or none', of: 'attempts' },
  { run: /^races$/, row: /^tests/, what: 'a test of contested 4-tuples fails', of: 'tests' },
  { run: /^soak$/, row: /^(TCP|UDP) connects$/, what: 'at exhaustion, a connect ends in a wrong way', of: 'connects' },
  { run: /^soak$/, row: /flat$/, what: 'memory, descriptors or sockets grow', of: 'measures', checks: true },
  {
    run: /^soak$/,
    row: /ended|at the end|anything/,
    what: 'something is left open, or wrong in another way, at the end',
    of: 'checks',
    checks: true,
  },
  {
    run: /^faults$/,
    what: 'a system call or netlink answer fails, and the error is unclear or something stays open',
    of: 'faults',
  },
  { run: /^fuzz$/, what: 'a decoder mishandles random input', of: 'inputs' },
  {
    run: /^sanitized$/,
    what: 'a sanitizer (address, undefined behaviour, leak) reports an error',
    of: 'tests and calls',
  },
  { run: /^node(s|-\d+)$/, what: 'a test fails', of: 'tests', each: true },
  { run: /^prebuilds$/, what: 'a binary does not load', of: 'binaries', each: true },
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

/** `0 of 46,025 flows`, after what must not happen: nobody can take the one for the other. */
const times = ({ tried, failed }, of) => {
  const text = `${number(failed)} of ${number(tried)} ${of}`;
  return tried === 0 ? 'not tried' : failed === 0 ? text : `**${text}**`;
};

const commandsOf = (runs) => [...new Set(runs.map(({ command }) => `\`${command}\``))].join(', ');
const nameOf = ({ what }) => what.replace(/^.*Node v?/, 'Node ');

function lineOf({ run: pattern, row = /^/, what, of, each = false, checks = false }, runs) {
  const matching = runs.filter(({ name, rows }) => pattern.test(name) && rows.some((one) => row.test(one.what)));
  const rows = matching.flatMap((one) => one.rows).filter((one) => row.test(one.what));
  if (rows.length === 0) return [];
  const counted = checks ? rows.map(({ failed }) => ({ tried: 1, failed: Math.min(failed, 1) })) : rows;
  const whole = { tried: sum(counted, 'tried'), failed: sum(counted, 'failed') };
  const tried = rows.filter((one) => one.tried > 0);
  const untried = rows.filter((one) => one.tried === 0).map(nameOf);
  const names = each && tried.length > 0 ? `: ${tried.map(nameOf).join(', ')}` : '';
  const left = whole.tried > 0 && untried.length > 0 ? `; not tried: ${untried.join(', ')}` : '';
  return [[`${what}${names}`, `${times(whole, of)}${left}`, commandsOf(matching)]];
}

/** Numerically where names end in numbers: node-22, kernel-5.10. */
const byName = (one, other) => one.name.localeCompare(other.name, 'en', { numeric: true });

/** `runs` as `kept()` gives them. */
export function pageOf(runs) {
  const sorted = [...runs].sort(byName);
  const kernels = sorted.filter(({ name }) => KERNELS.test(name));
  const failed = sorted.flatMap(({ rows }) => rows).filter((one) => one.failed > 0).length;
  const dates = sorted.map(({ date }) => date).sort();
  return `${[
    '# Reliability',
    (failed === 0 ? 'Nothing failed' : `**${failed} of the checks failed**`) +
      ` in the tests below. They try to make connectx fail; each row says how often that happened. ` +
      `They ran from ${dates[0]} to ${dates.at(-1)}; [reliability.json](reliability.json) has the commit, Node and kernel of each run.`,
    table(
      ['failure', 'how often', 'repeat with'],
      CLAIMS.flatMap((claim) => lineOf(claim, sorted)),
    ),
    '*Overshadowed*: a flow gets the datagrams of another open flow. *Contested*: processes, cluster workers and threads want the ' +
      'same 4-tuples at once. The soak runs TCP and UDP, IPv4 and IPv6, for an hour, mostly with every port in use, with faults, ' +
      'aborts and kills.',
    '## Kernels',
    'These kernels ran in virtual machines. connectx detects what a kernel lacks ([TCP](tcp.md#kernels), [UDP](udp.md#kernels)).',
    table(
      ['kernel', 'a test fails', 'kernel lacks', 'repeat with'],
      kernels.map((run) => [
        `${run.kernel}, ${run.arch}`,
        times(run.rows[0], 'tests'),
        run.lacks === undefined ? 'not known' : run.lacks.map((name) => FEATURES[name]).join(', ') || 'nothing',
        commandsOf([run]),
      ]),
    ),
  ].join('\n\n')}\n`;
}
