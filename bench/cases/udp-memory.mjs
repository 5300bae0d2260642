// What does an open, connected UDP socket weigh?
import { measureMemory, memoryTasks, SOCKETS } from '../lib/memory.mjs';
import { transports } from '../lib/transports.mjs';

const OURS = ['connectUdp', 'connectUdpSync'];

export const tasks = memoryTasks(transports.udp);

export const title = `udp-memory: bytes an open UDP socket, ${SOCKETS} held, a fresh process for each weighing`;

export function run(options) {
  return measureMemory(options, { tasks: 'udp-memory', peers: ['dgram, bind + connect', ...OURS], ours: OURS });
}
