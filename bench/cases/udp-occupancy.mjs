// How long does a connected UDP socket take when so much of the range is taken towards its destination?
import { controlOf, measureOccupancy, occupancyTasks, PORTS } from '../lib/occupancy.mjs';
import { transports } from '../lib/transports.mjs';

const CORE = 'dgram, bind + connect';
const ARTICLE = "the article's algorithm";
const ASYNC = 'connectUdp';
const SYNC = 'connectUdpSync';
const LOCK = 'C, lock + connect';

export const tasks = occupancyTasks(transports.udp);

export const title = `udp-occupancy: time until connected, UDP, of ${PORTS} ports towards one destination, each peer over ports that it filled itself`;

export function run(options) {
  return measureOccupancy(options, {
    tasks: 'udp-occupancy',
    peers: [CORE, ARTICLE, ASYNC, SYNC, 'C, bind + connect', LOCK],
    controls: [ASYNC, SYNC],
    reference: ASYNC,
    // It is told which port is free, and has nothing to be refused with.
    full: (peer) => peer !== LOCK,
    targets(where, level, times) {
      const ours = [ASYNC, SYNC];
      if (level === 99) {
        return ours.map((peer) => ({
          what: `${where}: ${peer}, times what it takes over an empty range`,
          value: times(peer, controlOf(peer)),
          most: 1.5,
        }));
      }
      if (level === 99.9) {
        return ours.map((peer) => ({
          what: `${where}: ${ARTICLE} takes, times ${peer}`,
          value: times(ARTICLE, peer),
          least: 20,
        }));
      }
      return [];
    },
  });
}
