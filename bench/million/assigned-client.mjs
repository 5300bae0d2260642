// A program that knows nothing of connectx, and sets no source: opens so many connections to one address and port, and holds them.
// argv: how many, host, port. Tells the process that started it what it has.
import { once } from 'node:events';
import net from 'node:net';

const [wanted, host, port] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const AT_ONCE = 64;
/** In a row: then there is nothing left to be had. */
const FAILURES = 100;

const held = [];
const sources = {};
const errors = {};
let left = wanted;
let failures = 0;

async function lane() {
  while (left-- > 0 && failures < FAILURES) {
    const socket = net.connect({ host, port });
    try {
      await once(socket, 'connect');
      socket.on('error', ({ code }) => (errors[code] = (errors[code] ?? 0) + 1));
      held.push(socket);
      sources[socket.localAddress] = (sources[socket.localAddress] ?? 0) + 1;
      failures = 0;
    } catch ({ code }) {
      errors[code] = (errors[code] ?? 0) + 1;
      failures++;
    }
  }
}

const timer = setInterval(() => process.send({ open: held.length }), 250);
process.on('message', () => (left = 0));
process.on('disconnect', () => process.exit());
await Promise.all(Array.from({ length: AT_ONCE }, lane));
clearInterval(timer);
process.send({ done: true, open: held.length, sources, errors });
