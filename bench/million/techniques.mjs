// How a client opens a flow, sends on it, and closes it: connectx as a user would write it, and core as the control. Each
// `open` resolves with the socket; `hear` is called with what arrives.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import * as net from 'node:net';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const connectx = () => require('../../dist/index.js');

const udp = {
  listen: (socket, hear) => socket.on('message', hear),
  send: (socket, bytes) => socket.send(bytes),
  localEnd: (socket) => socket.address(),
  close: (socket) => socket.close(),
  /** Nobody repeats a datagram that was lost. */
  retries: 20,
  retryAfter: 1000,
};

const tcp = {
  listen: (socket, hear) => socket.on('data', hear),
  send: (socket, bytes) => socket.write(bytes),
  localEnd: ({ localAddress: address, localPort: port }) => ({ address, port }),
  /** A reset leaves nothing in TIME-WAIT. */
  close: (socket) => socket.resetAndDestroy(),
  retries: 0,
  retryAfter: 60_000,
};

async function connected(socket) {
  await once(socket, 'connect');
  return socket;
}

export const techniques = {
  connectUdp: {
    ...udp,
    protocol: 'udp',
    concurrency: 1,
    prepare({ source }) {
      const { connectUdp } = connectx();
      return ({ host, port }) => connectUdp({ host, port, localAddress: source });
    },
  },
  connect: {
    ...tcp,
    protocol: 'tcp',
    concurrency: 16,
    prepare({ source }) {
      const { connect } = connectx();
      return ({ host, port }) => connected(connect({ host, port, localAddress: source }));
    },
  },
  dgram: {
    ...udp,
    protocol: 'udp',
    concurrency: 1,
    prepare({ source, family }) {
      return async ({ host, port }) => {
        const socket = dgram.createSocket(`udp${family}`);
        socket.bind({ address: source, exclusive: true });
        await once(socket, 'listening');
        socket.connect(port, host);
        return connected(socket);
      };
    },
  },
  net: {
    ...tcp,
    protocol: 'tcp',
    concurrency: 16,
    prepare({ source }) {
      return ({ host, port }) => connected(net.connect({ host, port, localAddress: source }));
    },
  },
};
