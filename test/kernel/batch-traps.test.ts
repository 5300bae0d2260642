// What goes wrong with datagrams in runs, one test for each.
import { createRequire } from 'node:module';
import * as sys from 'connectx/sys';
import { connectUdpSync } from 'connectx';
import type { UdpBatch, UdpFlow } from 'connectx/datagrams';
import { describe, expect, test } from 'vitest';
import type { Native } from '../../src/kernel/addon.js';
import { BatchSize } from '../../src/kernel/constants.js';
import { batch, hear, heardBy } from '../helpers/batch.js';
import { describeIsolated, NARROW, NO_NEIGHBOURS, OUTSIDE, useNetwork } from '../helpers/netns.js';
import { BUILT_ADDON } from '../helpers/package.js';
import { track } from '../helpers/sockets.js';
import { families, keep, RANGE, SERVER, udpEcho, udpNetwork, udpServer, until } from '../helpers/udp.js';

const native = createRequire(import.meta.url)(BUILT_ADDON) as Native;

/** What `io` tells of errors and drains. */
function eventsOf(io: UdpBatch): { errors: [string, number | undefined][]; drained: number[] } {
  const errors: [string, number | undefined][] = [];
  const drained: number[] = [];
  io.on('error', ({ code }, socket) => errors.push([code, socket?.id]));
  io.on('drain', ({ id }) => drained.push(id));
  return { errors, drained };
}

/** A batch of the addon, without the class: with slots of this size. */
function bare(slotBytes: number, onTurn: (runs: number) => void) {
  const memory = new Uint8Array(32 * slotBytes);
  const runs = new Uint32Array(5 * BatchSize.runs);
  const events = new Uint32Array(2 * BatchSize.events);
  const id = native.batchOpen(slotBytes, 512, 16, 1, 2, 3, memory, runs, events, onTurn);
  expect(id).toBeGreaterThanOrEqual(0);
  track({ close: () => native.batchClose(id) });
  const dropped = () => {
    const counts = new Float64Array(BatchSize.stats);
    native.batchStats(id, counts);
    return { truncated: counts[10], strangers: counts[11], received: counts[0] };
  };
  return { id, memory, runs, dropped };
}

