// The generated parts of the pages, by name: what stands between `<!-- figures: NAME -->` and `<!-- end -->`. Pure.
import { number } from './report.mjs';
import { TCP, UDP } from './peers-shown.mjs';

const CORE = 'net.connect, localAddress';
const OURS = 'connectx, localAddress';
/** The level that the front page speaks of. */
export const LEVEL = 90;

const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

/** The first column is text; the others are aligned to the right unless `text` has them. */
export function markdown(columns, rows, text = [0]) {
  const rule = columns.map((_, at) => (text.includes(at) ? '---' : '---:'));
  return [line(columns), line(rule), ...rows.map(line)].join('\n');
}

const whole = (value) => (value === null ? '-' : number(Math.round(value) || 0, 0));
/** Four digits; a figure that just misses its target must not look as if it met it. */
const exact = (value) => Number(value.toPrecision(4)).toLocaleString('en-US');

function picture({ destinations, occupancy }) {
  const held = (peer) => whole(destinations.figures[peer].at(-1));
  const { levels, microseconds } = occupancy.figures;
  const time = (peer) => whole(microseconds[peer][levels.indexOf(LEVEL)]);
  return [
    `From one source address to ${destinations.figures[CORE].length} destinations, \`net.connect({ localAddress })\` holds ${held(CORE)} connections and connectx`,
    `${held(OURS)}. With ${LEVEL} % of the ports in use, a connect takes ${time(CORE)} µs with \`net.connect({ localAddress })\` and ${time(OURS)} µs with connectx;`,
    `\`net.connect\` without a source address takes ${time('net.connect')} µs. [How this is measured](docs/benchmarks.md).`,
  ].join('\n');
}

const PROTOCOLS = [
  ['TCP', '', TCP],
  ['UDP', 'udp-', UDP],
];
const nameOf = (protocol, peers, peer) => `${protocol}, ${peers[peer].code}`;

/** Microseconds until connected: a row for each way to connect, a column for each of these levels. */
function timesTable(figures, levels, isShown = () => true) {
  const rows = PROTOCOLS.flatMap(([protocol, prefix, peers]) => {
    const { levels: measured, microseconds } = figures[`${prefix}occupancy`].figures;
    return Object.entries(microseconds)
      .filter(([peer]) => isShown(peer))
      .map(([peer, us]) => [
        nameOf(protocol, peers, peer),
        ...levels.map((level) => whole(us[measured.indexOf(level)] ?? null)),
      ]);
  });
  return markdown(['', ...levels.map((level) => (level === 0 ? 'none taken' : `${level} %`))], rows);
}

const cost = (figures) => timesTable(figures, [0, LEVEL, 99.9], (peer) => peer !== 'net.connect');
const times = (figures) => timesTable(figures, figures.occupancy.figures.levels);

function held(all) {
  const counts = all.destinations.figures[CORE].map((_, index) => index + 1);
  const rows = PROTOCOLS.flatMap(([protocol, prefix, peers]) =>
    Object.entries(all[`${prefix}destinations`].figures).map(([peer, open]) => [
      nameOf(protocol, peers, peer),
      ...open.map(whole),
    ]),
  );
  return markdown(['', ...counts.map((count) => (count === 1 ? '1 destination' : `${count} destinations`))], rows);
}

function rates(figures) {
  const rows = [
    ['rate', 'TCP', TCP, CORE, OURS],
    ['udp-rate', 'UDP', UDP, 'dgram, bind + connect', 'connectUdp'],
  ].flatMap(([part, protocol, peers, core, ours]) => {
    const { closed, held: open } = figures[part].figures;
    const measured = [closed, open].flatMap((one) => [4, 6].map((family) => one.find((row) => row.family === family)));
    return [
      [nameOf(protocol, peers, core), ...measured.map((one) => whole(one?.[core].second ?? null))],
      [
        nameOf(protocol, peers, ours),
        ...measured.map((one) =>
          one === undefined ? '-' : `${whole(one[ours].second)} (${number(one[ours].ratio, 2)}x)`,
        ),
      ],
    ];
  });
  return markdown(['', 'opened and closed, IPv4', 'IPv6', 'opened and held, IPv4', 'IPv6'], rows);
}

