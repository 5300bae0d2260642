// The other side: sends back what it hears, on every destination address, over TCP and UDP. Ends when its parent says so.
import { once } from 'node:events';
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import { FAMILIES, SERVER } from './network.mjs';

const connections = new Set();

const tcp = net.createServer({ allowHalfOpen: true }, (socket) => {
  connections.add(socket);
  socket.on('close', () => connections.delete(socket));
  // A client that was killed, or that resets.
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('data', (data) => {
    // So that the server, too, is the one that closes first.
    if (data.includes('bye')) socket.end();
    else socket.write(data);
  });
});
tcp.listen({ port: SERVER, host: '::', backlog: 2048 });
await once(tcp, 'listening');

const udp = FAMILIES.flatMap(({ type, remotes }) =>
  remotes.map((address) => {
    const socket = dgram.createSocket(type);
    socket.on('message', (message, { address: to, port }) => socket.send(message, port, to, () => {}));
    // A client that was killed, or that has closed.
    socket.on('error', () => {});
    socket.bind({ port: SERVER, address, exclusive: true });
    return socket;
  }),
);
await Promise.all(udp.map((socket) => once(socket, 'listening')));

let stopping = false;
process.on('disconnect', () => {
  if (!stopping) process.exit(1);
});

process.on('message', async ({ what }) => {
  if (what === 'sample') {
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    process.send({
      what,
      heap: heapUsed + external,
      handles: process.getActiveResourcesInfo().length,
      sockets: connections.size,
    });
  } else {
    stopping = true;
    for (const socket of connections) socket.destroy();
    tcp.close();
    for (const socket of udp) socket.close();
    process.disconnect();
  }
});
process.send({ what: 'ready' });
