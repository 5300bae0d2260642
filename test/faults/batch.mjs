// A UdpBatch that relays: a run and single datagrams from a flow to a server, which sends them back. Whatever fails on the way, all of them
// arrive in the end, each datagram that did not is counted, and the batch closes.
import { setTimeout as pause } from 'node:timers/promises';
import { UdpBatch } from 'connectx/datagrams';
import { Wrong } from './wrong.mjs';

const SIZE = 100;
/** The first byte of each is its number. */
const RUN = Buffer.concat(Array.from({ length: 5 }, (_, n) => Buffer.alloc(n === 4 ? 40 : SIZE, n)));
const DATAGRAMS = 5;

/** What came of it, to be told: the errors and the counts of what got lost; undefined where all went well. */
export async function batchOnce({ host, port, localAddress }) {
  const io = new UdpBatch({ slots: 2 });
  const told = [];
  // Not events.once(), which rejects at the first error.
  const closed = new Promise((resolve) => io.once('close', resolve));
  io.on('error', (error, socket) => told.push({ error, socket }));
  const mustGoOn = () => {
    const lost = told.find(({ socket }) => socket === undefined);
    if (lost !== undefined) throw lost.error;
  };
  try {
    const server = io.bind({ host, port, recvBufferSize: 2 ** 18, sendBufferSize: 2 ** 18 });
    const flow = await io.connect({ host, port, localAddress });
    let offered = 0;
    const heard = new Set();
    const receive = (batch) => {
      for (let i = 0; i < batch.count; i++) {
        const [from, length, size] = [batch.offset[i], batch.length[i], batch.segmentSize[i]];
        for (let at = 0; at < length; at += size) {
          const number = batch.data[from + at];
          const bytes = batch.data.subarray(from + at, from + Math.min(at + size, length));
          if (bytes.length !== (number === 4 ? 40 : SIZE) || bytes.some((byte) => byte !== number)) {
            throw new Wrong(`datagram ${number} came as ${Buffer.from(bytes).toString('hex')}`);
          }
          if (batch.socket[i] === flow.id) heard.add(number);
        }
        if (batch.socket[i] !== server.id) continue;
        offered += Math.ceil(length / size);
        batch.forward(i, server.target(batch.peer[i]));
      }
    };
    io.recvStart(receive);
    // As clients do: what has not come back is sent again, at first as a run, then one by one.
    for (let round = 0; heard.size < DATAGRAMS; round++) {
      if (round > 100) throw new Wrong(`${heard.size} of ${DATAGRAMS} came back: ${JSON.stringify(io.stats())}`);
      mustGoOn();
      // A socket of which epoll would not tell is heard of again when it is asked again.
      if (round === 5 && told.length > 0) io.recvStop().recvStart(receive);
      const options = round % 2 === 0 ? { segmentSize: SIZE } : { length: SIZE, offset: SIZE * (round % 4) };
      offered += round % 2 === 0 ? DATAGRAMS : 1;
      io.trySend(flow, RUN, options);
      for (let turn = 0; turn < 20 && heard.size < DATAGRAMS; turn++) await pause(1);
    }
    mustGoOn();
    const { sent, dropped, refusedRuns } = io.stats();
    const { blocked, failed, tooLong, stale } = dropped;
    if (sent.datagrams + blocked + failed + tooLong + stale !== offered) {
      throw new Wrong(`${offered} were to be sent, and counted are ${JSON.stringify(io.stats())}`);
    }
    const errors = told.map(({ error }) => error.code);
    const counts = Object.entries({ ...dropped, refusedRuns }).filter(([, count]) => count > 0);
    const all = [...new Set(errors), ...counts.map(([name]) => name)];
    return all.length === 0 ? undefined : all.join(', ');
  } finally {
    io.close();
    await closed;
  }
}
