// A range that is full of TIME-WAIT towards one destination: said in the error, and taken over with reuseTimeWait.
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { connect, type ConnectOptions, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';
import { processClient } from '../helpers/clients.js';

import { domainOf } from '../../src/kernel/constants.js';
import type { Native } from '../../src/kernel/addon.js';
import { outcomeCode } from '../../src/kernel/outcome.js';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, sysctl, tcpStates, useNetwork } from '../helpers/netns.js';
import { BUILT_ADDON } from '../helpers/package.js';
import { leftOutWithout } from '../helpers/programs.js';
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

const portsExhausted = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'ports-exhausted' };

const leftOut = leftOutWithout('setpriv');
const addon = createRequire(import.meta.url)(BUILT_ADDON) as Native;

describeIsolated('4 ports, all of them in TIME-WAIT towards one destination', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ version, any, source, source2, remote, remote2 }) => {
    const waiting = () => tcpStates().filter(({ state }) => state === 'TIME-WAIT');
    const options = { host: remote, port: SERVER, localAddress: source };

    /** So many connections that this side has closed first. */
    async function leaveTimeWait(ways: ConnectOptions = options, count = PORTS.length): Promise<void> {
      sysctl('ipv4.tcp_tw_reuse', 0);
      const before = waiting().length;
      const { made } = await exhaust(count, () => connected(connect(ways)));
      expect(made).toHaveLength(count);
      for (const socket of made) await assertEcho(socket);
      for (const socket of made) socket.end();
      await until(() => waiting().length === before + count);
    }

    /** Whether this kernel ends a connection in TIME-WAIT (SOCK_DESTROY) where CAP_NET_ADMIN allows it; 5.10 does not. */
    async function endsTimeWait(): Promise<boolean> {
      await leaveTimeWait();
      // The question goes to this test's own namespace.
      addon.tcpNamespace();
      const outcomes = PORTS.map((port) => addon.tcpEndTimeWait(domainOf(version), source, port, remote, SERVER));
      if (outcomes.every((outcome) => outcome === 1)) return true;
      // libuv's name of EOPNOTSUPP.
      expect(outcomes.map((outcome) => outcomeCode(outcome))).toEqual(PORTS.map(() => 'ENOTSUP'));
      return false;
    }

    test('control: net.connect has to wait', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      await expect(connected(net.connect(options))).rejects.toMatchObject({ code: 'EADDRINUSE' });
    });

    test('without reuseTimeWait: ports-exhausted, and the error says why', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      const error = await failure(connect(options));
      expect(error).toMatchObject(portsExhausted);
      expect(error.message).toMatch(
        /20000-20003 is taken .*, 4 of 4 that were looked at by connections in TIME-WAIT: set reuseTimeWait/,
      );
    });

    test('with reuseTimeWait every port serves again, at once, and then it is ports-exhausted', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      const { made, error } = await exhaust(100, () => connected(connect({ ...options, reuseTimeWait: true })));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual(PORTS);
      for (const socket of made) {
        expect(socket.localAddress).toBe(source);
        await assertEcho(socket);
      }
      expect(waiting()).toEqual([]);
      expect(error).toMatchObject(portsExhausted);
      // Nothing is in TIME-WAIT any more.
      expect(error?.message).not.toMatch(/TIME-WAIT/);
    });

    test('again and again', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      for (let n = 0; n < 3; n++) {
        const { made } = await exhaust(4, () => connected(connect({ ...options, reuseTimeWait: true })));
        for (const socket of made) await assertEcho(socket);
        for (const socket of made) socket.end();
        await until(() => waiting().length === PORTS.length);
      }
    });

    test('free ports come first', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait(options, 2);
      const taken = waiting().map(({ local }) => Number(local.split(':').at(-1)));
      const free = PORTS.filter((port) => !taken.includes(port));
      const { made } = await exhaust(2, () => connected(connect({ ...options, reuseTimeWait: true })));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual(free);
      expect(waiting()).toHaveLength(2);
    });

    test('with the destination only', async () => {
      await echoServer(SERVER, any);
      const plain = { host: remote, port: SERVER };
      await leaveTimeWait(plain);
      expect(await failure(connect(plain))).toMatchObject(portsExhausted);
      const { made, error } = await exhaust(100, () => connected(connect({ ...plain, reuseTimeWait: true })));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual(PORTS);
      expect(error).toMatchObject(portsExhausted);
    });

    test('only this source, this destination, and these ports', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      await leaveTimeWait({ ...options, host: remote2 });
      await leaveTimeWait({ ...options, localAddress: source2 });
      const localPortRange = [RANGE[0], RANGE[0] + 1] as const;
      const { made, error } = await exhaust(100, () =>
        connected(connect({ ...options, localPortRange, reuseTimeWait: true })),
      );
      expect(made.map(({ localPort }) => localPort).sort()).toEqual([20000, 20001]);
      expect(error).toMatchObject(portsExhausted);
      expect(waiting()).toHaveLength(10);
    });

    test('a reserved port is left alone', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      sysctl('ipv4.ip_local_reserved_ports', '20000');
      const { made } = await exhaust(100, () => connected(connect({ ...options, reuseTimeWait: true })));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual([20001, 20002, 20003]);
    });

    test('with CAP_NET_ADMIN no TCP timestamps are needed, where the kernel ends a TIME-WAIT', async () => {
      sysctl('ipv4.tcp_timestamps', 0);
      await echoServer(SERVER, any);
      if (!(await endsTimeWait())) {
        const error = await failure(connect({ ...options, reuseTimeWait: true }));
        expect(error).toMatchObject(portsExhausted);
        expect(error.message).toMatch(/cannot be taken over while TCP timestamps are off/);
        return;
      }
      await leaveTimeWait();
      const before = descriptorCount();
      const { made, error } = await exhaust(100, () => connected(connect({ ...options, reuseTimeWait: true })));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual(PORTS);
      expect(error).toMatchObject(portsExhausted);
      for (const socket of made) await assertEcho(socket);
      for (const socket of made) socket.resetAndDestroy();
      // Some are kept open to ask the kernel with.
      await until(() => descriptorCount() <= before + 2);
    });

    test.skipIf(leftOut)(`without it, with TCP timestamps off: a clear error${leftOut}`, async () => {
      sysctl('ipv4.tcp_timestamps', 0);
      await echoServer(SERVER, any);
      await leaveTimeWait();
      const [error] = await processClient(['net_admin']).open([{ ...options, reuseTimeWait: true }]);
      const { code, reason } = portsExhausted;
      expect(error).toMatchObject({ code, reason });
      expect(error?.message).toMatch(
        /cannot be taken over while TCP timestamps are off: set net\.ipv4\.tcp_timestamps=1/,
      );
    });

    test.skipIf(leftOut)(`when the other side had no TCP timestamps: another clear error${leftOut}`, async () => {
      sysctl('ipv4.tcp_timestamps', 0);
      await echoServer(SERVER, any);
      await leaveTimeWait();
      sysctl('ipv4.tcp_timestamps', 1);
      const [error] = await processClient(['net_admin']).open([{ ...options, reuseTimeWait: true }]);
      const { code, reason } = portsExhausted;
      expect(error).toMatchObject({ code, reason });
      expect(error?.message).toMatch(/could not be taken over, for which the other side has to use TCP timestamps/);
    });

    // What one connection after the other to one destination leaves to somebody else, who wants to go to another one.
    test.skipIf(leftOut).each([
      { who: 'with CAP_NET_ADMIN', dropped: [], lost: 0 },
      { who: 'without it', dropped: ['net_admin'], lost: 1 },
    ])(
      `$who nobody else loses more than $lost ports, where the kernel ends a TIME-WAIT${leftOut}`,
      async ({ dropped, lost }) => {
        sysctl('ipv4.tcp_tw_reuse', 0);
        await echoServer(SERVER, any);
        const most = lost === 0 && !(await endsTimeWait()) ? 1 : lost;
        const ended = await processClient(dropped).endEach({ ...options, reuseTimeWait: true }, 40);
        expect(ended).toEqual({ ok: 40 });
        const { made } = await exhaust(100, () => connected(net.connect({ host: remote2, port: SERVER })));
        expect(made.length).toBeGreaterThanOrEqual(PORTS.length - most);
      },
    );

    test('many at once: each port once', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 10 }, async () => connected(connect({ ...options, reuseTimeWait: true }))),
      );
      const made = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value.localPort] : []));
      expect(made.sort()).toEqual(PORTS);
      for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).toMatchObject(portsExhausted);
    });

    test('several processes at once: each port once', async () => {
      await echoServer(SERVER, any);
      await leaveTimeWait();
      const clients = Array.from({ length: 4 }, () => processClient());
      const wanted = { ...options, reuseTimeWait: true };
      const outcomes = (await Promise.all(clients.map(async (client) => client.open([wanted, wanted])))).flat();
      expect(outcomes.flatMap(({ localPort }) => localPort ?? []).sort()).toEqual(PORTS);
      for (const { code, reason } of outcomes)
        if (code !== undefined)
          expect({ code, reason }).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
    });

    test('a pool: source after source', async () => {
      await echoServer(SERVER, any);
      const pool = new SourcePool([source, source2]);
      await leaveTimeWait({ ...options, localAddress: pool }, 8);
      const pooled = { ...options, localAddress: pool };
      expect(await failure(connect(pooled))).toMatchObject({ reason: 'pool-exhausted' });
      const { made, error } = await exhaust(100, () => connected(connect({ ...pooled, reuseTimeWait: true })));
      expect(made).toHaveLength(8);
      expect(error).toMatchObject({ reason: 'pool-exhausted' });
    });

    test('destroyed while the kernel is being asked', async () => {
      await echoServer(SERVER, any);
      const before = descriptorCount();
      await leaveTimeWait();
      for (let turns = 0; turns < 8; turns++) {
        const socket = track(connect({ ...options, reuseTimeWait: true }));
        await new Promise<void>((resolve) => {
          const wait = (left: number): void => {
            if (left === 0) resolve();
            else setImmediate(() => wait(left - 1));
          };
          socket.once('connectionAttempt', () => wait(turns));
        });
        socket.destroy();
        await closed(socket);
      }
      // One is kept open to ask the kernel with.
      await until(() => descriptorCount() <= before + 1);
    });
  });
});
