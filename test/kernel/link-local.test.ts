// A link-local source with a zone, towards a destination without one: the source binds its socket to its link.
import type * as dgram from 'node:dgram';
import type { Socket } from 'node:net';
import { connect, type SourceOptions, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, errorOf, exhaust, failure } from '../helpers/sockets.js';
import { PORTS, RANGE, SERVER, ways } from '../helpers/udp.js';

// The same one on two links.
const LINK_LOCAL = 'fe80::aaaa';
const [OF_D0, OF_D1] = ['2001:db8:1::1', '2001:db8:2::1'] as const;
const [BEHIND_D0, BEHIND_D1] = ['2001:db8:1::9', '2001:db8:2::9'] as const;
/** Behind either of the two. */
const FAR = '2001:db8:9::9';
const OUTSIDE_RANGE = [30000, 30002] as const;

describeIsolated('a link-local source with a zone', () => {
  useNetwork({
    range: RANGE,
    commands: [
      ...['d0', 'd1'].flatMap((name) => [
        `ip link add ${name} type veth peer name ${name}p`,
        `ip link set ${name} up`,
        `ip link set ${name}p up`,
        `ip addr add ${LINK_LOCAL}/64 dev ${name} nodad`,
      ]),
      `ip addr add ${OF_D0}/64 dev d0 nodad`,
      `ip addr add ${OF_D1}/64 dev d1 nodad`,
      'ip -6 route add 2001:db8:9::/64 via fe80::1 dev d0',
      'ip -6 route add 2001:db8:9::/64 via fe80::1 dev d1 metric 2048',
    ],
  });

  describe('TCP', () => {
    const to = (host: string, port: number, options: SourceOptions = {}): Socket =>
      connect({ host, port, localAddress: `${LINK_LOCAL}%d0`, ...options });

    test('each destination has every port', async () => {
      for (const port of [SERVER, SERVER + 1]) {
        await echoServer(port);
        const { made, error } = await exhaust(100, () => connected(to(OF_D0, port)));
        expect(made.map(({ localPort }) => localPort).sort()).toEqual(PORTS);
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
        expect(error?.message).toContain(`every usable port of ${RANGE.join('-')} is taken`);
      }
    });

    test('the error names the range that was asked for', async () => {
      await echoServer(SERVER);
      const { made, error } = await exhaust(100, () => connected(to(OF_D0, SERVER, { localPortRange: OUTSIDE_RANGE })));
      expect(made).toHaveLength(3);
      expect(error?.message).toContain('every usable port of 30000-30002 is taken');
    });

    // (link-local%d1, lport, remote) --> # 1
    // (link-local%d0, lport, remote) --> # 1
    test('on another link it is another 4-tuple', async () => {
      const options = { localPort: PORTS[1] };
      const first = to(FAR, SERVER, { ...options, localAddress: `${LINK_LOCAL}%d1` });
      await sent(first);
      const second = to(FAR, SERVER, options);
      await sent(second);
      const third = to(FAR, SERVER, options);
      expect(await failure(third)).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' });
      first.destroy();
      second.destroy();
    });

    test.each([
      { where: 'on another link', host: OF_D1, code: 'ENETUNREACH' },
      { where: 'on this machine', host: '::1', code: 'ENETUNREACH' },
      { where: 'link-local on another link', host: 'fe80::9%d1', code: 'EINVAL' },
    ])('a destination $where: $code, and why', async ({ host, code }) => {
      for (const localAddress of [`${LINK_LOCAL}%d0`, new SourcePool([`${LINK_LOCAL}%d0`])]) {
        const error = await failure(to(host, SERVER, { localAddress }));
        expect(error).toMatchObject({ code, syscall: 'connect' });
        expect(error.reason).toBeUndefined();
        expect(error.message).toContain('there is no way to it over d0');
      }
    });
  });

  describe.each(ways)('UDP, $way', ({ open }) => {
    const to = (host: string, port: number, options: SourceOptions = {}): Promise<dgram.Socket> =>
      open({ host, port, localAddress: `${LINK_LOCAL}%d0`, ...options });

    test.each([
      { where: 'on the link', host: BEHIND_D0 },
      { where: 'on this machine', host: OF_D0 },
      { where: 'far away', host: FAR },
    ])('each destination has every port: $where', async ({ host }) => {
      for (const port of [SERVER, SERVER + 1]) {
        const { made, error } = await exhaust(100, () => to(host, port));
        expect(made.map((socket) => socket.address().port).sort()).toEqual(PORTS);
        expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
        expect(error?.message).toContain(`every usable port of ${RANGE.join('-')} is taken`);
      }
    });

    test('the error names the range that was asked for', async () => {
      const { made, error } = await exhaust(100, () => to(FAR, SERVER, { localPortRange: OUTSIDE_RANGE }));
      expect(made).toHaveLength(3);
      expect(error?.message).toContain('every usable port of 30000-30002 is taken');
    });

    // (link-local%d1, every port, remote) --> # 4
    // (link-local%d0, every port, remote) --> # 4
    test('on another link it is another 4-tuple', async () => {
      for (const zone of ['d1', 'd0']) {
        for (const port of [SERVER, SERVER + 1]) {
          const { made } = await exhaust(100, () => to(FAR, port, { localAddress: `${LINK_LOCAL}%${zone}` }));
          expect(made, `${zone} ${port}`).toHaveLength(PORTS.length);
        }
      }
      const exact = { localAddress: `${LINK_LOCAL}%d1`, localPort: 30000 };
      await to(BEHIND_D1, SERVER, exact);
      const again = () => to(BEHIND_D1, SERVER, exact);
      expect(await errorOf(again)).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
    });

    test.each([
      { where: 'on another link', host: OF_D1, code: 'ENETUNREACH' },
      { where: 'on this machine', host: '::1', code: 'ENETUNREACH' },
      { where: 'link-local on another link', host: 'fe80::9%d1', code: 'EINVAL' },
    ])('a destination $where: $code, and why', async ({ host, code }) => {
      for (const localAddress of [`${LINK_LOCAL}%d0`, new SourcePool([`${LINK_LOCAL}%d0`])]) {
        const error = await errorOf(() => to(host, SERVER, { localAddress }));
        expect(error).toMatchObject({ code, syscall: 'connect' });
        expect(error.reason).toBeUndefined();
        expect(error.message).toContain('there is no way to it over d0');
      }
    });
  });
});

/** The SYN is on its way; nobody answers it. */
async function sent(socket: Socket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('connectionAttempt', () => setImmediate(resolve));
    socket.once('error', reject);
  });
}
