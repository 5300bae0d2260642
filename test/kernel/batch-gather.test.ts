// Datagrams of one peer that came between those of others are a run, and what each peer has sent stays what it was, in its order.
import { randomBytes, randomInt } from 'node:crypto';
import { connectUdpSync } from 'connectx';
import type { UdpBatch, UdpServer } from 'connectx/datagrams';
import { describe, expect, test } from 'vitest';
import { batch, datagramsOf, hear, heardBy, type HeardRun } from '../helpers/batch.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { families, keep, PORTS, SERVER, udpNetwork } from '../helpers/udp.js';

describeIsolated('datagrams of many peers', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote, remote2 }) => {
    const bind = (io: UdpBatch): UdpServer => io.bind({ host: remote, port: SERVER, recvBufferSize: 2 ** 20 });
    /** What each of them has sent, by its port. */
    const byPort = (server: UdpServer, runs: readonly HeardRun[]) => {
      const heard = new Map<number, Buffer[]>();
      for (const { peer, datagrams } of runs) {
        const { port = 0 } = server.peerAddress(peer) ?? {};
        heard.set(port, [...(heard.get(port) ?? []), ...datagrams]);
      }
      return heard;
    };
    const clientAt = (localPort: number, segmentSize?: number) =>
      keep(connectUdpSync({ host: remote, port: SERVER, localAddress: source, localPort, segmentSize }));

    test('by turns: a run for each, which is sent on with one system call', async () => {
      const io = batch();
      const server = bind(io);
      const clients = PORTS.map((port) => ({ port, socket: clientAt(port) }));
      const sent = new Map(PORTS.map((port) => [port, Array.from({ length: 10 }, () => randomBytes(100))]));
      for (let n = 0; n < 10; n++) {
        for (const { port, socket } of clients) socket.send(sent.get(port)?.[n] ?? '');
      }
      // They wait in the receive buffer, and come in one turn.
      const sink = batch();
      sink.bind({ host: remote2, port: SERVER });
      const arrived = heardBy(sink);
      const flow = await io.connect({ host: remote2, port: SERVER });
      const runs: HeardRun[] = [];
      io.recvStart((turn) => {
        for (let i = 0; i < turn.count; i++) {
          const [offset = 0, length = 0, segmentSize = 0] = [turn.offset[i], turn.length[i], turn.segmentSize[i]];
          const datagrams: Buffer[] = [];
          for (let at = 0; at < length; at += segmentSize) {
            datagrams.push(Buffer.from(turn.data.subarray(offset + at, offset + at + segmentSize)));
          }
          runs.push({ socket: turn.socket[i] ?? 0, peer: turn.peer[i] ?? 0, segmentSize, datagrams });
          expect(turn.forward(i, flow)).toBe(datagrams.length);
        }
      });
      await hear(arrived, 10 * PORTS.length);
      expect(byPort(server, runs)).toEqual(sent);
      expect(datagramsOf(arrived)).toEqual(datagramsOf(runs));
      expect(io.stats()).toMatchObject({
        received: { datagrams: 10 * PORTS.length, runs: runs.length },
        sent: { runs: runs.length },
      });
      expect(runs.length).toBeLessThan(2.5 * PORTS.length);
    });

    test.each([1, 2, 3, 32])('%d slots, sizes by chance: each peer is heard as it has spoken', async (slots) => {
      const io = batch({ slots });
      const server = bind(io);
      const clients = PORTS.map((port, n) => ({
        port,
        size: 100 * n,
        socket: clientAt(port, n > 0 ? 100 * n : undefined),
      }));
      const heard = heardBy(io);
      for (let round = 0; round < 20; round++) {
        io.recvStop();
        const sent = new Map(PORTS.map((port) => [port, [] as Buffer[]]));
        for (let n = 0; n < 60; n++) {
          const client = clients[randomInt(clients.length)];
          if (client === undefined) continue;
          const lengths = [0, 1, 100, 100, 100, 300, 300, 1200];
          const bytes = randomBytes(
            randomInt(5) === 0 && client.size > 0 ? randomInt(1, 4000) : (lengths[randomInt(lengths.length)] ?? 0),
          );
          client.socket.send(bytes);
          const size = client.size > 0 ? client.size : bytes.length;
          const datagrams = sent.get(client.port);
          if (bytes.length === 0) datagrams?.push(bytes);
          for (let at = 0; at < bytes.length; at += size) datagrams?.push(bytes.subarray(at, at + size));
        }
        const before = io.stats().received.runs;
        const now = heardBy(io);
        const total = [...sent.values()].reduce((sum, { length }) => sum + length, 0);
        await hear(now, total);
        for (const [port, datagrams] of byPort(server, now)) expect(datagrams).toEqual(sent.get(port));
        expect(io.stats().received.runs - before).toBe(now.length);
      }
      expect(heard).toEqual([]);
      expect(io.stats().dropped).toMatchObject({ truncated: 0, overflow: 0 });
    });
  });
});
