// The picture on the front page: what a pinned source address costs, in connections and in time. Made of the figures of
// bench/destinations and of the case `occupancy`; the same figures give the same bytes.
import { draw } from './draw.mjs';

const CORE = { peer: 'net.connect, localAddress', shown: 'net.connect({ localAddress })', colour: '#c4261d' };
const PLAIN = { peer: 'net.connect', shown: 'net.connect, no source address', colour: '#e8871e' };
const OURS = { peer: 'connectx, localAddress', shown: 'connectx, connect({ localAddress })', colour: '#0b7a3e' };
const LEVEL = 90;

const scale = (peers) => ({ domain: peers.map(({ shown }) => shown), range: peers.map(({ colour }) => colour) });
const number = (value) => Math.round(value).toLocaleString('en-US');

/** The lines of the first panel: for each number of destinations, how many connections there were in all. */
export function held({ peers }) {
  return [CORE, OURS].flatMap(({ peer, shown }) => {
    const { steps } = peers.find((one) => one.peer === peer);
    return steps.map(({ destinations, open }) => ({ peer: shown, destinations, open }));
  });
}

/** The bars of the second one: the median time until connected, in microseconds. */
export function times({ cases }) {
  const { rows } = cases.occupancy.sections.find(({ family, level }) => family === 4 && level === LEVEL);
  return [CORE, PLAIN, OURS].map(({ peer, shown }) => {
    const { settled } = rows.find((row) => row.peer === peer);
    return { peer: shown, us: settled.median };
  });
}

export function frontChart(destinations, results) {
  const lines = held(destinations);
  const last = Math.max(...lines.map(({ destinations: count }) => count));
  const colour = { field: 'peer', type: 'nominal', scale: scale([CORE, PLAIN, OURS]), legend: null };
  const ends = lines
    .filter(({ destinations: count }) => count === last)
    .map((end) => ({ ...end, label: `${number(end.open)}`, name: end.peer }));
  const bars = times(results).map((bar) => ({ ...bar, label: `${number(bar.us)} µs` }));
  const x = { field: 'destinations', type: 'quantitative', title: 'destinations' };
  const y = { field: 'open', type: 'quantitative', title: null };
  const text = { type: 'text', fontSize: 12 };
  return draw({
    spacing: 50,
    hconcat: [
      {
        title: { text: 'Connections from one source address', subtitle: 'default port range, filled to the last port' },
        width: 300,
        height: 200,
        data: { values: lines },
        encoding: {
          x: { ...x, axis: { values: [1, 2, 3, 4], format: 'd', grid: false }, scale: { domain: [0.8, last + 0.2] } },
          y: {
            ...y,
            axis: { format: ',d', tickCount: 5 },
            scale: { domain: [0, Math.max(...lines.map(({ open }) => open)) * 1.25], nice: false },
          },
          color: colour,
        },
        layer: [
          { mark: { type: 'line', strokeWidth: 3, point: { size: 60, filled: true } } },
          {
            data: { values: ends },
            mark: { ...text, align: 'right', dy: -26, dx: 6, fontWeight: 'bold' },
            encoding: { text: { field: 'label' } },
          },
          {
            data: { values: ends },
            mark: { ...text, align: 'right', dy: -12, dx: 6 },
            encoding: { text: { field: 'name' } },
          },
        ],
      },
      {
        title: {
          text: 'Time until connected',
          subtitle: `median, ${LEVEL} % of the ports towards the destination taken`,
        },
        width: 330,
        height: 200,
        data: { values: bars },
        encoding: {
          y: {
            field: 'peer',
            type: 'nominal',
            sort: bars.map(({ peer }) => peer),
            title: null,
            axis: { labels: false, ticks: false, domain: false },
            scale: { paddingInner: 0.6, paddingOuter: 0.5 },
          },
          x: {
            field: 'us',
            type: 'quantitative',
            title: 'microseconds',
            axis: { format: ',d', tickCount: 5 },
            scale: { domain: [0, Math.max(...bars.map(({ us }) => us)) * 1.25] },
          },
        },
        layer: [
          { mark: { type: 'bar' }, encoding: { color: colour } },
          {
            mark: { ...text, align: 'left', dx: 5, fontWeight: 'bold' },
            encoding: { text: { field: 'label' }, color: colour },
          },
          {
            mark: { ...text, align: 'left', dx: 1, dy: -26 },
            encoding: { x: { datum: 0 }, text: { field: 'peer' }, color: colour },
          },
        ],
      },
    ],
  });
}

/** The generated parts of README.md, by name. */
export const frontParts = (destinations, results) => ({
  picture: pictureText(destinations, results),
  cost: costTable(results),
});

// What the picture says, in words.
function pictureText(destinations, results) {
  const lines = held(destinations);
  const ends = [CORE, OURS].map(({ shown }) => lines.findLast(({ peer }) => peer === shown));
  const [core, ours] = ends.map(({ open }) => number(open));
  const [pinned, plain, connectx] = times(results).map(({ us }) => number(us));
  return [
    `From one source address to ${ends[0].destinations} destinations, \`net.connect({ localAddress })\` holds ${core} connections and connectx`,
    `${ours}. While ${LEVEL} % of the ports are taken, one of them takes ${pinned} µs and ${connectx} µs; \`net.connect\` without a`,
    `source address takes ${plain} µs. [How this is measured](docs/benchmarks.md).`,
  ].join('\n');
}

const WAYS = [
  ['occupancy', CORE.peer, 'TCP, `net.connect({ localAddress })`'],
  ['occupancy', 'C, localAddress', 'TCP, in C: `IP_BIND_ADDRESS_NO_PORT`, bind, connect'],
  ['occupancy', OURS.peer, 'TCP, connectx, `connect({ localAddress })`'],
  ['udp-occupancy', 'dgram, bind + connect', 'UDP, `dgram`, bind and connect'],
  ['udp-occupancy', "the article's algorithm", 'UDP, the algorithm of the reference'],
  ['udp-occupancy', 'connectUdp', 'UDP, connectx, `connectUdp`'],
];
const LEVELS = [0, LEVEL, 99.9];

function costTable({ cases }) {
  const median = (name, peer, level) => {
    const section = cases[name]?.sections.find((one) => one.family === 4 && one.level === level);
    const settled = section?.rows.find((row) => row.peer === peer)?.settled;
    return settled === undefined ? 'not measured' : number(settled.median);
  };
  const rows = WAYS.map(([name, peer, shown]) => [shown, ...LEVELS.map((level) => median(name, peer, level))]);
  const titles = ['', 'none taken', ...LEVELS.slice(1).map((level) => `${level} %`)];
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(titles), '| --- | ---: | ---: | ---: |', ...rows.map(line)].join('\n');
}
