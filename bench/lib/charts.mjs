// The charts of the pages, made of docs/figures.json: the same figures give the same bytes.
import { LEVEL } from './parts.mjs';
import { TCP, UDP } from './peers-shown.mjs';
import { bar, curve, panel, roundTicks, svg, text } from './svg.mjs';

const number = (value) => Math.round(value).toLocaleString('en-US');
const linear = (low, high) => (value) => (value - low) / (high - low);

/** How many sockets one source address holds, by destinations: a line for each of two peers. */
function heldPanel(left, title, figures, peers, names) {
  const held = names.map((peer) => ({ ...peers[peer], open: figures[peer] }));
  const last = held[0].open.length;
  const most = Math.max(...held.flatMap(({ open }) => open)) * 1.25;
  const { parts, across, up } = panel({
    left,
    top: 60,
    width: 215,
    height: 200,
    title,
    subtitle: 'from one source address, 28,232 ports',
    x: { ticks: held[0].open.map((_, index) => index + 1), scale: linear(0.8, last + 0.2), title: 'destinations' },
    y: { ticks: roundTicks(most), scale: linear(0, most), grid: true },
  });
  const lines = held.flatMap(({ name, colour, open }, position) => {
    const [x, y] = [across(last) + 6, up(open.at(-1))];
    // The lower line has its name below it, where no other line is.
    const [above, below] = position === 0 ? [-10, 16] : [-26, -12];
    return [
      curve(
        open.map((count, index) => [across(index + 1), up(count)]),
        colour,
      ),
      text(x, y + above, number(open.at(-1)), { size: 12, anchor: 'end', bold: true, colour }),
      text(x, y + below, name.replace(/^connectx, /, ''), { size: 11, anchor: 'end', colour }),
    ];
  });
  return [...parts, ...lines];
}

/** How long a connect takes, with most ports in use: a bar for each way to connect. */
function timePanel(left, figures) {
  const at = (part, peer) => figures[part].figures.microseconds[peer][figures[part].figures.levels.indexOf(LEVEL)];
  const times = [
    ...['net.connect, localAddress', 'net.connect', 'connectx, localAddress'].map((peer) => ({
      ...TCP[peer],
      us: at('occupancy', peer),
    })),
    ...['dgram, bind + connect', 'connectUdp'].map((peer) => ({ ...UDP[peer], us: at('udp-occupancy', peer) })),
  ];
  const longest = Math.max(...times.map(({ us }) => us)) * 1.3;
  const { parts, across, up } = panel({
    left,
    top: 60,
    width: 235,
    height: 200,
    title: 'Time until connected',
    subtitle: `median, ${LEVEL} % of the ports in use`,
    x: { ticks: roundTicks(longest), scale: linear(0, longest), title: 'microseconds', grid: true },
    y: { ticks: [], scale: linear(0, times.length) },
  });
  const bars = times.flatMap(({ name, colour, us }, index) => {
    const middle = up(times.length - index - 0.6);
    const [from, to] = [across(0), across(us)];
    return [
      text(from + 3, middle - 11, name, { colour }),
      bar(from, middle - 6, Math.max(to - from, 1), 14, colour),
      text(to + 6, middle + 5, `${number(us)} µs`, { bold: true, colour }),
    ];
  });
  return [...parts, ...bars];
}

/** On the front page: what a pinned source address costs, in connections and in time. */
export function frontChart(figures) {
  const [held, udp] = ['destinations', 'udp-destinations'].map((part) => figures[part].figures);
  const tcp = ['net.connect, localAddress', 'connectx, localAddress'];
  return svg(900, 310, 'TCP and UDP sockets from one source address, and the time until connected', [
    ...heldPanel(65, 'TCP connections', held, TCP, tcp),
    ...heldPanel(350, 'Connected UDP sockets', udp, UDP, ['dgram, bind + connect', 'connectUdp']),
    ...timePanel(610, figures),
  ]);
}

/** The time until connected by how much of the range is in use. The levels stand where they are between 0 and 100 %. */
export function occupancyChart(figures, protocol) {
  const [part, peers] = protocol === 'TCP' ? ['occupancy', TCP] : ['udp-occupancy', UDP];
  const { levels, microseconds } = figures[part].figures;
  const powers = [10, 100, 1000, 10_000, 100_000];
  const { parts, across, up } = panel({
    left: 70,
    top: 60,
    width: 480,
    height: 240,
    title: `${protocol}: microseconds until connected`,
    subtitle: `median; 10,000 ports towards one destination; each grid line is ten times the one below; numbers: at ${levels.at(-1)} %`,
    x: { ticks: [0, 25, 50, 75, 100], scale: linear(0, 100), title: '% of the ports in use', grid: true },
    y: { ticks: powers, scale: (value) => (Math.log10(value) - 0.8) / 4.3, grid: true },
  });
  const shown = Object.entries(peers).filter(([peer]) => peer in microseconds);
  const last = shown
    .map(([peer, { name, colour }]) => ({ name, colour, us: microseconds[peer].at(-1) }))
    .sort((one, other) => other.us - one.us);
  // Names beside the ends of the lines; no two closer than a line of text.
  let lowest = -Infinity;
  const names = last.flatMap(({ name, colour, us }) => {
    const y = Math.max(up(us) + 4, lowest + 30);
    lowest = y;
    return [
      text(562, y - 2, `${number(us)} µs`, { size: 12, bold: true, colour }),
      text(562, y + 10, name, { colour }),
    ];
  });
  const lines = shown.map(([peer, { colour }]) =>
    curve(
      levels.flatMap((level, index) => {
        const us = microseconds[peer][index];
        return us === null ? [] : [[across(level), up(us)]];
      }),
      colour,
    ),
  );
  return svg(850, 350, `${protocol}: time until connected, by how much of the port range is in use`, [
    ...parts,
    ...lines,
    ...names,
  ]);
}
