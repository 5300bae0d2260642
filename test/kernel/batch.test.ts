// UdpBatch: datagrams in runs, received and sent as they are, to whom they are for.
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connectUdpSync } from 'connectx';
import { UdpBatch } from 'connectx/datagrams';
import { describe, expect, test } from 'vitest';
import { batch, datagramsOf, hear, heardBy } from '../helpers/batch.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount } from '../helpers/sockets.js';
import { errorOf, families, keep, PORTS, SERVER, udpEcho, udpNetwork, udpServer, until } from '../helpers/udp.js';

describeIsolated('UdpBatch', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ family, any, source, source2, remote, remote2 }) => {
    test('a bound socket hears who they are, and answers each of them', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER });
      expect(server.address()).toEqual({ address: remote, family, port: SERVER });
      const ends: unknown[] = [];
      io.recvStart((turn) => {
        for (let i = 0; i < turn.count; i++) {
          expect(turn.socket[i]).toBe(server.id);
          ends.push(server.peerAddress(turn.peer[i] as number));
          expect(turn.forward(i, server.target(turn.peer[i] as number))).toBe(1);
        }
      });
      for (const localAddress of [source, source2]) {
        const client = keep(connectUdpSync({ host: remote, port: SERVER, localAddress, localPort: 20001 }));
        client.send(`from ${localAddress}`);
        const [message] = (await once(client, 'message')) as [Buffer];
        expect(message.toString()).toBe(`from ${localAddress}`);
        expect(ends.at(-1)).toEqual({ address: localAddress, family, port: 20001 });
      }
      expect(io.stats()).toMatchObject({ sockets: 1, peers: 2, received: { datagrams: 2 }, sent: { datagrams: 2 } });
    });

    test('a run comes as one, and is sent on as one: every byte, and the odd tail', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER });
      const sink = batch();
      sink.bind({ host: remote2, port: SERVER });
      const heard = heardBy(sink);
      const flow = await io.connect({ host: remote2, port: SERVER, localAddress: source });
      const runs: number[] = [];
      io.recvStart((turn) => {
        for (let i = 0; i < turn.count; i++) {
          runs.push(turn.length[i] as number);
          expect(turn.forward(i, flow)).toBe(21);
        }
      });
      const client = keep(connectUdpSync({ host: remote, port: SERVER, segmentSize: 1000 }));
      const bytes = randomBytes(20_123);
      client.send(bytes);
      const datagrams = await hear(heard, 21);
      expect(runs).toEqual([20_123]);
      expect(datagrams.map(({ length }) => length)).toEqual([...Array<number>(20).fill(1000), 123]);
      expect(Buffer.concat(datagrams).equals(bytes)).toBe(true);
      expect(io.stats()).toMatchObject({ received: { runs: 1, datagrams: 21 }, sent: { runs: 1, datagrams: 21 } });
      expect(server.id).not.toBe(flow.id);
    });

    test('single datagrams of one size make a run; a shorter one closes it, and one without bytes stands alone', async () => {
      const io = batch();
      io.bind({ host: remote, port: SERVER });
      const client = keep(connectUdpSync({ host: remote, port: SERVER }));
      const sizes = [100, 100, 100, 40, 100, 0, 0, 7, 7, 7, 9];
      const sent = sizes.map((size) => randomBytes(size));
      for (const datagram of sent) client.send(datagram);
      // They wait in the receive buffer, and come in one turn.
      const heard = heardBy(io);
      await hear(heard, sizes.length);
      expect(heard.map(({ datagrams }) => datagrams.map(({ length }) => length))).toEqual([
        [100, 100, 100, 40],
        [100],
        [0],
        [0],
        [7, 7, 7],
        [9],
      ]);
      expect(datagramsOf(heard)).toEqual(sent);
    });

    test('trySend: a datagram, a part of a buffer, a run, more than one system call can send, and nothing', async () => {
      const server = await udpServer(SERVER, remote);
      server.setRecvBufferSize(2 ** 20);
      const heard: Buffer[] = [];
      server.on('message', (message) => heard.push(message));
      const io = batch();
      const flow = await io.connect({ host: remote, port: SERVER, localAddress: source });
      const bytes = randomBytes(200);
      const cases = [
        { options: undefined, sizes: [200] },
        { options: { offset: 10, length: 20 }, sizes: [20] },
        { options: { segmentSize: 64 }, sizes: [64, 64, 64, 8] },
        { options: { segmentSize: 200 }, sizes: [200] },
        { options: { segmentSize: 1, offset: 50 }, sizes: Array<number>(150).fill(1) },
        { options: { length: 0 }, sizes: [0] },
        { options: { length: 0, segmentSize: 5 }, sizes: [0] },
      ];
      for (const { options, sizes } of cases) {
        heard.length = 0;
        expect(io.trySend(flow, bytes, options)).toBe(sizes.length);
        await until(() => heard.length === sizes.length);
        expect(heard.map(({ length }) => length)).toEqual(sizes);
        const { offset = 0, length = 200 - offset } = options ?? {};
        expect(Buffer.concat(heard).equals(bytes.subarray(offset, offset + length))).toBe(true);
      }
    });

    test('1,000 runs of random sizes, tails and peers: 0 bytes wrong', async () => {
      const io = batch();
      const server = io.bind({ host: remote, port: SERVER, recvBufferSize: 4 * 2 ** 20 });
      io.recvStart((turn) => {
        for (let i = 0; i < turn.count; i++) turn.forward(i, server.target(turn.peer[i] as number));
      });
      const clients = batch();
      const flows = await Promise.all(
        PORTS.map((localPort) => clients.connect({ host: remote, port: SERVER, localAddress: source, localPort })),
      );
      const heard = heardBy(clients);
      let wrong = 0;
      for (let round = 0; round < 250; round++) {
        heard.length = 0;
        const sent = flows.map(() => {
          const segmentSize = randomInt(1, 1400);
          const bytes = randomBytes(randomInt(1, Math.min(40_000, 60 * segmentSize)));
          return { segmentSize, bytes };
        });
        flows.forEach((flow, n) => {
          const { bytes = Buffer.alloc(0), segmentSize = 1 } = sent[n] ?? {};
          clients.trySend(flow, bytes, { segmentSize });
        });
        const total = sent.reduce((sum, { bytes, segmentSize }) => sum + Math.ceil(bytes.length / segmentSize), 0);
        await hear(heard, total);
        flows.forEach((flow, n) => {
          const own = datagramsOf(heard.filter(({ socket }) => socket === flow.id));
          if (!Buffer.concat(own).equals(sent[n]?.bytes ?? Buffer.alloc(0))) wrong++;
        });
      }
      expect(wrong).toBe(0);
      expect(io.stats().dropped).toEqual(
        expect.objectContaining({ blocked: 0, failed: 0, stale: 0, truncated: 0, strangers: 0, overflow: 0 }),
      );
    });

    test('flows share ports over destinations, never a 4-tuple, and give the port back', async () => {
      await udpEcho(SERVER, [remote, remote2]);
      const io = batch();
      const open = (host: string) => io.connect({ host, port: SERVER, localAddress: source });
      for (let round = 0; round < 3; round++) {
        const flows = [];
        for (const host of [remote, remote2]) {
          for (let n = 0; n < PORTS.length; n++) flows.push(await open(host));
        }
        const tuples = flows.map((flow) => `${flow.address().port} ${flow.remoteAddress().address}`);
        expect(new Set(tuples).size).toBe(2 * PORTS.length);
        const error = await errorOf(() => open(remote));
        expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
        const heard = heardBy(io);
        for (const flow of flows) io.trySend(flow, Buffer.from(`${flow.id}`));
        await hear(heard, flows.length);
        for (const { socket, datagrams } of heard) expect(datagrams.map(String)).toEqual([`${socket}`]);
        for (const flow of flows) flow.close();
      }
      const taken = await io.connect({ host: remote, port: SERVER, localAddress: source, localPort: 20001 });
      expect(taken.address()).toEqual({ address: source, family, port: 20001 });
      expect(taken.remoteAddress()).toEqual({ address: remote, family, port: SERVER });
      const again = () => io.connect({ host: remote, port: SERVER, localAddress: source, localPort: 20001 });
      expect(await errorOf(again)).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
      expect(() => connectUdpSync({ host: remote, port: SERVER, localAddress: source, localPort: 20001 })).toThrow();
    });

    test('bind says what is wrong, and SO_REUSEPORT shares', () => {
      const io = batch();
      io.bind({ host: remote, port: SERVER });
      const second = () => io.bind({ host: remote, port: SERVER });
      expect(second).toThrow(expect.objectContaining({ code: 'EADDRINUSE', address: remote, port: SERVER }));
      const foreign = family === 'IPv6' ? '2001:db8:ffff::1' : '192.0.2.200';
      expect(() => io.bind({ host: foreign, port: 1 })).toThrow(expect.objectContaining({ code: 'EADDRNOTAVAIL' }));
      for (let n = 0; n < 2; n++) io.bind({ host: any, port: 6000, reusePort: true });
      expect(io.stats().sockets).toBe(3);
    });
  });

  test('wrong arguments', async () => {
    const io = batch();
    const flow = await io.connect({ host: '127.0.0.2', port: SERVER });
    const wrong: [() => unknown, string][] = [
      [() => new UdpBatch({ slots: 0 }), 'ERR_OUT_OF_RANGE'],
      [() => new UdpBatch({ maxDatagramsPerTurn: 1.5 }), 'ERR_OUT_OF_RANGE'],
      [() => io.bind({ host: 'localhost', port: 1 }), 'ERR_INVALID_ARG_VALUE'],
      [() => io.bind({ host: '127.0.0.1', port: 65536 }), 'ERR_SOCKET_BAD_PORT'],
      [() => io.connect({ host: '127.0.0.1', port: 1, segmentSize: 5 } as never), 'ERR_INVALID_ARG_VALUE'],
      [() => io.trySend(undefined as never, Buffer.alloc(1)), 'ERR_INVALID_ARG_TYPE'],
      [() => io.trySend(flow, 'text' as never), 'ERR_INVALID_ARG_TYPE'],
      [() => io.trySend(flow, Buffer.alloc(4), { offset: 5 }), 'ERR_OUT_OF_RANGE'],
      [() => io.trySend(flow, Buffer.alloc(4), { offset: 2, length: 3 }), 'ERR_OUT_OF_RANGE'],
      [() => io.trySend(flow, Buffer.alloc(4), { segmentSize: 0 }), 'ERR_OUT_OF_RANGE'],
      [() => io.recvStart(undefined as never), 'ERR_INVALID_ARG_TYPE'],
    ];
    for (const [act, code] of wrong) expect(act).toThrow(expect.objectContaining({ code }));
  });

  test('an abort while it connects, and later', async () => {
    const io = batch();
    const early = AbortSignal.abort();
    const options = { host: '127.0.0.2', port: SERVER };
    expect(await errorOf(() => io.connect({ ...options, signal: early }))).toMatchObject({ name: 'AbortError' });
    const controller = new AbortController();
    const flow = await io.connect({ ...options, signal: controller.signal });
    controller.abort();
    expect(flow.isClosed).toBe(true);
    expect(io.stats().sockets).toBe(0);
  });

  test('nothing works after close(), and nothing is left open', async () => {
    const warm = batch();
    await warm.connect({ host: '127.0.0.2', port: SERVER });
    warm.close();
    await once(warm, 'close');
    const before = descriptorCount();
    const lookup = ((_host: string, _options: object, done: (error: null, addresses: object[]) => void) =>
      setImmediate(() => done(null, [{ address: '127.0.0.3', family: 4 }]))) as never;
    for (let n = 0; n < 20; n++) {
      const io = batch();
      const server = io.bind({ host: '127.0.0.1', port: 0 });
      const flow = await io.connect({ host: '127.0.0.2', port: SERVER });
      const connecting = io.connect({ host: 'name.test', port: SERVER, lookup });
      io.recvStart(() => {});
      io.close();
      io.close();
      // The next one is nobody else's.
      const next = batch();
      expect(await errorOf(() => connecting)).toMatchObject({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' });
      for (const act of [
        () => io.bind({ host: '127.0.0.1', port: 0 }),
        () => io.trySend(flow, Buffer.alloc(1)),
        () => io.stats(),
        () => io.recvStart(() => {}),
        () => server.address(),
        () => flow.remoteAddress(),
      ]) {
        expect(act).toThrow(expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }));
      }
      flow.close();
      expect(next.stats().sockets).toBe(0);
      next.close();
    }
    await until(() => descriptorCount() <= before);
    expect(descriptorCount()).toBeLessThanOrEqual(before);
  });
});
