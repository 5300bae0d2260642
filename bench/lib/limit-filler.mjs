// One of several processes that fill the ports of one source towards one destination together.
//
//   node limit-filler.mjs SETTING
//
// On standard output a line when it is ready. On standard input, a line: begin; each connect follows the one before, until one is
// refused. Then a line of JSON: when and how long, in microseconds, and what the longest turn of the event loop took of a
// processor, and the longest pause for garbage collection, in milliseconds. The sockets are held until standard input ends.
import { once } from 'node:events';
import { PerformanceObserver } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { ends } from './ends.mjs';
import { peers } from './peers.mjs';
import { busiestTurn } from './transports.mjs';

const { checkout, family, peer } = JSON.parse(process.argv[2]);
const { remote, ...rest } = ends[family];
const open = (port) => peers[peer]({ ...rest, remote: { ...remote, port }, checkout, family });

// What the JIT is to have seen before the first one counts, towards another port of the destination.
const warm = open(remote.port + 1);
for (let n = 0; n < 1000; n++) {
  const socket = await warm();
  socket.close();
  await once(socket, 'close');
}

const connect = open(remote.port);
const sockets = [];
const lines = createInterface({ input: process.stdin });
console.log('ready');
await once(lines, 'line');
let pause = 0;
const collections = new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) pause = Math.max(pause, duration);
});
collections.observe({ entryTypes: ['gc'] });
const clock = () => Number(process.hrtime.bigint()) / 1000;
const { value, longest } = await busiestTurn(async () => {
  const opened = [];
  for (;;) {
    const began = clock();
    const cpu = process.cpuUsage();
    try {
      sockets.push(await connect());
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      const refusal = clock() - began;
      const { user, system } = process.cpuUsage(cpu);
      return { opened, refusal, cpu: user + system };
    }
    const ended = clock();
    opened.push([ended, ended - began]);
  }
});
// The last of them are told in a later turn.
await new Promise((resolve) => setTimeout(resolve, 10));
console.log(JSON.stringify({ ...value, held: longest, pause }));
await once(lines, 'close');
process.exit();
