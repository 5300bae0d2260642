// What the callbacks and listeners of a UdpBatch may do: throw, close, take the memory away. And what they are always told.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { connectUdpSync } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { batch, hear, heardBy } from '../helpers/batch.js';
import { describeIsolated, NARROW, NO_NEIGHBOURS, OUTSIDE, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { families, keep, RANGE, SERVER, udpNetwork, until } from '../helpers/udp.js';

describeIsolated('callbacks of a UdpBatch', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote, remote2 }) => {
    test.each(['data', 'offset', 'peer'] as const)(
      '%s is transferred: an error, and the batch is closed',
      async (name) => {
        const io = batch();
        const server = io.bind({ host: remote, port: SERVER });
        const errors: [string, unknown][] = [];
        io.on('error', ({ code }, socket) => errors.push([code, socket]));
        const client = keep(connectUdpSync({ host: remote, port: SERVER }));
        let turns = 0;
        io.recvStart((turn) => {
          turns++;
          const { buffer } = turn[name];
          structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
        });
        client.send('1');
        await until(() => turns === 1);
        client.send('2');
        await until(() => errors.length > 0);
        expect(errors).toEqual([['ERR_INVALID_STATE', undefined]]);
        expect(turns).toBe(1);
        expect(server.isClosed).toBe(true);
        expect(() => io.stats()).toThrow(expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }));
      },
    );

    test('what is written into the arrays changes nothing of what is sent on', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER });
      io.recvStart((turn) => {
        const { peer } = turn;
        const target = server.target(peer[0] ?? 0);
        for (const column of [turn.offset, turn.length, turn.segmentSize, turn.socket, peer]) column.fill(0xffffffff);
        expect(turn.forward(0, target)).toBe(1);
      });
      const clients = batch();
      const flow = await clients.connect({ host: remote, port: SERVER });
      const heard = heardBy(clients);
      clients.trySend(flow, Buffer.from('as it was'));
      expect((await hear(heard, 1)).map(String)).toEqual(['as it was']);
    });

    test('close() inside the callback, with runs left and flows open: nothing more is told, and the ports are free', async () => {
      const io = batch();
      io.bind({ host: remote, port: SERVER });
      const flow = await io.connect({ host: remote2, port: SERVER, localAddress: source });
      const told: string[] = [];
      io.on('error', () => told.push('error'));
      io.on('drain', () => told.push('drain'));
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      for (const size of [1, 2, 3]) client.send(Buffer.alloc(size));
      io.recvStart((turn) => {
        told.push(`turn of ${turn.count}`);
        // Nobody listens there: the next call would find ECONNREFUSED.
        turn.forward(0, flow);
        io.close();
        expect(() => turn.forward(1, flow)).toThrow();
        expect(() => io.trySend(flow, Buffer.alloc(1))).toThrow();
        batch().bind({ host: remote, port: SERVER });
      });
      await until(() => told.length > 0);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(told).toEqual(['turn of 3']);
    });
  });
});

describeIsolated('callbacks of a UdpBatch, over a route', () => {
  useNetwork({
    range: RANGE,
    commands: [...OUTSIDE, ...NARROW, ...NO_NEIGHBOURS],
  });

  describe.each([
    { family: 'IPv4', host: '127.0.0.1', far: '192.0.2.8', discover: [sys.constants.IPPROTO_IP, 10] },
    { family: 'IPv6', host: '::1', far: '2001:db8:1::8', discover: [sys.constants.IPPROTO_IPV6, 23] },
  ])('$family', ({ host, far, discover: [level = 0, name = 0] }) => {
    test('a callback that throws ends nothing, and a listener that throws keeps nothing from the others', async () => {
      const args = [fixture('batch-throws.mjs'), host, far];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      expect(JSON.parse(stdout)).toEqual({
        heard: [1, 2, 3, 4],
        caught: ['callback 1', 'callback 2', 'drain', 'drain', 'drain'],
        drained: [0, 1, 2],
      });
    });

    test('of very many sockets that have waited for room each is told', async () => {
      const FLOWS = 400;
      const io = batch();
      const drained = new Set<number>();
      io.on('error', () => {});
      io.on('drain', ({ id }) => drained.add(id));
      const open = async (n: number) => io.connect({ host: far, port: 6000 + n, sendBufferSize: 5000 });
      const flows = await Promise.all(Array.from({ length: FLOWS }, (_, n) => open(n)));
      const bytes = Buffer.alloc(1000);
      for (const flow of flows) while (io.trySend(flow, bytes) === 1);
      expect(io.stats().dropped.blocked).toBe(FLOWS);
      await until(
        () => drained.size === FLOWS,
        () => `${drained.size} of ${FLOWS} heard that there is room`,
      );
    });

    test('of a long run each datagram is counted under the reason why it was not sent', async () => {
      const io = batch();
      // May not be fragmented: IP_MTU_DISCOVER, IP_PMTUDISC_DO.
      const flow = await io.connect({ host: far, port: SERVER, socketOptions: [{ level, name, value: 2 }] });
      expect(io.trySend(flow, Buffer.alloc(100 * 1390), { segmentSize: 1390 })).toBe(0);
      expect(io.stats().dropped).toMatchObject({ tooLong: 100, blocked: 0, failed: 0 });
    });
  });
});
