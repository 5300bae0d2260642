// What a pool is for tenants, over real sockets: one source for each key, sources that rest or drain, and source functions that give
// several. With 3 sources and 4 ports there are 12 connections to each destination.
import type * as dgram from 'node:dgram';
import * as http from 'node:http';
import type * as net from 'node:net';
import { connect, type ConnectOptions, type SourceFunction, SourcePool } from 'connectx';
import { HttpAgent } from 'connectx/http';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { assertEcho, closed, connected, echoServer, exhaust, failure, track, until } from '../helpers/sockets.js';
import { errorOf, udpEcho, ways } from '../helpers/udp.js';

const casts = families.map((cast) => ({
  ...cast,
  sources:
    cast.version === 4 ? ['127.0.0.11', '127.0.0.12', '127.0.0.13'] : ['2001:db8::11', '2001:db8::12', '2001:db8::13'],
  foreign: cast.version === 4 ? '192.0.2.7' : '2001:db8:7::7',
}));

const network = {
  ...smallNetwork,
  addresses: [...(smallNetwork.addresses ?? []), '2001:db8::11', '2001:db8::12', '2001:db8::13'],
};

type Source = NonNullable<ConnectOptions['localAddress']>;

/** Connects, and says from where. */
interface Way {
  way: string;
  code: string;
  serve(any: string, remote: string): Promise<unknown>;
  open(host: string, localAddress: Source): Promise<string>;
}

const protocols: readonly Way[] = [
  {
    way: 'connect',
    code: 'EADDRNOTAVAIL',
    serve: async (any) => echoServer(SERVER, any),
    open: async (host, localAddress) =>
      (await connected(connect({ host, port: SERVER, localAddress }))).localAddress ?? '',
  },
  ...ways.map(({ way, open }) => ({
    way,
    code: 'EAGAIN',
    serve: async (_any: string, remote: string): Promise<dgram.Socket[]> => udpEcho(SERVER, [remote]),
    open: async (host: string, localAddress: Source) =>
      (await open({ host, port: SERVER, localAddress })).address().address,
  })),
];

