// The network changes under a process: it goes into another namespace, its address goes, its interface goes down.
import { execFileSync } from 'node:child_process';
import * as net from 'node:net';
import { connect, connectUdpSync } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, OUTSIDE, shell, useNetwork } from '../helpers/netns.js';
import { hasPortRange } from '../helpers/kernel.js';
import { fixture } from '../helpers/run.js';
import { closed, errorOf, failure, track } from '../helpers/sockets.js';

const SERVER = 5353;

describeIsolated('setns(2)', () => {
  useNetwork({ range: [20000, 20003] });

  test.each(['process', 'thread'])('a %s that goes into another namespace, and back', (what) => {
    const result = JSON.parse(
      execFileSync(process.execPath, [fixture('setns.mjs'), what], { encoding: 'utf8' }),
    ) as unknown;
    const inside = (first: number) => {
      const ports = [0, 1, 2, 3].map((n) => first + n);
      // The other port lies outside of the range.
      const pinned = first === 20000 ? ['pin', 'bind'] : ['bind', 'pin'];
      const family = {
        pinned: hasPortRange() ? pinned : ['bind', 'bind'],
        tcp: [...ports, 'EADDRNOTAVAIL ports-exhausted'],
        udp: [...ports, 'EAGAIN ports-exhausted'],
      };
      const usage = ['tcp IPv4 4/4', 'tcp IPv6 4/4', 'udp IPv4 4/4', 'udp IPv6 4/4'];
      return { IPv4: family, IPv6: family, usage, conflicts: [] };
    };
    expect(result).toEqual({ first: inside(20000), second: inside(30000), again: inside(20000) });
  });
});

const outside = [
  { family: 'IPv4', source: '192.0.2.1', prefix: 24, nobody: '192.0.2.9' },
  { family: 'IPv6', source: '2001:db8:1::1', prefix: 64, nobody: '2001:db8:1::9' },
];

describeIsolated('an interface', () => {
  // Nobody is on the other side: a connect waits for a neighbour.
  useNetwork({
    range: [20000, 20003],
    commands: [
      ...OUTSIDE,
      'ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev v0',
      'ip neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:09 dev v0',
    ],
  });

  describe.each(outside)('$family', ({ source, prefix, nobody }) => {
    const options = { host: nobody, port: SERVER, localAddress: source };

    /** What becomes of core's connection and of ours, both of them under way, when this happens; and then of new ones. */
    async function underWay(command: string) {
      const sockets = [net.connect(options), connect(options)].map(track);
      const ended: unknown[] = [undefined, undefined];
      for (const [n, socket] of sockets.entries()) {
        socket.on('error', (error: Error) => {
          ended[n] = error.message;
        });
      }
      await Promise.all(
        sockets.map(async (socket) => new Promise((resolve) => socket.once('connectionAttempt', resolve))),
      );
      // The SYN is on its way.
      await new Promise(setImmediate);
      const states = sockets.map(({ connecting }) => connecting);
      shell(command);
      await new Promise((resolve) => setTimeout(resolve, 20));
      const still = sockets.map(({ connecting }) => connecting);
      for (const socket of sockets) socket.destroy();
      await Promise.all(sockets.map(closed));
      return { states, still, ended };
    }

    test('the address is taken away while a connect is under way: as with core; then it is not of this machine', async () => {
      const { states, still, ended } = await underWay(`ip addr del ${source}/${prefix} dev v0`);
      expect(states).toEqual([true, true]);
      expect(still[1]).toBe(still[0]);
      expect(ended[1]).toBe(ended[0]);
      const expected = { code: 'EADDRNOTAVAIL', reason: 'address-not-local' };
      expect(await failure(connect(options))).toMatchObject(expected);
      expect(await failure(connect({ ...options, localPort: 20001 }))).toMatchObject(expected);
      expect(await errorOf(() => connectUdpSync(options))).toMatchObject(expected);
      shell(`ip addr add ${source}/${prefix} dev v0${source.includes(':') ? ' nodad' : ''}`);
      track(connectUdpSync(options));
    });

    test('the interface goes down while a connect is under way: as with core; then there is no way, and no talk of ports', async () => {
      const { states, still, ended } = await underWay('ip link set v0 down');
      expect(states).toEqual([true, true]);
      expect(still[1]).toBe(still[0]);
      expect(ended[1]).toBe(ended[0]);
      const cores = await failure(net.connect(options));
      for (const given of [options, { ...options, localPort: 20001 }]) {
        const { code, reason } = await failure(connect(given));
        expect(code).toBe(cores.code);
        expect(reason).not.toBe('ports-exhausted');
      }
      const { code, reason } = await errorOf(() => connectUdpSync(options));
      expect(code).toBe(cores.code);
      expect(reason).not.toBe('ports-exhausted');
    });
  });

  test('an IPv6 address that is still tentative is not of this machine yet', async () => {
    shell('echo 1 >/proc/sys/net/ipv6/conf/v0/accept_dad; ip addr add 2001:db8:1::5/64 dev v0');
    const options = { host: '2001:db8:1::9', port: SERVER, localAddress: '2001:db8:1::5' };
    const expected = { code: 'EADDRNOTAVAIL', reason: 'address-not-local' };
    expect(await failure(connect(options))).toMatchObject(expected);
    expect(await errorOf(() => connectUdpSync(options))).toMatchObject(expected);
  });
});