describeIsolated('datagrams in runs', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, source2, remote, remote2 }) => {
    const domain = version === 6 ? sys.constants.AF_INET6 : sys.constants.AF_INET;

    test('a flow that is closed inside the turn gets nothing more, nor does the next one under its number', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER });
      const heard: number[] = [];
      const far = await udpServer(SERVER, remote2);
      far.on('message', (message) => heard.push(message.length));
      const first = await io.connect({ host: remote2, port: SERVER, localAddress: source });
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      for (const size of [1, 2, 3]) client.send(Buffer.alloc(size));
      const taken: number[] = [];
      io.recvStart((turn) => {
        for (let i = 0; i < turn.count; i++) {
          taken.push(turn.forward(i, first));
          first.close();
        }
      });
      await until(() => taken.length === 3);
      expect(taken).toEqual([1, 0, 0]);
      // Whatever opens next has another number, and another target.
      const next = await io.connect({ host: remote2, port: SERVER, localAddress: source });
      expect(next.id).not.toBe(first.id);
      expect(next.target).not.toBe(first.target);
      expect(io.trySend(first.target, Buffer.alloc(9))).toBe(0);
      expect(io.stats().dropped.stale).toBe(3);
      expect(io.trySend(next, Buffer.alloc(4))).toBe(1);
      await until(() => heard.length === 2);
      expect(heard).toEqual([1, 4]);
      expect(server.isClosed).toBe(false);
    });

    test("a stranger's datagram, which the kernel had queued for the flow, is not delivered", async () => {
      const one = bare(65536, () => {});
      native.batchReceive(one.id, true);
      const fd = native.batchSocket(one.id, domain);
      sys.bind(fd, { address: source, port: 20001 });
      const far = await udpServer(SERVER, remote);
      // As if it had been connected to remote2 when the datagram of `remote` had found it.
      sys.connect(fd, { address: remote, port: SERVER });
      expect(native.batchAdopt(one.id, fd, domain, remote2, SERVER)).toBeGreaterThan(0);
      far.send('from a stranger', 20001, source);
      await until(() => one.dropped().strangers === 1);
      expect(one.dropped()).toEqual({ truncated: 0, strangers: 1, received: 0 });
    });

    test('what is cut off is not delivered, and counted', async () => {
      const turns: number[] = [];
      const one = bare(104, (runs) => turns.push(runs));
      native.batchReceive(one.id, true);
      native.batchBind(one.id, domain, remote, SERVER, 0, 0, false);
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      for (const size of [105, 104, 1000]) client.send(Buffer.alloc(size, size));
      await until(() => one.dropped().truncated === 2);
      expect(one.dropped()).toEqual({ truncated: 2, strangers: 0, received: 1 });
      expect(one.runs[BatchSize.runs]).toBe(104);
    });

    test('ECONNREFUSED is of an earlier datagram: the next one is sent all the same, and only that flow is told', async () => {
      await udpEcho(SERVER, [remote2]);
      const io = batch();
      const { errors } = eventsOf(io);
      const heard = heardBy(io);
      const refused = await io.connect({ host: remote, port: SERVER, localAddress: source });
      const other = await io.connect({ host: remote2, port: SERVER, localAddress: source });
      // Nobody reads between the two: the second send finds the error of the first.
      expect(io.trySend(refused, Buffer.from('1'))).toBe(1);
      expect(io.trySend(refused, Buffer.from('2'))).toBe(1);
      expect(io.trySend(other, Buffer.from('3'))).toBe(1);
      await hear(heard, 1);
      await until(() => errors.length >= 1);
      expect(new Set(errors.map(String))).toEqual(new Set([`ECONNREFUSED,${refused.id}`]));
      expect(heard.map(({ socket }) => socket)).toEqual([other.id]);
      expect(io.stats().dropped.failed).toBe(0);
      // It is open: when somebody is there, it is heard.
      await udpEcho(SERVER, [remote]);
      io.trySend(refused, Buffer.from('4'));
      await until(() => heard.some(({ socket }) => socket === refused.id));
    });

    test('a turn is limited in datagrams, runs or not, and no socket waits for ever', async () => {
      const io = batch({ maxDatagramsPerTurn: 64 });
      const servers = [remote, remote2].map((host) => io.bind({ host, port: SERVER, recvBufferSize: 2 ** 21 }));
      const run = keep(connectUdpSync({ host: remote, port: SERVER, segmentSize: 100 }));
      const single = keep(connectUdpSync({ host: remote2, port: SERVER }));
      for (let n = 0; n < 20; n++) {
        run.send(Buffer.alloc(5000));
        for (let i = 0; i < 25; i++) single.send(Buffer.alloc(10 + i));
      }
      const turns: Map<number, number>[] = [];
      io.recvStart(({ count, length, segmentSize, socket }) => {
        const turn = new Map<number, number>();
        for (let i = 0; i < count; i++) {
          const datagrams = Math.ceil((length[i] ?? 0) / (segmentSize[i] ?? 1));
          turn.set(socket[i] ?? 0, (turn.get(socket[i] ?? 0) ?? 0) + datagrams);
        }
        turns.push(turn);
      });
      const total = (id: number) => turns.reduce((sum, turn) => sum + (turn.get(id) ?? 0), 0);
      await until(() => servers.every(({ id }, n) => total(id) === (n === 0 ? 1000 : 500)));
      for (const turn of turns) {
        const datagrams = [...turn.values()].reduce((sum, each) => sum + each, 0);
        // The last one of them may be a run.
        expect(datagrams).toBeLessThan(64 + 64);
      }
      const firstOf = (id: number) => turns.findIndex((turn) => turn.has(id));
      for (const { id } of servers) expect(firstOf(id)).toBeLessThan(4);
    });

    test('of more senders than it may remember the silent ones are forgotten, and an old number reaches nobody else', async () => {
      const io = batch({ maxPeers: 2 });
      const server = io.bind({ host: remote, port: SERVER });
      const heard = heardBy(io);
      const send = async (localPort: number): Promise<number> => {
        const client = keep(connectUdpSync({ host: remote, port: SERVER, localAddress: source2, localPort }));
        const before = heard.length;
        client.send('x');
        await until(() => heard.length > before);
        client.close();
        return heard.at(-1)?.peer ?? 0;
      };
      const first = await send(21001);
      for (let port = 21002; port < 21010; port++) await send(port);
      expect(io.stats()).toMatchObject({ peers: 2, evictedPeers: 7 });
      expect(server.peerAddress(first)).toBeUndefined();
      expect(io.trySend(server.target(first), Buffer.alloc(1))).toBe(0);
      expect(io.stats().dropped.stale).toBe(1);
    });

    test('memory that was transferred to another thread is an error, and no crash', async () => {
      const io = batch();
      io.bind({ host: remote, port: SERVER });
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      let code = '';
      io.on('error', (error) => (code = error.code));
      let later: (() => unknown) | undefined;
      io.recvStart((turn) => {
        const { buffer } = turn.data;
        structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
        later = () => turn.forward(0, 1);
        expect(later).toThrow();
      });
      client.send('1');
      await until(() => later !== undefined);
      client.send('2');
      await until(() => code !== '');
      expect(code).toBe('ERR_INVALID_STATE');
    });

    test('close() inside the callback, and forward() after it', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER });
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      const kept: (() => unknown)[] = [];
      io.recvStart((turn) => {
        kept.push(() => turn.forward(0, server.target(1)));
        if (kept.length === 2) io.close();
      });
      client.send('1');
      await until(() => kept.length === 1);
      expect(kept[0]).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
      client.send('2');
      await until(() => kept.length === 2);
      expect(kept[1]).toThrow();
      expect(server.isClosed).toBe(true);
    });

    test('recvStop() leaves what comes to the next recvStart()', async () => {
      const io = batch();
      io.bind({ host: remote, port: SERVER });
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      const first = heardBy(io);
      client.send('1');
      await hear(first, 1);
      io.recvStop();
      client.send('2');
      const other = await udpServer(SERVER, remote2);
      const probe = keep(connectUdpSync({ host: remote2, port: SERVER }));
      await new Promise((resolve) => {
        other.once('message', resolve);
        probe.send('the event loop has turned');
      });
      expect(first).toHaveLength(1);
      const second = heardBy(io);
      expect((await hear(second, 1)).map(String)).toEqual(['2']);
    });
  });
});

