// Clients and sink of a relay, as one process: it sends through the relay and counts what arrives. Argument: { checkout, host }.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { checkout, host } = JSON.parse(process.argv[2]);
const { UdpBatch } = (await import(pathToFileURL(join(checkout, 'dist/datagrams.js')).href)).default;
const BYTES = 1200;
const BUFFER = 8 * 2 ** 20;
const PORTION = 64;

const now = () => performance.now();
const io = new UdpBatch({ maxDatagramsPerTurn: 4096 });
io.on('error', () => {});
const sink = io.bind({ host, port: 0, recvBufferSize: BUFFER });
const clients = new Map();
let isEcho = false;
let arrived = 0;

io.recvStart((batch) => {
  const { count, length, segmentSize, socket, peer } = batch;
  for (let i = 0; i < count; i++) {
    const datagrams = Math.ceil(length[i] / segmentSize[i]);
    if (socket[i] !== sink.id) {
      if (isEcho) arrived += datagrams;
    } else if (isEcho) batch.forward(i, peer[i]);
    else arrived += datagrams;
  }
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const ms = (time) => new Promise((resolve) => setTimeout(resolve, time));

async function clientsOf(port, flows) {
  const key = `${port} ${flows}`;
  if (!clients.has(key)) {
    const opened = [];
    while (opened.length < flows) opened.push(await io.connect({ host, port, localAddress: host }));
    clients.set(key, opened);
    // The relay opens a flow for each of them.
    for (let round = 0; round < 20; round++) {
      for (const client of opened) {
        io.trySend(client, Buffer.alloc(1));
        if (flows > 1000) await turn();
      }
      await ms(20);
    }
  }
  return clients.get(key);
}

const acts = {
  /**
   * Sends for so long, at this rate or as fast as it can, in runs of so many datagrams. What arrives counts: at the sink, or with `echo`
   * at the clients.
   */
  async load({ port, flows, run, time, rate = Infinity, echo = false }) {
    const opened = await clientsOf(port, flows);
    isEcho = echo;
    const bytes = Buffer.alloc(run * BYTES, 7);
    const options = { segmentSize: BYTES };
    await ms(20);
    arrived = 0;
    let sent = 0;
    let next = 0;
    const begin = now();
    for (let passed = 0; passed < time; passed = now() - begin) {
      // In portions, so that what arrives is read meanwhile.
      const due = Math.min(sent + PORTION, (passed / 1000) * rate);
      while (sent < due) sent += io.trySend(opened[next++ % flows], bytes, options) || run;
      await turn();
    }
    const took = now() - begin;
    const during = arrived;
    await ms(50);
    return { sent, arrived, during, rate: (during / took) * 1000 };
  },
  async open({ port, flows }) {
    await clientsOf(port, flows);
    return flows;
  },
  /** A process has descriptors for the flows of one relay at a time. */
  async close({ port, flows }) {
    for (const client of await clientsOf(port, flows)) client.close();
    clients.delete(`${port} ${flows}`);
    return flows;
  },
};

process.on('message', ({ name, argument }) => {
  acts[name](argument).then(
    (value) => process.send({ value }),
    (error) => process.send({ error: error.stack }),
  );
});
process.on('disconnect', () => process.exit());
process.send({ value: sink.address().port });
