// Source pools over real sockets: with 3 sources and 4 ports there are 12 connections to each destination.
import { once } from 'node:events';
import * as net from 'node:net';
import { connect, Socket, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER } from '../helpers/families.js';
import { describeIsolated, shell, useNetwork } from '../helpers/netns.js';
import {
  assertEcho,
  closed,
  connected,
  descriptorCount,
  echoServer,
  exhaust,
  failure,
  track,
  until,
} from '../helpers/sockets.js';
import { errorOf, keep, udpEcho, assertUdpEcho, ways } from '../helpers/udp.js';

const casts = families.map((cast) => ({
  ...cast,
  sources:
    cast.version === 4 ? ['127.0.0.11', '127.0.0.12', '127.0.0.13'] : ['2001:db8::11', '2001:db8::12', '2001:db8::13'],
  block: cast.version === 4 ? '127.9.0.0/30' : '2001:db8:9::/126',
  huge: cast.version === 4 ? '127.8.0.0/16' : '2001:db8:8::/64',
  /** On this machine only with freeBind. */
  foreign: cast.version === 4 ? '192.0.2.7' : '2001:db8:7::7',
}));

const network = {
  range: RANGE,
  addresses: casts.flatMap(({ version, sources, source, source2, remote, remote2, remote3 }) =>
    version === 6 ? [...sources, source, source2, remote, remote2, remote3] : [],
  ),
  commands: ['ip -6 route add local 2001:db8:9::/126 dev lo', 'ip -6 route add local 2001:db8:8::/64 dev lo'],
};

const countOf = (sockets: readonly net.Socket[]) => {
  const counts: Record<string, number> = {};
  for (const { localAddress = '' } of sockets) counts[localAddress] = (counts[localAddress] ?? 0) + 1;
  return counts;
};

