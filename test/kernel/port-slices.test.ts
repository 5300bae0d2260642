// Slices of ports: several pools share one address without talking to each other, in the ephemeral range and outside of it.
import * as http from 'node:http';
import { connect, portSlice, SourcePool, type UdpConnectOptions } from 'connectx';
import { HttpAgent } from 'connectx/http';
import { describe, expect, test } from 'vitest';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, errorOf, exhaust, track } from '../helpers/sockets.js';
import { udpEcho, ways } from '../helpers/udp.js';

const [LOW, PORTS] = [20000, 16];
const range = [LOW, LOW + PORTS - 1] as const;

type Options = Omit<UdpConnectOptions, 'host' | 'port'>;

interface Way {
  way: string;
  code: string;
  serve(any: string, remote: string): Promise<unknown>;
  /** Connects, and says from where. */
  open(host: string, options: Options): Promise<{ address: string; port: number }>;
}

const protocols: readonly Way[] = [
  {
    way: 'connect',
    code: 'EADDRNOTAVAIL',
    serve: async (any) => echoServer(SERVER, any),
    open: async (host, { localAddress, localPort, localPortRange }) => {
      const socket = await connected(connect({ host, port: SERVER, localAddress, localPort, localPortRange }));
      return { address: socket.localAddress ?? '', port: socket.localPort ?? 0 };
    },
  },
  ...ways.map(({ way, open }) => ({
    way,
    code: 'EAGAIN',
    serve: async (_any: string, remote: string) => udpEcho(SERVER, [remote]),
    open: async (host: string, options: Options) => (await open({ host, port: SERVER, ...options })).address(),
  })),
];

const portsFrom = ([low, high]: readonly [number, number]) => Array.from({ length: high - low + 1 }, (_, n) => low + n);