function refusals(figures) {
  const rows = PROTOCOLS.flatMap(([protocol, prefix, peers]) =>
    figures[`${prefix}refusal`].figures.flatMap(({ by, ...measured }) =>
      Object.entries(measured).map(([peer, { first, then, burst }]) => [
        nameOf(protocol, peers, peer),
        by === 'itself' ? 'this process' : by,
        whole(first),
        whole(then),
        burst === null ? '-' : number(burst, 1),
      ]),
    ),
  );
  const columns = ['', 'the ports are held by', 'first refusal, µs', 'the next ones, µs', '50 in one turn, ms'];
  return markdown(columns, rows, [0, 1]);
}

/** Of TCP or UDP. */
const limits =
  (part) =>
  ({ [part]: all }) => {
    if (all === undefined) return 'Not measured yet.';
    const short = (value) => (value === null || value === undefined ? '-' : number(value, value < 10 ? 2 : 0));
    const rows = all.figures.map(({ what, unit, p50, p99, most, before }) => [
      what,
      unit === 'us' ? 'µs' : unit,
      short(p50),
      short(p99),
      most === undefined ? '' : `${most}`,
      short(before?.p50),
      short(before?.p99),
    ]);
    const table = markdown(['', '', 'p50', 'p99', 'target', 'before, p50', 'p99'], rows, [0, 1]);
    return `${table}\n\nMeasured on ${all.measured}.`;
  };

function targets({ targets: { figures } }) {
  const { count, missed } = figures;
  if (missed.length === 0) return `All ${count} targets are met.`;
  const rows = missed.map(({ case: name, what, value, least, most }) => [
    name,
    what,
    exact(value),
    least === undefined ? `at most ${exact(most)}` : `at least ${exact(least)}`,
  ]);
  const begin = `${count - missed.length} of ${count} targets are met. Missed:`;
  return `${begin}\n\n${markdown(['case', 'what', 'figure', 'target'], rows, [0, 1, 3])}`;
}

function million({ million: { measured, figures } }) {
  const runs = figures.filter(({ kind }) => kind !== 'control');
  const refused = (errors) =>
    Object.entries(errors)
      .map(([name, count]) => `${whole(count)} x ${name}`)
      .join(', ') || 'none';
  const rows = [
    ['open at the same time', ({ open }) => whole(open)],
    ['refused', ({ errors }) => refused(errors)],
    ['ports, destinations', ({ ports, destinations }) => `${whole(ports)}, ${whole(destinations)}`],
    ['client processes', ({ clients }) => whole(clients)],
    ['opened in', ({ seconds, open }) => `${number(seconds, 1)} s, ${whole(open / seconds)} a second`],
    ['bytes a flow: client', ({ bytes }) => whole(bytes.clients)],
    ['bytes a flow: server', ({ bytes }) => whole(Math.max(bytes.servers, 0))],
    ['bytes a flow: kernel', ({ bytes }) => whole(bytes.slabs)],
    ['answered, all on their own socket', ({ echoed, open }) => `${whole(echoed)} of ${whole(open)}`],
    ['answers to another flow', ({ wrong, open }) => `${whole(wrong)} of ${whole(open)}`],
    ['checks that fail', ({ failed, checks }) => `${whole(failed.length)} of ${whole(checks)}`],
  ].map(([what, of]) => [what, ...runs.map(of)]);
  const titles = runs.map(({ title }) => title.replace(', localAddress', ''));
  return `Measured on ${measured}.\n\n${markdown(['', ...titles], rows)}`;
}

function core({ million: { figures } }) {
  const rows = figures
    .filter(({ kind }) => kind === 'control')
    .map(({ title, ports, destinations, open, seconds, errors, limit }) => [
      `\`${title.replace('control: ', '')}\``,
      whole(ports),
      whole(destinations),
      whole(open),
      `${number(seconds, 1)} s`,
      Object.keys(errors).join(', ') || limit,
    ]);
  return markdown(['', 'ports', 'destinations', 'open', 'after', 'ended by'], rows, [0, 5]);
}

const setting = ({ occupancy, destinations, 'udp-destinations': udp }) =>
  `Measured on ${occupancy.measured}. The first figure: TCP on ${destinations.measured}; UDP on ${udp.measured}.`;

const PARTS = {
  picture,
  cost,
  times,
  held,
  rates,
  refusals,
  targets,
  million,
  core,
  setting,
  limit: limits('limit-tcp'),
  udplimit: limits('limit-udp'),
};

/** The page with its generated parts made anew. */
export function pageOf(figures, page) {
  return page.replaceAll(/(<!-- figures: (\w+) -->\n).*?(<!-- end -->)/gs, (whole, begin, name, end) => {
    return `${begin}\n${PARTS[name](figures)}\n\n${end}`;
  });
}
