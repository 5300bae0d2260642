// How long does a TCP connection take when so much of the range is taken towards its destination?
import { controlOf, measureOccupancy, occupancyTasks, PORTS } from '../lib/occupancy.mjs';
import { transports } from '../lib/transports.mjs';

const PLAIN = 'net.connect';
const CORE = 'net.connect, localAddress';
const PINNED = 'connectx, localAddress';
const FLOORS = ['C, connect', 'C, localAddress', 'C, localAddress, whole range'];

/** The issue's: how many times as long core's two ways may take at least. */
const LEAST = new Map([
  [51, { core: 5, plain: 2 }],
  [90, { core: 12, plain: 3 }],
  [99, { core: 12, plain: 3 }],
]);

export const tasks = occupancyTasks(transports.tcp);

export const title = `occupancy: time until 'connect', of ${PORTS} ports towards one destination, each peer over ports that it filled itself`;

export function run(options) {
  return measureOccupancy(options, {
    tasks: 'occupancy',
    peers: [PLAIN, CORE, 'connectx', PINNED, ...FLOORS],
    controls: [PINNED],
    reference: PINNED,
    full: () => true,
    targets(where, level, times) {
      const least = LEAST.get(level);
      const targets = [];
      if (least !== undefined) {
        targets.push(
          { what: `${where}: ${CORE} takes, times ${PINNED}`, value: times(CORE, PINNED), least: least.core },
          { what: `${where}: ${PLAIN} takes, times ${PINNED}`, value: times(PLAIN, PINNED), least: least.plain },
        );
      }
      if (level === 99) {
        const value = times(PINNED, controlOf(PINNED));
        targets.push({ what: `${where}: ${PINNED}, times what it takes over an empty range`, value, most: 1.5 });
      }
      return targets;
    },
  });
}