describeIsolated('slices of 16 ports', () => {
  useNetwork({ range, addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::14'] });

  test('portSlice divides the ephemeral range as it is now', () => {
    expect([0, 1, 2, 3].map((index) => portSlice({ index, of: 4 }))).toEqual([
      [20000, 20003],
      [20004, 20007],
      [20008, 20011],
      [20012, 20015],
    ]);
    sysctl('ipv4.ip_local_port_range', '30000 30009');
    expect(portSlice({ index: 1, of: 2 })).toEqual([30005, 30009]);
    expect(() => portSlice({ index: 0, of: 11 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  });

  describe.each(families)('$family', ({ any, source, source2, remote, remote2 }) => {
    describe.each(protocols)('$way', ({ code, serve, open }) => {
      test.each([
        { where: 'in the ephemeral range', of: [LOW, LOW + PORTS - 1] as const },
        { where: 'outside of it', of: [30000, 30015] as const },
        { where: 'across its end', of: [LOW + 8, LOW + 8 + PORTS - 1] as const },
      ])('four pools have a quarter each, $where', async ({ of }) => {
        await serve(any, remote);
        const slices = [0, 1, 2, 3].map((index) => portSlice({ index, of: 4, range: of }));
        for (const ports of slices) {
          const pool = new SourcePool([{ address: source, ports }]);
          expect([pool.capacity(), pool.capacity({ address: remote, port: SERVER })]).toEqual([4, 4]);
          const { made, error } = await exhaust(100, async () => open(remote, { localAddress: pool }));
          expect(made.map(({ port }) => port).sort()).toEqual(portsFrom(ports));
          expect(new Set(made.map(({ address }) => address))).toEqual(new Set([source]));
          expect(error).toMatchObject({ code, reason: 'pool-exhausted', errors: [{ reason: 'ports-exhausted' }] });
          const [first] = (error as unknown as AggregateError).errors as [Error];
          expect(first.message).toContain(`every usable port of ${ports.join('-')} is taken`);
          expect(pool.capacity({ address: remote, port: SERVER })).toBe(0);
          expect(pool.stats().sources).toMatchObject([{ ports, inUse: 4, exhausted: 1 }]);
        }
      });

      test('a slice that moves: connections stay, new ones have the new ports', async () => {
        await serve(any, remote);
        const pool = new SourcePool([{ address: source, ports: [20000, 20003] }]);
        await exhaust(5, async () => open(remote, { localAddress: pool }));
        pool.add({ address: source, ports: [20008, 20009] });
        const { made } = await exhaust(100, async () => open(remote, { localAddress: pool }));
        expect(made.map(({ port }) => port).sort()).toEqual([20008, 20009]);
        expect(pool.stats().sources).toMatchObject([{ inUse: 6, ports: [20008, 20009] }]);
      });

      test('reserved ports of a slice are not used, and do not count', async () => {
        await serve(any, remote);
        sysctl('ipv4.ip_local_reserved_ports', '20001,30001');
        for (const ports of [[20000, 20003] as const, [30000, 30003] as const]) {
          const pool = new SourcePool([{ address: source, ports }]);
          expect(pool.capacity()).toBe(3);
          const { made } = await exhaust(100, async () => open(remote, { localAddress: pool }));
          expect(made.map(({ port }) => port - ports[0]).sort()).toEqual([0, 2, 3]);
        }
      });

      test('the ports that a connection asks for, of those of the slice', async () => {
        await serve(any, remote);
        const pool = new SourcePool([
          { address: source, ports: [20000, 20003] },
          { address: source2, ports: [20004, 20007] },
        ]);
        const asked = { localAddress: pool, localPortRange: [20002, 20005] as const };
        const { made, error } = await exhaust(100, async () => open(remote, asked));
        expect(made.map(({ address, port }) => `${address} ${port}`).sort()).toEqual(
          [`${source} 20002`, `${source} 20003`, `${source2} 20004`, `${source2} 20005`].sort(),
        );
        expect(error).toMatchObject({ reason: 'pool-exhausted' });
        expect(await open(remote, { localAddress: pool, localPort: 20006 })).toMatchObject({
          address: source2,
          port: 20006,
        });
        const outside = await errorOf(async () => open(remote, { localAddress: pool, localPort: 20010 }));
        expect(outside).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'pool-exhausted', errors: [] });
        expect(outside.message).toContain('has none of the ports that were asked for');
      });

      test('localPortRange as a function: asked for each source, with the destination', async () => {
        await serve(any, remote);
        const asked: unknown[] = [];
        const pool = new SourcePool([source, source2], { strategy: (candidates) => candidates[0], cooldown: 0 });
        const localPortRange = (destination: object, localAddress: string | undefined) => {
          asked.push([{ ...destination }, localAddress]);
          return localAddress === source ? ([20000, 20001] as const) : ([30000, 30001] as const);
        };
        const { made, error } = await exhaust(100, async () => open(remote, { localAddress: pool, localPortRange }));
        expect(made.map(({ port }) => port).sort()).toEqual([20000, 20001, 30000, 30001]);
        expect(error).toMatchObject({ reason: 'pool-exhausted' });
        const destination = { address: remote, port: SERVER, family: any === '::' ? 6 : 4 };
        expect(asked.slice(0, 4)).toEqual([
          [destination, source],
          [destination, source],
          [destination, source],
          [destination, source2],
        ]);
        // What one connection asks for says nothing of others.
        expect(pool.stats().sources).toMatchObject([{ exhausted: 0 }, { exhausted: 0 }]);
      });

      test('localPortRange as a function: undefined is any port, and the kernel’s choice of the source has no name', async () => {
        await serve(any, remote);
        const asked: unknown[] = [];
        const { made, error } = await exhaust(100, async () =>
          open(remote, {
            localPortRange: (_destination, localAddress) => {
              asked.push(localAddress);
              return asked.length > 2 ? undefined : [30000, 30001];
            },
          }),
        );
        expect(made.slice(0, 2).map(({ port }) => port)).toEqual(
          [30000, 30001].sort(() => (made[0]?.port === 30000 ? 0 : -1)),
        );
        expect(made).toHaveLength(2 + PORTS);
        expect(error).toMatchObject({ code, reason: 'ports-exhausted' });
        expect(new Set(asked)).toEqual(new Set([undefined]));
      });

      test('localPortRange as a function: what is wrong', async () => {
        const thrown = new Error('mine');
        const throwing = () => {
          throw thrown;
        };
        expect(await errorOf(async () => open(remote, { localPortRange: throwing }))).toBe(thrown);
        for (const [answer, wrong] of [
          [7, 'ERR_INVALID_ARG_TYPE'],
          [[1], 'ERR_INVALID_ARG_VALUE'],
          [[2, 1], 'ERR_INVALID_ARG_VALUE'],
          [[0, 1], 'ERR_OUT_OF_RANGE'],
        ] as const) {
          const error = await errorOf(async () =>
            open(remote, { localAddress: source, localPortRange: () => answer as never }),
          );
          expect(error).toMatchObject({ code: wrong, message: expect.stringContaining('localPortRange()') });
        }
        const both = { localPort: 20000, localPortRange: () => [20000, 20001] as const };
        expect(await errorOf(async () => open(remote, both))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' });
      });
    });

    test('a source function that gives a pool with slices', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool([{ address: source, ports: [20000, 20001] }]);
      const options = { host: remote, port: SERVER, localAddress: () => pool };
      const { made } = await exhaust(100, () => connected(connect(options)));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual([20000, 20001]);
    });

    test('slices with reuseTimeWait: only ports of the slice are taken over', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool([{ address: source, ports: [20000, 20001] }]);
      const options = { host: remote, port: SERVER, localAddress: pool, reuseTimeWait: true };
      for (let n = 0; n < 6; n++) {
        const socket = await connected(connect(options));
        expect([20000, 20001]).toContain(socket.localPort);
        await new Promise((resolve) => socket.end().on('close', resolve).resume());
      }
    });

    test('an agent: connections are kept apart by the function', async () => {
      const ports: (number | undefined)[] = [];
      const server = track(
        http.createServer((request, response) => {
          ports.push(request.socket.remotePort);
          response.end();
        }),
      );
      server.keepAliveTimeout = 60_000;
      server.on('connection', (socket) => track(socket));
      await new Promise<void>((resolve) => server.listen(SERVER, any, resolve));
      const agent = new HttpAgent({ keepAlive: true });
      const [low, high] = [() => [30000, 30000] as const, () => [30001, 30001] as const];
      for (const localPortRange of [low, low, high]) {
        const request = http.get({ host: remote, port: SERVER, agent, localPortRange });
        await new Promise<void>((resolve, reject) => {
          request.on('error', reject);
          request.on('response', (response) => response.resume().on('end', () => setImmediate(resolve)));
        });
      }
      agent.destroy();
      expect(ports).toEqual([30000, 30000, 30001]);
    });

    test('a slice is of every destination', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool([{ address: source, ports: [20000, 20001] }]);
      for (const host of [remote, remote2]) {
        const { made } = await exhaust(100, () => connected(connect({ host, port: SERVER, localAddress: pool })));
        expect(made).toHaveLength(2);
      }
    });
  });
});
