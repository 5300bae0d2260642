// The charts of the pages, made of docs/figures.json: the same figures give the same bytes.
import { LEVEL } from './parts.mjs';
import { TCP, UDP } from './peers-shown.mjs';
import { bar, curve, panel, roundTicks, svg, text } from './svg.mjs';

const number = (value) => Math.round(value).toLocaleString('en-US');
const linear = (low, high) => (value) => (value - low) / (high - low);

/** On the front page: what a pinned source address costs, in connections and in time. */
export function frontChart({ destinations, occupancy }) {
  const held = ['net.connect, localAddress', 'connectx, localAddress'].map((peer) => ({
    ...TCP[peer],
    open: destinations.figures[peer],
  }));
  const last = held[0].open.length;
  const most = Math.max(...held.flatMap(({ open }) => open)) * 1.25;
  const connections = panel({
    left: 70,
    top: 60,
    width: 320,
    height: 200,
    title: 'Connections from one source address',
    subtitle: 'default port range, filled to the last port',
    x: { ticks: held[0].open.map((_, index) => index + 1), scale: linear(0.8, last + 0.2), title: 'destinations' },
    y: { ticks: roundTicks(most), scale: linear(0, most), grid: true },
  });
  const lines = held.flatMap(({ name, colour, open }) => {
    const [x, y] = [connections.across(last) + 6, connections.up(open.at(-1))];
    return [
      curve(
        open.map((count, index) => [connections.across(index + 1), connections.up(count)]),
        colour,
      ),
      text(x, y - 26, number(open.at(-1)), { size: 12, anchor: 'end', bold: true, colour }),
      text(x, y - 12, name, { size: 12, anchor: 'end', colour }),
    ];
  });

  const { levels, microseconds } = occupancy.figures;
  const times = ['net.connect, localAddress', 'net.connect', 'connectx, localAddress'].map((peer) => ({
    ...TCP[peer],
    us: microseconds[peer][levels.indexOf(LEVEL)],
  }));
  const longest = Math.max(...times.map(({ us }) => us)) * 1.25;
  const durations = panel({
    left: 450,
    top: 60,
    width: 330,
    height: 200,
    title: 'Time until connected',
    subtitle: `median, with ${LEVEL} % of the ports towards the destination in use`,
    x: { ticks: roundTicks(longest), scale: linear(0, longest), title: 'microseconds', grid: true },
    y: { ticks: [], scale: linear(0, times.length) },
  });
  const bars = times.flatMap(({ name, colour, us }, index) => {
    const middle = durations.up(times.length - index - 0.6);
    const [from, to] = [durations.across(0), durations.across(us)];
    return [
      text(from + 3, middle - 17, name, { size: 12, colour }),
      bar(from, middle - 12, to - from, 24, colour),
      text(to + 6, middle + 4, `${number(us)} µs`, { size: 12, bold: true, colour }),
    ];
  });
  return svg(820, 310, 'Connections from one source address, and the time until connected', [
    ...connections.parts,
    ...lines,
    ...durations.parts,
    ...bars,
  ]);
}

/** The time until connected by how much of the range is in use, a panel for each protocol. */
export function occupancyChart(figures) {
  const panels = [
    ['TCP', 'occupancy', TCP],
    ['UDP', 'udp-occupancy', UDP],
  ].flatMap(([protocol, part, peers], position) => {
    const { levels, microseconds } = figures[part].figures;
    const scale = (value) => (levels.indexOf(value) + 0.5) / levels.length;
    const { parts, across, up } = panel({
      left: 70 + position * 420,
      top: 60,
      width: 330,
      height: 210,
      title: `${protocol}: microseconds until connected`,
      subtitle: 'median; 10,000 ports towards one destination; IPv4',
      x: { ticks: levels, scale, title: '% of the ports in use' },
      y: { ticks: [10, 100, 1000, 10_000, 100_000], scale: (value) => (Math.log10(value) - 0.8) / 4.3, grid: true },
    });
    const shown = Object.entries(peers).filter(([peer]) => peer in microseconds);
    const lines = shown.map(([peer, { colour }]) =>
      curve(
        levels.flatMap((level, index) => {
          const us = microseconds[peer][index];
          return us === null ? [] : [[across(level), up(us)]];
        }),
        colour,
      ),
    );
    const legend = shown.map(([, { name, colour }], index) =>
      text(across(levels[0]) - 15, 328 + 16 * index, `● ${name}`, { colour }),
    );
    return [...parts, ...lines, ...legend];
  });
  return svg(830, 395, 'Time until connected, by how much of the port range is in use', panels);
}
