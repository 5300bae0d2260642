// Every port is taken: what the kernel has said a moment ago is said again, and no port that comes back goes unnoticed.
import * as net from 'node:net';
import { connect, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';
import { processClient } from '../helpers/clients.js';
import { families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { closed, connected, echoServer, exhaust, failure, slowness, track } from '../helpers/sockets.js';

const portsExhausted = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'ports-exhausted' };
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Without what core says of a descriptor that has no source: where nobody has asked the kernel, there is no descriptor. */
const wordsOf = (message: string) => message.replace(/ - Local \((?:::|0\.0\.0\.0):0\)/, '');

interface Handle {
  fd: number;
  close(callback?: () => void): void;
}

describeIsolated('4 ports, all of them in use', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, source2, remote, remote2 }) => {
    const options = { host: remote, port: SERVER, localAddress: source };
    const fill = async (ways: object = options, count = PORTS.length): Promise<net.Socket[]> => {
      const { made, error } = await exhaust(100, () => connected(connect({ ...options, ...ways })));
      expect(made).toHaveLength(count);
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL' });
      return made;
    };

    test.each([
      { what: 'a source', ways: {} },
      { what: 'no source', ways: { localAddress: undefined } },
      { what: 'a range', ways: { localPortRange: [PORTS[0], PORTS.at(-1)] as const } },
      { what: 'a device', ways: { interface: 'lo' } },
    ])('$what: refused again and again with the same words', async ({ ways }) => {
      await echoServer(SERVER, any);
      await fill(ways);
      const first = await failure(connect({ ...options, ...ways }));
      for (let n = 0; n < 20; n++) {
        const { message, reason, address, port, localAddress, localPort } = await failure(
          connect({ ...options, ...ways }),
        );
        expect({ message: wordsOf(message), reason, address, port, localAddress, localPort }).toEqual({
          message: wordsOf(first.message),
          reason: 'ports-exhausted',
          address: remote,
          port: SERVER,
          localAddress: first.localAddress,
          localPort: first.localPort,
        });
      }
    });

    test('a port that this process gives back is used at once', async () => {
      await echoServer(SERVER, any);
      const made = await fill();
      for (const held of made) {
        const { localPort } = held;
        expect(await failure(connect(options))).toMatchObject(portsExhausted);
        held.resetAndDestroy();
        await closed(held);
        expect((await connected(connect(options))).localPort).toBe(localPort);
      }
    });

    test('where the other side has closed first, too', async () => {
      // (It closes when it hears something.)
      const server = track(net.createServer((peer) => void peer.once('data', () => peer.end())));
      await new Promise<void>((resolve) => void server.listen(SERVER, any, resolve));
      const made = await fill();
      for (const held of made) {
        const { localPort } = held;
        expect(await failure(connect(options))).toMatchObject(portsExhausted);
        held.resume();
        held.write('close');
        await closed(held);
        expect((await connected(connect(options))).localPort).toBe(localPort);
      }
    });

    test('in the same tick as it is closed', async () => {
      await echoServer(SERVER, any);
      const [held] = await fill();
      const localPort = held?.localPort;
      expect(await failure(connect(options))).toMatchObject(portsExhausted);
      held?.resetAndDestroy();
      expect((await connected(connect(options))).localPort).toBe(localPort);
    });

    test('of a plain net.Socket, too', async () => {
      await echoServer(SERVER, any);
      const held = await connected(net.connect({ ...options, localPort: PORTS[1] as number }));
      await fill({}, 3);
      expect(await failure(connect(options))).toMatchObject(portsExhausted);
      held.resetAndDestroy();
      expect((await connected(connect(options))).localPort).toBe(PORTS[1]);
    });

    test('a port that another process gives back is used soon', async () => {
      await echoServer(SERVER, any);
      const client = processClient();
      const { ports } = await client.fill(options);
      expect(ports).toHaveLength(PORTS.length);
      expect(await failure(connect(options))).toMatchObject(portsExhausted);
      await client.release();
      // 25 ms, and what this machine needs to come to it.
      const until = performance.now() + 25 * 4 * slowness;
      let made: net.Socket | undefined;
      while (made === undefined && performance.now() < until) {
        made = await connected(connect(options)).catch(() => undefined);
        await pause(1);
      }
      expect(made?.localAddress).toBe(source);
    });

    test('other sources, destinations and namespaces are not concerned', async () => {
      await echoServer(SERVER, any);
      await fill();
      expect(await failure(connect(options))).toMatchObject(portsExhausted);
      for (const ways of [{ localAddress: source2 }, { host: remote2 }]) {
        await connected(connect({ ...options, ...ways }));
      }
    });

    test('a wider range is noticed', async () => {
      await echoServer(SERVER, any);
      await fill();
      sysctl('ipv4.ip_local_port_range', '20000 20009');
      await pause(30 * slowness);
      expect((await connected(connect(options))).localPort).toBeGreaterThan(20003);
    });

    describe('a pool', () => {
      test('is refused again with all its errors, and counts each', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([source, source2]);
        await fill({ localAddress: pool }, 8);
        const before = pool.stats().sources.map(({ exhausted }) => exhausted);
        for (let n = 1; n <= 10; n++) {
          const error = await failure(connect({ ...options, localAddress: pool }));
          expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'pool-exhausted' });
          const errors = error['errors'] as { localAddress: string; reason: string }[];
          expect(errors.map(({ localAddress }) => localAddress).sort()).toEqual([source, source2].sort());
          for (const one of errors) expect(one.reason).toBe('ports-exhausted');
          expect(pool.stats().sources.map(({ exhausted }) => exhausted)).toEqual(before.map((one) => one + n));
        }
      });

      test('a port of any of its sources is used at once', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([source, source2]);
        const pooled = { ...options, localAddress: pool };
        const made = await fill(pooled, 8);
        for (const wanted of [source, source2]) {
          expect(await failure(connect(pooled))).toMatchObject({ reason: 'pool-exhausted' });
          const socket = made.find(({ localAddress }) => localAddress === wanted);
          const port = socket?.localPort;
          socket?.resetAndDestroy();
          const next = await connected(connect(pooled));
          expect(next).toMatchObject({ localAddress: wanted, localPort: port });
        }
      });

      test('many at once: each source counts each of them at most once', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([source, source2]);
        const pooled = { ...options, localAddress: pool };
        await fill(pooled, 8);
        const before = pool.stats().sources.map(({ exhausted }) => exhausted);
        const errors = await Promise.all(Array.from({ length: 200 }, async () => failure(connect(pooled))));
        for (const error of errors)
          expect(error).toMatchObject({
            reason: 'pool-exhausted',
            localAddress: expect.stringMatching(`^(${source}|${source2})$`) as unknown,
          });
        for (const [place, { exhausted }] of pool.stats().sources.entries()) {
          expect(exhausted - (before[place] ?? 0)).toBeLessThanOrEqual(200);
        }
      });

      test('a source that is added is used at once', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool([source]);
        const pooled = { ...options, localAddress: pool };
        await fill(pooled);
        expect(await failure(connect(pooled))).toMatchObject({ reason: 'pool-exhausted' });
        pool.add(source2);
        expect((await connected(connect(pooled))).localAddress).toBe(source2);
      });

      test('a strategy of one’s own is asked each time', async () => {
        await echoServer(SERVER, any);
        let asked = 0;
        const strategy = (candidates: readonly string[]) => {
          asked++;
          return candidates[0];
        };
        const pooled = { ...options, localAddress: new SourcePool([source], { strategy }) };
        await fill(pooled);
        const before = asked;
        for (let n = 0; n < 3; n++) await failure(connect(pooled));
        expect(asked).toBeGreaterThanOrEqual(before + 3);
      });
    });

    test('connects that are refused in one turn do not search each', async () => {
      await echoServer(SERVER, any);
      await fill();
      await pause(30 * slowness);
      // Who asks the kernel opens a socket for it, and so the handle has a descriptor when it is closed.
      let asked = 0;
      const refused = Array.from({ length: 50 }, async () => {
        const socket = connect(options);
        socket.once('connectionAttempt', () => {
          const { _handle: handle } = socket as unknown as { _handle: Handle };
          const { close } = handle;
          handle.close = function (callback) {
            if (this.fd >= 0) asked++;
            close.call(this, callback);
          };
        });
        expect(await failure(socket)).toMatchObject(portsExhausted);
      });
      await Promise.all(refused);
      expect(asked).toBeGreaterThanOrEqual(1);
      expect(asked).toBeLessThan(25);
    });
  });
});
