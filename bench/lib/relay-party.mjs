// A relay as a process: each client has a flow to the sink. Argument: { peer, checkout, host, sink, echo }. It says where it listens, and
// answers 'delay' with how long its event loop was held, 'cpu' and 'memory' with what it has used and holds.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';

const { peer, checkout, host, sink } = JSON.parse(process.argv[2]);
const BUFFER = 8 * 2 ** 20;

const load = (name) => import(pathToFileURL(join(checkout, 'dist', name)).href);

/** As a program writes it with node:dgram: connected sockets, one for each client. */
async function overDgram() {
  const type = isIPv6(host) ? 'udp6' : 'udp4';
  const lookup = (address, _options, done) => done(null, address, isIPv6(address) ? 6 : 4);
  const server = dgram.createSocket({ type, lookup, recvBufferSize: BUFFER });
  const flows = new Map();
  const welcome = (key, client) => {
    const flow = dgram.createSocket({ type, lookup, recvBufferSize: BUFFER });
    flows.set(key, undefined);
    flow.on('error', () => {});
    flow.on('message', (message) => server.send(message, client.port, client.address));
    flow.bind({ address: host, port: 0, exclusive: true }, () => flow.connect(sink, host, () => flows.set(key, flow)));
  };
  server.on('message', (message, client) => {
    const key = `${client.port} ${client.address}`;
    const flow = flows.get(key);
    if (flow !== undefined) flow.send(message);
    else if (!flows.has(key)) welcome(key, client);
  });
  // With a lookup that answers at once it is listening when bind() returns.
  const listening = once(server, 'listening');
  server.bind({ address: host, port: 0 });
  await listening;
  return server.address().port;
}

async function overBatch() {
  const { UdpBatch } = (await load('datagrams.js')).default;
  const io = new UdpBatch();
  io.on('error', () => {});
  const server = io.bind({ host, port: 0, recvBufferSize: BUFFER });
  const flows = new Map();
  const clients = new Map();
  const welcome = async (client) => {
    flows.set(client, undefined);
    const flow = await io.connect({ host, port: sink, localAddress: host, recvBufferSize: BUFFER });
    flows.set(client, flow.target);
    clients.set(flow.id, client);
  };
  io.recvStart((batch) => {
    const { count, socket, peer: peers } = batch;
    for (let i = 0; i < count; i++) {
      if (socket[i] === server.id) {
        const flow = flows.get(peers[i]);
        if (flow !== undefined) batch.forward(i, flow);
        else if (!flows.has(peers[i])) void welcome(peers[i]);
      } else {
        batch.forward(i, clients.get(socket[i]));
      }
    }
  });
  return server.address().port;
}

const port = await (peer === 'dgram' ? overDgram() : overBatch());
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
const answers = {
  delay: () => {
    const p99 = delay.percentile(99) / 1e6;
    delay.reset();
    return p99;
  },
  /** Microseconds of CPU time so far. */
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  memory: () => {
    globalThis.gc();
    return process.memoryUsage.rss();
  },
};
process.on('message', (what) => process.send(answers[what]()));
process.on('disconnect', () => process.exit());
process.send(port);
