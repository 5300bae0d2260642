// What does it cost to be told that no port is left? TCP.
import { measureRefusal, PORTS, refusalTasks } from '../lib/refusal.mjs';
import { transports } from '../lib/transports.mjs';

export const tasks = refusalTasks(transports.tcp);

export const title = `refusal: all of ${PORTS} TCP ports taken towards the destination`;

export function run(options) {
  return measureRefusal(options, {
    tasks: 'refusal',
    peers: ['net.connect', 'net.connect, localAddress', 'connectx', 'connectx, localAddress'],
    // To the kernel, which is asked each time, it makes no difference whose they are.
    holders: ['itself'],
    targets: (where, { peer, inVain }) =>
      peer.startsWith('connectx')
        ? [{ what: `${where}: ${peer}, refused although a port was free`, value: inVain, most: 0 }]
        : [],
  });
}
