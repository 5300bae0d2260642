// The source address is the one that the kernel takes for this very socket: plain dgram tells which one that is.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { execFileSync } from 'node:child_process';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import type { SocketOption } from '../../src/kernel/addon.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { keep, ways } from '../helpers/udp.js';

const { IPPROTO_IP, IPPROTO_IPV6 } = sys.constants;
const IP_TOS = 1;
const IP_UNICAST_IF = 50;
const IPV6_UNICAST_IF = 76;

const [FAR4, FAR6] = ['203.0.113.9', '2001:db8:9::9'] as const;
const one4 = '10.1.0.1';
const two4 = '10.2.0.1';
const one6 = '2001:db8:1::1';
const two6 = '2001:db8:2::1';

/** What a plain socket with these options has as its source. */
async function plain(host: string, port: number, options: readonly SocketOption[] = []): Promise<string> {
  const v6 = host.includes(':');
  const fd = sys.socket(v6 ? sys.constants.AF_INET6 : sys.constants.AF_INET, sys.constants.SOCK_DGRAM);
  try {
    for (const { level, name, value } of options) sys.setsockopt(fd, level, name, value);
    sys.connect(fd, { address: host, port });
    return sys.getsockname(fd).address;
  } finally {
    sys.close(fd);
  }
}

describeIsolated('two ways out, and rules', () => {
  useNetwork({
    range: [20000, 20009],
    commands: [
      ...['d0', 'd1'].flatMap((name) => [
        `ip link add ${name} type veth peer name ${name}p`,
        `ip link set ${name} up`,
        `ip link set ${name}p up`,
      ]),
      `ip addr add ${one4}/24 dev d0`,
      `ip addr add ${two4}/24 dev d1`,
      `ip addr add ${one6}/64 dev d0 nodad`,
      `ip addr add ${two6}/64 dev d1 nodad`,
      `ip route add default via 10.1.0.254 dev d0 src ${one4}`,
      `ip route add default via 10.2.0.254 dev d1 src ${two4} table 100`,
      `ip -6 route add default via 2001:db8:1::fe dev d0 src ${one6}`,
      `ip -6 route add default via 2001:db8:2::fe dev d1 src ${two6} table 100`,
      'ip rule add ipproto udp dport 5060 lookup 100',
      // Outside of the ephemeral range: the plain kernel may give out any port in it.
      'ip rule add ipproto udp sport 25007 lookup 100',
      'ip rule add ipproto tcp dport 5061 lookup 100',
      'ip -6 rule add ipproto udp dport 5060 lookup 100',
      'ip -6 rule add ipproto udp sport 25007 lookup 100',
      'ip -6 rule add ipproto tcp dport 5061 lookup 100',
      'ip rule add tos 0x10 lookup 100',
    ],
  });
  const networkOrder = (index: number) => Buffer.from(new Uint8Array(new Uint32Array([index]).buffer)).reverse();

  describe.each(ways)('$way', ({ open }) => {
    test.each([
      { host: FAR4, port: 5060, expected: two4 },
      { host: FAR4, port: 5061, expected: one4 },
      { host: FAR6, port: 5060, expected: two6 },
      { host: FAR6, port: 5061, expected: one6 },
      { host: `::ffff:${FAR4}`, port: 5060, expected: `::ffff:${two4}` },
      { host: `::ffff:${FAR4}`, port: 5061, expected: `::ffff:${one4}` },
    ])('a rule for protocol and destination port: $host $port', async ({ host, port, expected }) => {
      expect(await plain(host, port)).toBe(expected);
      expect((await open({ host, port })).address().address).toBe(expected);
    });

    test.each([
      { host: FAR4, expected: two4 },
      { host: FAR6, expected: two6 },
    ])('a rule for the source port: $host', async ({ host, expected }) => {
      const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
      socket.bind(25007);
      await once(socket, 'listening');
      socket.connect(53, host);
      await once(socket, 'connect');
      expect(socket.address().address).toBe(expected);
      socket.close();
      await once(socket, 'close');
      expect((await open({ host, port: 53, localPort: 25007 })).address().address).toBe(expected);
    });

    test('a rule for TOS', async () => {
      const socketOptions = [{ level: IPPROTO_IP, name: IP_TOS, value: 0x10 }];
      expect(await plain(FAR4, 53, socketOptions)).toBe(two4);
      expect((await open({ host: FAR4, port: 53, socketOptions })).address().address).toBe(two4);
      expect((await open({ host: FAR4, port: 53 })).address().address).toBe(one4);
    });

    test.each([
      { host: FAR4, level: IPPROTO_IP, name: IP_UNICAST_IF },
      { host: FAR6, level: IPPROTO_IPV6, name: IPV6_UNICAST_IF },
    ])('an interface for unicast: $host', async ({ host, level, name }) => {
      // d1 has an index; the option wants it in network byte order.
      const index = Number(sysInterface('d1'));
      const socketOptions = [{ level, name, value: networkOrder(index) }];
      const expected = await plain(host, 53, socketOptions).catch(codeOf);
      const got = await (async () => open({ host, port: 53, socketOptions }))().then(
        (socket) => socket.address().address,
        codeOf,
      );
      expect(got).toBe(expected);
    });

    test('also while every ephemeral port is taken', async () => {
      for (let port = 20000; port <= 20009; port++) {
        const socket = dgram.createSocket('udp4');
        socket.bind({ port, exclusive: true });
        await once(socket, 'listening');
        keep(socket);
      }
      const socketOptions = [{ level: IPPROTO_IP, name: IP_TOS, value: 0x10 }];
      const error = await (async () => open({ host: FAR4, port: 53, socketOptions }))().catch((e: unknown) => e);
      expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted', localAddress: two4 });
    });
  });
});

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

function sysInterface(name: string): string {
  // /sys shows the namespace in which it was mounted.
  return execFileSync('ip', ['-o', 'link', 'show', name], { encoding: 'utf8' }).split(':')[0] ?? '';
}