describeIsolated('a pool over 4 ports', () => {
  useNetwork(network);

  describe.each(casts)(
    '$family',
    ({ any, version, sources, source, block, huge, foreign, remote, remote2, remote3 }) => {
      const to = (host: string, localAddress: SourcePool) => ({ host, port: SERVER, localAddress });

      test('control: net.connect from the same three sources makes 4 each, whatever the destination', async () => {
        await echoServer(SERVER, any);
        const { made, error } = await exhaust(100, (n) =>
          connected(net.connect({ host: [remote, remote2][n % 2] ?? '', port: SERVER, localAddress: source })),
        );
        expect(made).toHaveLength(4);
        expect(error).toMatchObject({ code: 'EADDRINUSE' });
      });

      test.each(['round-robin', 'random', 'least-used', 'sticky'] as const)(
        '%s: 12 to each of two destinations, then pool-exhausted',
        async (strategy) => {
          await echoServer(SERVER, any);
          const pool = new SourcePool(sources, { strategy });
          for (const host of [remote, remote2]) {
            const { made, error } = await exhaust(100, () => connected(connect(to(host, pool))));
            expect(countOf(made)).toEqual(Object.fromEntries(sources.map((one) => [one, 4])));
            for (const socket of made) await assertEcho(socket);
            expect(error).toMatchObject({
              code: 'EADDRNOTAVAIL',
              syscall: 'connect',
              reason: 'pool-exhausted',
              address: host,
              port: SERVER,
            });
            const { errors, message } = error as unknown as { errors: Record<string, unknown>[]; message: string };
            expect(errors.map(({ localAddress }) => localAddress).sort()).toEqual(sources);
            for (const one of errors) {
              expect(one).toMatchObject({
                code: 'EADDRNOTAVAIL',
                reason: 'ports-exhausted',
                address: host,
                port: SERVER,
              });
            }
            expect(message).toMatch(
              /^connect EADDRNOTAVAIL .+ - Local \(.+\); each of the 3 sources that were tried has failed/,
            );
          }
          expect(pool.stats()).toMatchObject({ inUse: 24, sources: sources.map(() => ({ inUse: 8, connections: 8 })) });
        },
      );

      test('what is closed can be had again, and everything is given back', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool(sources);
        const before = descriptorCount();
        const { made } = await exhaust(12, () => connected(connect(to(remote, pool))));
        await failure(connect(to(remote, pool)));
        const [one] = made;
        const { localAddress, localPort } = one as net.Socket;
        // A reset leaves no TIME-WAIT.
        one?.resetAndDestroy();
        // Its `closed` comes before its 'close'.
        await once(one as net.Socket, 'close');
        expect(pool.stats().inUse).toBe(11);
        const again = await connected(connect(to(remote, pool)));
        expect(again).toMatchObject({ localAddress, localPort });
        for (const socket of [again, ...made]) socket.resetAndDestroy();
        await until(() => pool.stats().inUse === 0);
        expect(pool.stats()).toMatchObject({ inUse: 0, sources: sources.map(() => ({ inUse: 0 })) });
        await until(() => descriptorCount() === before);
      });

      test('one source is removed from the machine: the pool goes on, and finds it again', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([foreign, ...sources], { cooldown: 0 });
        const { made, error } = await exhaust(100, () => connected(connect(to(remote, pool))));
        expect(countOf(made)).toEqual(Object.fromEntries(sources.map((one) => [one, 4])));
        const { errors } = error as unknown as { errors: { localAddress: string; reason: string }[] };
        expect(errors.find(({ localAddress }) => localAddress === foreign)).toMatchObject({
          reason: 'address-not-local',
        });
        expect(pool.stats().sources[0]).toMatchObject({ address: foreign, connections: 0, inUse: 0 });
        shell(`ip addr add ${foreign}/${version === 4 ? 32 : 128} dev lo ${version === 6 ? 'nodad' : ''}`);
        const { made: more } = await exhaust(100, () => connected(connect(to(remote, pool))));
        expect(countOf(more)).toEqual({ [foreign]: 4 });
      });

      test('an exhausted pair is passed over, and tried again before anything fails', async () => {
        await echoServer(SERVER, any);
        const [first = '', second = ''] = sources;
        // The first one is always the first choice.
        const strategy = (candidates: readonly string[]) => candidates[0];
        const pool = new SourcePool([first, second], { strategy, cooldown: 2 ** 31 });
        const filled = await exhaust(5, () => connected(connect(to(remote, pool))));
        expect(countOf(filled.made)).toEqual({ [first]: 4, [second]: 1 });
        const exhausted = () => pool.stats().sources.map((one) => one.exhausted);
        expect(exhausted()).toEqual([1, 0]);
        // Passed over: not even asked.
        const more = await exhaust(3, () => connected(connect(to(remote, pool))));
        expect(countOf(more.made)).toEqual({ [second]: 3 });
        expect(exhausted()).toEqual([1, 0]);
        // Another destination is another pair.
        expect(await connected(connect(to(remote2, pool)))).toMatchObject({ localAddress: first });
        expect(await failure(connect(to(remote, pool)))).toMatchObject({ reason: 'pool-exhausted' });
        expect(exhausted()).toEqual([2, 1]);
        // Both rest now, and yet a port that has become free is found.
        filled.made[0]?.resetAndDestroy();
        await closed(filled.made[0] as net.Socket);
        expect(await connected(connect(to(remote, pool)))).toMatchObject({ localAddress: first });
      });

      test('a block: every address of it', async () => {
        await echoServer(SERVER, any);
        const { made, error } = await exhaust(100, () =>
          connected(connect({ ...to(remote, new SourcePool([block])), freeBind: true })),
        );
        expect(Object.values(countOf(made))).toEqual([4, 4, 4, 4]);
        expect(error).toMatchObject({ reason: 'pool-exhausted' });
      });

      test('a huge block: a source for each connection', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([huge], { strategy: 'random' });
        const { made } = await exhaust(20, () => connected(connect({ ...to(remote, pool), freeBind: true })));
        expect(Object.keys(countOf(made)).length).toBeGreaterThan(15);
        expect(pool.stats().inUse).toBe(20);
      });

      test('with a port: one connection from each source, then pool-exhausted of tuples in use', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool(sources);
        const { made, error } = await exhaust(100, () => connected(connect({ ...to(remote, pool), localPort: 20001 })));
        expect(made.map(({ localAddress, localPort }) => `${localAddress} ${localPort}`).sort()).toEqual(
          sources.map((one) => `${one} 20001`),
        );
        const { errors, code } = error as unknown as { errors: { reason: string }[]; code: string };
        expect([code, ...errors.map(({ reason }) => reason)]).toEqual([
          'EADDRNOTAVAIL',
          ...sources.map(() => 'tuple-in-use'),
        ]);
        // That one port is taken says nothing of the others.
        expect(pool.stats()).toMatchObject({ coolingDown: 0 });
        await connected(connect(to(remote, pool)));
      });

      test('a port that is locked on one source', async () => {
        await echoServer(SERVER, any);
        const [first = '', second = ''] = sources;
        const listener = track(net.createServer()).listen(30_000, first);
        await once(listener, 'listening');
        const pool = new SourcePool([first, second], { strategy: (candidates) => candidates[0] });
        const socket = await connected(connect({ ...to(remote, pool), localPort: 30_000 }));
        expect(socket).toMatchObject({ localAddress: second, localPort: 30_000 });
      });

      test('a range that is searched', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool(sources);
        const { made, error } = await exhaust(100, () =>
          connected(connect({ ...to(remote, pool), localPortRange: [30_000, 30_001] })),
        );
        expect(countOf(made)).toEqual(Object.fromEntries(sources.map((one) => [one, 2])));
        expect(error).toMatchObject({ reason: 'pool-exhausted' });
      });

      test('new Socket({ localAddress: pool }).connect(port, host)', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool(sources);
        const { made } = await exhaust(100, () =>
          connected(new Socket({ localAddress: pool }).connect(SERVER, remote)),
        );
        expect(made).toHaveLength(12);
      });

      test('nothing is held by what did not connect', async () => {
        const pool = new SourcePool(sources);
        // Refused.
        expect(await failure(connect(to(remote3, pool)))).toMatchObject({ code: 'ECONNREFUSED' });
        // Destroyed at once, and while it is connecting.
        connect(to(remote3, pool)).destroy();
        const socket = track(connect(to(remote3, pool)));
        socket.once('connectionAttempt', () => setImmediate(() => socket.destroy()));
        socket.on('error', () => {});
        await closed(socket);
        // Aborted.
        const controller = new AbortController();
        const aborted = connect({ ...to(remote3, pool), signal: controller.signal });
        controller.abort();
        expect(await failure(aborted)).toMatchObject({ code: 'ABORT_ERR' });
        expect(pool.stats()).toMatchObject({ inUse: 0, sources: sources.map(() => ({ inUse: 0 })) });
        // The other errors are the connection's own: no other source is tried.
        expect(pool.stats().sources.every(({ exhausted, unusable }) => exhausted + unusable === 0)).toBe(true);
      });

      test('changed while it is in use', async () => {
        await echoServer(SERVER, any);
        const [first = '', ...others] = sources;
        const pool = new SourcePool([first]);
        const { made } = await exhaust(100, () => connected(connect(to(remote, pool))));
        expect(made).toHaveLength(4);
        for (const one of others) pool.add(one);
        expect(pool.delete(first)).toBe(true);
        const { made: more } = await exhaust(100, () => connected(connect(to(remote2, pool))));
        expect(countOf(more)).toEqual(Object.fromEntries(others.map((one) => [one, 4])));
        for (const socket of [...made, ...more]) await assertEcho(socket);
      });

      test('a strategy that throws, or chooses nothing', async () => {
        const thrown = new Error('no');
        const throwing = new SourcePool(sources, {
          strategy: () => {
            throw thrown;
          },
        });
        expect(await failure(connect(to(remote, throwing)))).toBe(thrown);
        const none = new SourcePool(sources, { strategy: () => undefined });
        expect(await failure(connect(to(remote, none)))).toMatchObject({
          code: 'EAFNOSUPPORT',
          reason: 'family-mismatch',
        });
        expect(await failure(connect(to(remote, new SourcePool([]))))).toMatchObject({ reason: 'family-mismatch' });
      });

      test('capacity', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([...sources, block]);
        const destination = { address: remote, port: SERVER };
        expect([pool.capacity(), pool.capacity(destination)]).toEqual([28, 28]);
        await connected(connect(to(remote, pool)));
        expect([pool.capacity(), pool.capacity(destination), pool.capacity({ ...destination, port: 1 })]).toEqual([
          28, 27, 28,
        ]);
        expect(pool.capacity({ address: version === 4 ? '::1' : '127.0.0.1', port: 1 })).toBe(0);
        expect(new SourcePool([huge]).capacity()).toBe(4 * (version === 4 ? 2 ** 16 : 2 ** 64));
      });

      describe.each(ways)('$way', ({ open }) => {
        test('12 sockets to each of two destinations, then pool-exhausted', async () => {
          await udpEcho(SERVER, [remote, remote2]);
          const pool = new SourcePool(sources);
          for (const host of [remote, remote2]) {
            const { made, error } = await exhaust(100, () => open(to(host, pool)));
            const counts: Record<string, number> = {};
            for (const socket of made) {
              const { address } = socket.address();
              counts[address] = (counts[address] ?? 0) + 1;
              await assertUdpEcho(socket);
            }
            expect(counts).toEqual(Object.fromEntries(sources.map((one) => [one, 4])));
            expect(error).toMatchObject({
              code: 'EAGAIN',
              syscall: 'connect',
              reason: 'pool-exhausted',
              address: host,
            });
            const { errors } = error as unknown as { errors: Record<string, unknown>[] };
            expect(errors.map(({ localAddress }) => localAddress).sort()).toEqual(sources);
            for (const one of errors) expect(one).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
            for (const socket of made) {
              const gone = once(socket, 'close');
              socket.close();
              await gone;
            }
          }
          expect(pool.stats()).toMatchObject({ inUse: 0, sources: sources.map(() => ({ connections: 8, inUse: 0 })) });
        });

        test('a source that is not on this machine is passed over', async () => {
          const [first = ''] = sources;
          const pool = new SourcePool([foreign, first], { strategy: (candidates) => candidates[0], cooldown: 2 ** 31 });
          for (let n = 0; n < 2; n++) expect((await open(to(remote, pool))).address().address).toBe(first);
          expect(pool.stats().sources).toMatchObject([{ unusable: 1 }, { unusable: 0, inUse: 2 }]);
        });

        test('none of its family', async () => {
          const other = new SourcePool([version === 4 ? '::1' : '127.0.0.1']);
          expect(await errorOf(() => open(to(remote, other)))).toMatchObject({ reason: 'family-mismatch' });
        });
      });
    },
  );

  test('a name with both families: each attempt gets a source of its own', async () => {
    await echoServer(SERVER, '::');
    const lookup = ((_host, _options, callback) => {
      callback(null, [
        { address: '2001:db8::2', family: 6 },
        { address: '127.0.0.2', family: 4 },
      ]);
    }) as NonNullable<net.TcpNetConnectOpts['lookup']>;
    const both = new SourcePool(['2001:db8::11', '127.0.0.11']);
    const options = { host: 'both.test', port: SERVER, lookup };
    const six = await exhaust(4, () => connected(connect({ ...options, localAddress: both })));
    expect(countOf(six.made)).toEqual({ '2001:db8::11': 4 });
    // All ports towards the first address are taken: on to the second.
    const four = await exhaust(100, () => connected(connect({ ...options, localAddress: both })));
    expect(countOf(four.made)).toEqual({ '127.0.0.11': PORTS.length });
    const { name, errors } = four.error as unknown as AggregateError;
    expect(name).toBe('AggregateError');
    for (const one of errors) expect(one).toMatchObject({ reason: 'pool-exhausted' });
    expect(both.stats().inUse).toBe(8);
    // A pool of one family leaves the other out.
    const only = await connected(connect({ ...options, localAddress: new SourcePool(['127.0.0.12']) }));
    expect(only).toMatchObject({ localAddress: '127.0.0.12', remoteAddress: '127.0.0.2' });
  });

  test('five hundred sources without a port: the event loop has its turns', async () => {
    await echoServer(SERVER, '127.0.0.2');
    const pool = new SourcePool(Array.from({ length: 500 }, (_, n) => `192.0.${n >> 8}.${n & 255}`));
    let turns = 0;
    let going = true;
    const turn = () => {
      turns++;
      if (going) setImmediate(turn);
    };
    setImmediate(turn);
    const error = await failure(connect({ host: '127.0.0.2', port: SERVER, localAddress: pool }));
    going = false;
    expect(error).toMatchObject({ reason: 'pool-exhausted' });
    expect((error as unknown as AggregateError).errors).toHaveLength(64);
    expect(turns).toBeGreaterThanOrEqual(4);
  });

  test('destroyed in the middle of a thousand sources', async () => {
    const before = descriptorCount();
    const pool = new SourcePool(Array.from({ length: 1000 }, (_, n) => `198.18.${n >> 8}.${n & 255}`));
    const socket = track(connect({ host: '127.0.0.2', port: SERVER, localAddress: pool }));
    socket.once('connectionAttempt', () => setImmediate(() => setImmediate(() => socket.destroy())));
    await closed(socket);
    expect(socket.errored).toBeNull();
    await until(() => descriptorCount() === before);
    expect(pool.stats().inUse).toBe(0);
  });

  test('a UDP socket that is kept', async () => {
    const pool = new SourcePool(['127.0.0.11']);
    const socket = keep((await ways[0]?.open({ host: '127.0.0.2', port: SERVER, localAddress: pool })) as never);
    expect(pool.stats().inUse).toBe(1);
    socket.close();
    await once(socket, 'close');
    expect(pool.stats().inUse).toBe(0);
  });
});
