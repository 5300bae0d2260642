// The contestants. Each takes the ends, and gives a function that opens one connection as a user would write it.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { join } from 'node:path';
import { articleUdp } from './article.mjs';

const WANTED_PORTS = [33_000, 59_999];

/** The connectx that is built in this folder. */
const connectxIn = (checkout, entry = 'index') => createRequire(join(checkout, 'package.json'))(`./dist/${entry}.js`);

// Round in a circle: a port has long been free again when its turn comes.
function portsOf([low, high] = WANTED_PORTS) {
  let port = high;
  return () => (port = port === high ? low : port + 1);
}

export const peers = {
  'net.connect': ({ remote: { host, port } }) => {
    return () => net.connect({ host, port });
  },
  'net.connect, localAddress': ({ remote: { host, port }, source }) => {
    return () => net.connect({ host, port, localAddress: source });
  },
  // Fails at once, without a search: what core's failing connect costs by itself.
  'net.connect, no such source': ({ remote: { host, port } }) => {
    return () => net.connect({ host, port, localAddress: '203.0.113.1' });
  },
  'net.connect, localAddress + localPort': ({ remote: { host, port }, source, range }) => {
    const next = portsOf(range);
    return () => net.connect({ host, port, localAddress: source, localPort: next() });
  },
  'net.connect, registered': ({ checkout, remote: { host, port } }) => {
    connectxIn(checkout, 'register');
    return () => net.connect({ host, port });
  },
  'net.connect, localAddress, registered': ({ checkout, remote: { host, port }, source }) => {
    connectxIn(checkout, 'register');
    return () => net.connect({ host, port, localAddress: source });
  },
  connectx: ({ checkout, remote: { host, port } }) => {
    const { connect } = connectxIn(checkout);
    return () => connect({ host, port });
  },
  'connectx, localAddress': ({ checkout, remote: { host, port }, source }) => {
    const { connect } = connectxIn(checkout);
    return () => connect({ host, port, localAddress: source });
  },
  'connectx, localAddress + localPort': ({ checkout, remote: { host, port }, source, range }) => {
    const { connect } = connectxIn(checkout);
    const next = portsOf(range);
    return () => connect({ host, port, localAddress: source, localPort: next() });
  },
  'connectx, a pool': ({ checkout, remote: { host, port }, sources }) => {
    const { connect, SourcePool } = connectxIn(checkout);
    const pool = new SourcePool(sources);
    return () => connect({ host, port, localAddress: pool });
  },
  'connectx, localPortRange': ({ checkout, remote: { host, port }, source, ports }) => {
    const { connect } = connectxIn(checkout);
    return () => connect({ host, port, localAddress: source, localPortRange: ports });
  },
  'connectx, reuseTimeWait': ({ checkout, remote: { host, port }, source }) => {
    const { connect } = connectxIn(checkout);
    return () => connect({ host, port, localAddress: source, reuseTimeWait: true });
  },
  // UDP: the functions give a connected socket, or a promise of one.
  'dgram, bind + connect': ({ family, remote: { host, port }, source }) => {
    return async () => {
      const socket = dgram.createSocket(`udp${family}`);
      socket.bind({ address: source, exclusive: true });
      await once(socket, 'listening');
      socket.connect(port, host);
      await once(socket, 'connect');
      return socket;
    };
  },
  "the article's algorithm": ({ checkout, ...ends }) => articleUdp(connectxIn(checkout, 'sys'), ends),
  connectUdp: ({ checkout, remote: { host, port }, source }) => {
    const { connectUdp } = connectxIn(checkout);
    return () => connectUdp({ host, port, localAddress: source });
  },
  connectUdpSync: ({ checkout, remote: { host, port }, source }) => {
    const { connectUdpSync } = connectxIn(checkout);
    return () => connectUdpSync({ host, port, localAddress: source });
  },
};