describeIsolated('a pool over 4 ports, for tenants', () => {
  useNetwork(network);

  describe.each(casts)('$family', ({ any, sources, source2, foreign, remote, remote2 }) => {
    const [one = '', two = '', three = ''] = sources;

    describe.each(protocols)('$way', ({ code, serve, open }) => {
      test('sticky: a key keeps its source while it has ports, and then has the same next one', async () => {
        await serve(any, remote);
        const pool = new SourcePool(sources, { cooldown: 2 ** 31 });
        const { made, error } = await exhaust(100, async () => open(remote, pool.sticky('alice')));
        expect(made).toHaveLength(12);
        const order = [0, 4, 8].map((n) => made[n]);
        expect(made).toEqual(order.flatMap((source) => Array.from({ length: 4 }, () => source)));
        expect(new Set(order)).toEqual(new Set(sources));
        expect(error).toMatchObject({ code, reason: 'pool-exhausted' });
        expect(pool.stats().inUse).toBe(12);
        // The other destination has them all.
        if (code === 'EADDRNOTAVAIL') expect(await open(remote2, pool.sticky('alice'))).toBe(order[0]);
      });

      test('rest, pause, resume', async () => {
        await serve(any, remote);
        const pool = new SourcePool(sources);
        pool.pause(one);
        pool.rest(two, { ms: 60_000, destination: { address: remote, port: SERVER } });
        const { made, error } = await exhaust(100, async () => open(remote, pool));
        expect(made).toEqual([three, three, three, three]);
        // Those that are held back were not tried.
        expect(error).toMatchObject({ code, reason: 'pool-exhausted', errors: [{ localAddress: three }] });
        pool.pause(three);
        const none = await errorOf(async () => open(remote, pool));
        expect(none).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'pool-exhausted', errors: [] });
        expect(none.message).toContain('every source of the pool that could serve it is paused or resting');
        pool.resume(one);
        pool.resume(two);
        const more = await exhaust(100, async () => open(remote, pool));
        expect(more.made.filter((source) => source === one)).toHaveLength(4);
        expect(more.made.filter((source) => source === two)).toHaveLength(4);
        expect(pool.stats()).toMatchObject({ inUse: 12, sources: [{ inUse: 4 }, { inUse: 4 }, { inUse: 4 }] });
      });

      test.each<[string, (pool: SourcePool) => SourceFunction]>([
        ['addresses', () => () => [foreign, ...sources]],
        ['a pool', (pool) => () => pool],
        ['a key of a pool', (pool) => () => pool.sticky('alice')],
      ])('a source function that gives %s fails over as a pool does', async (_what, make) => {
        await serve(any, remote);
        const pool = new SourcePool([foreign, ...sources]);
        let asked = 0;
        const choose = make(pool);
        const source: SourceFunction = (destination) => {
          asked++;
          return choose(destination);
        };
        const { made, error } = await exhaust(100, async () => open(remote, source));
        expect([...made].sort()).toEqual(sources.flatMap((each) => [each, each, each, each]));
        expect(error).toMatchObject({ reason: 'pool-exhausted', address: remote });
        expect((error as unknown as AggregateError).errors).toHaveLength(4);
        expect(asked).toBe(13);
      });

      test('control: one that gives one address does not', async () => {
        await serve(any, remote);
        const error = await errorOf(async () => open(remote, () => foreign));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local', localAddress: foreign });
        expect(error).not.toHaveProperty('errors');
      });

      test('a function that gives addresses of the other family only, or none', async () => {
        const other = any === '::' ? '127.0.0.1' : '::1';
        for (const answer of [[other], [], undefined, new SourcePool([other])]) {
          expect(await errorOf(async () => open(remote, () => answer))).toMatchObject({
            code: 'EAFNOSUPPORT',
            reason: 'family-mismatch',
          });
        }
      });

      test.each([
        [7, 'ERR_INVALID_ARG_TYPE'],
        [[7], 'ERR_INVALID_ARG_TYPE'],
        [['nonsense'], 'ERR_INVALID_IP_ADDRESS'],
        [{}, 'ERR_INVALID_ARG_TYPE'],
        [null, 'ERR_INVALID_ARG_TYPE'],
      ])('a function that gives %o', async (answer, wrong) => {
        const error = await errorOf(async () => open(remote, (() => answer) as unknown as SourceFunction));
        expect(error).toMatchObject({ code: wrong });
      });
    });

    test('a source drains: connections that are open stay, and it is free when they have gone', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool(sources);
      const { made } = await exhaust(6, () => connected(connect({ host: remote, port: SERVER, localAddress: pool })));
      pool.pause(one);
      for (const socket of made) await assertEcho(socket);
      const of = (address: string) => made.filter(({ localAddress }) => localAddress === address);
      expect(pool.stats().sources[0]).toMatchObject({ inUse: 2, paused: true });
      for (const socket of of(one)) socket.destroy();
      await until(() => pool.stats().sources[0]?.inUse === 0);
      for (const socket of of(two)) await assertEcho(socket);
    });

    test('paused within a strategy, while the connect is under way', async () => {
      await echoServer(SERVER, any);
      const pool: SourcePool = new SourcePool([foreign, ...sources], {
        strategy: (candidates) => {
          // The first try fails, and by then there is one less.
          pool.pause(one);
          return candidates[0];
        },
      });
      const socket = await connected(connect({ host: remote, port: SERVER, localAddress: pool }));
      expect(socket.localAddress).toBe(two);
    });

    test('the agent keeps a connection for the same key of the same pool, and not for another one', async () => {
      const seen: (string | undefined)[] = [];
      const server = track(
        http.createServer((request, response) => {
          seen.push(`${request.socket.remoteAddress}:${request.socket.remotePort}`);
          response.end();
        }),
      );
      server.keepAliveTimeout = 60_000;
      server.on('connection', (socket: net.Socket) => track(socket));
      await new Promise<void>((resolve) => server.listen(SERVER, any, resolve));
      const agent = new HttpAgent({ keepAlive: true });
      const [pool, other] = [new SourcePool(sources), new SourcePool(sources)];
      const get = async (localAddress: Source) => {
        const request = http.get({ host: remote, port: SERVER, agent, localAddress });
        await new Promise<void>((resolve, reject) => {
          request.on('error', reject);
          request.on('response', (response) => response.resume().on('end', () => setImmediate(resolve)));
        });
      };
      for (const source of [pool.sticky('a'), pool.sticky('a'), pool.sticky('b'), other.sticky('a')]) await get(source);
      agent.destroy();
      expect(seen[1]).toBe(seen[0]);
      expect(new Set(seen).size).toBe(3);
    });

    test('a plain address is no pool: it is not held back by one', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool([source2]);
      pool.pause(source2);
      const socket = await connected(connect({ host: remote, port: SERVER, localAddress: source2 }));
      expect(socket.localAddress).toBe(source2);
      expect(await failure(connect({ host: remote, port: SERVER, localAddress: pool }))).toMatchObject({
        reason: 'pool-exhausted',
      });
      socket.destroy();
      await closed(socket);
    });
  });
});
