// A process that holds sockets towards one destination, for the case `ports`.
//
//   node ports-holder.mjs HOST WAITING DATAGRAMS LISTENERS
//
// On standard input, a line for each step, and on standard output a line when it is done: first `wait`, then how many connections
// there shall be.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { openAll } from './connections.mjs';

const [, , host, ...counts] = process.argv;
const [waiting, datagrams, listeners] = counts.map(Number);
const connect = () => net.connect({ host, port: 5353 });

// The end that closes first is the one in TIME-WAIT; the other end closes when it is accepted and dropped, which comes next.
const waitingSockets = await openAll(connect, waiting);
const closing = waitingSockets.map((socket) => once(socket.resume(), 'close'));
await Promise.all(waitingSockets.map((socket) => once(socket.end(), 'finish')));
for (let n = 0; n < datagrams; n++) {
  const socket = dgram.createSocket('udp4');
  socket.connect(5353, host);
  await once(socket, 'connect');
}
for (let n = 0; n < listeners; n++) await once(net.createServer().listen(6000 + n, host), 'listening');
console.log('ready');

const held = [];
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'wait') await Promise.all(closing);
  else held.push(...(await openAll(connect, Number(line) - held.length)));
  console.log('done');
}
process.exit();
