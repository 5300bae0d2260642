// What does an open TCP socket weigh?
import { measureMemory, memoryTasks, SOCKETS } from '../lib/memory.mjs';
import { transports } from '../lib/transports.mjs';

const OURS = ['connectx', 'connectx, localAddress'];

export const tasks = memoryTasks(transports.tcp);

export const title = `memory: bytes an open TCP socket, ${SOCKETS} held, a fresh process for each weighing`;

export function run(options) {
  return measureMemory(options, {
    tasks: 'memory',
    peers: ['net.connect', 'net.connect, localAddress', ...OURS],
    ours: OURS,
  });
}