describeIsolated('runs over a route', () => {
  useNetwork({
    range: RANGE,
    commands: [...OUTSIDE, ...NARROW, ...NO_NEIGHBOURS],
  });

  describe.each([
    { family: 'IPv4', host: '192.0.2.8', most: 1372 },
    { family: 'IPv6', host: '2001:db8:1::8', most: 1352 },
  ])('$family', ({ host, most }) => {
    /** The sends of a run, with what is counted of it. */
    const send = (io: UdpBatch, flow: UdpFlow, segmentSize: number) => {
      const before = io.stats();
      const taken = io.trySend(flow, Buffer.alloc(4 * segmentSize), { segmentSize });
      const after = io.stats();
      return { taken, calls: after.sent.runs - before.sent.runs, refused: after.refusedRuns - before.refusedRuns };
    };

    test('segments above its MTU go one by one; that is remembered, and smaller ones are still a run', async () => {
      const io = batch();
      eventsOf(io);
      const flow = await io.connect({ host, port: SERVER, sendBufferSize: 2 ** 20 });
      expect(send(io, flow, most)).toEqual({ taken: 4, calls: 1, refused: 0 });
      expect(send(io, flow, most + 1)).toEqual({ taken: 4, calls: 4, refused: 1 });
      for (let n = 0; n < 3; n++) expect(send(io, flow, most + 1)).toEqual({ taken: 4, calls: 4, refused: 0 });
      expect(send(io, flow, most)).toEqual({ taken: 4, calls: 1, refused: 0 });
    });

    test('a full send buffer: what fits is taken, the rest counted, and drain tells when there is room', async () => {
      const io = batch();
      const { drained } = eventsOf(io);
      // They wait for the neighbour, which is not there.
      const flow = await io.connect({ host, port: SERVER, sendBufferSize: 20_000 });
      let taken = 0;
      let refused = 0;
      for (let n = 0; n < 20; n++) {
        const sent = io.trySend(flow, Buffer.alloc(30_000), { segmentSize: 1000 });
        taken += sent;
        refused += 30 - sent;
      }
      expect(taken).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
      expect(io.stats()).toMatchObject({ sent: { datagrams: taken }, dropped: { blocked: refused } });
      await until(() => drained.length > 0);
      expect(drained).toEqual([flow.id]);
      expect(io.trySend(flow, Buffer.alloc(1000))).toBe(1);
    });
  });
});
