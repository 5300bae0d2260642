// Where a port is bound explicitly, a source address is bound with it: the one that the kernel takes for this very socket, as a plain
// socket tells.
import { once } from 'node:events';
import { connect, type ConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { afterEach, describe, expect, test } from 'vitest';
import type { SocketOption } from '../../src/kernel/addon.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fdOf, track, until } from '../helpers/sockets.js';

const { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_STREAM, SOL_SOCKET } = sys.constants;
const IP_TOS = 1;
const IP_UNICAST_IF = 50;
const IPV6_TCLASS = 67;
const IPV6_ADDR_PREFERENCES = 72;
const IPV6_PREFER_SRC_TMP = 1;
const IPV6_UNICAST_IF = 76;
const SO_BINDTODEVICE = 25;
const LOW_DELAY = 0x10;
const INDEX_OF_D1 = 50;

const RANGE = [20000, 20009] as const;
const [FAR4, FAR6] = ['203.0.113.9', '2001:db8:9::9'] as const;
const [ONE4, TWO4] = ['10.1.0.1', '10.2.0.1'] as const;
const [ONE6, TWO6] = ['2001:db8:1::1', '2001:db8:2::1'] as const;

const opened: number[] = [];
afterEach(() => {
  for (const fd of opened.splice(0)) sys.close(fd);
});

/** The source of a plain socket with these options. Its SYN leads to nobody. */
function plain(host: string, port: number, options: readonly SocketOption[] = []): string {
  const fd = sys.socket(host.includes(':') ? AF_INET6 : AF_INET, SOCK_STREAM);
  opened.push(fd);
  for (const { level, name, value } of options) sys.setsockopt(fd, level, name, value);
  expect(() => {
    sys.connect(fd, { address: host, port });
  }).toThrow('EINPROGRESS');
  return sys.getsockname(fd).address;
}

/** The source of connectx, whatever becomes of the connect later. */
async function ours(options: ConnectOptions): Promise<string> {
  const socket = track(connect(options));
  const failed = once(socket, 'error').then(([error]) => Promise.reject(error as Error));
  // A search may take turns.
  await Promise.race([failed, until(() => fdOf(socket) >= 0)]);
  failed.catch(() => undefined);
  return sys.getsockname(fdOf(socket)).address;
}

describeIsolated('two ways out, and rules', () => {
  useNetwork({
    range: RANGE,
    commands: [
      'ip link add d0 type veth peer name d0p',
      `ip link add d1 index ${INDEX_OF_D1} type veth peer name d1p`,
      'echo 1 >/proc/sys/net/ipv6/conf/d0/use_tempaddr',
      'echo 0 >/proc/sys/net/ipv6/conf/d0/accept_dad',
      ...['d0', 'd0p', 'd1', 'd1p'].map((name) => `ip link set ${name} up`),
      `ip addr add ${ONE4}/24 dev d0`,
      `ip addr add ${TWO4}/24 dev d1`,
      // The kernel makes temporary ones beside it, which it prefers only when it is told to (RFC 5014).
      `ip addr add ${ONE6}/64 dev d0 nodad mngtmpaddr`,
      `ip addr add ${TWO6}/64 dev d1 nodad`,
      'ip route add default via 10.1.0.254 dev d0',
      'ip route add default via 10.2.0.254 dev d1 table 100',
      'ip route add default via 10.2.0.254 dev d1 metric 1000',
      'ip -6 route add default via 2001:db8:1::fe dev d0',
      'ip -6 route add default via 2001:db8:2::fe dev d1 table 100',
      'ip -6 route add default via 2001:db8:2::fe dev d1 metric 2048',
      'ip rule add ipproto tcp dport 5060 lookup 100',
      'ip rule add ipproto tcp sport 30007 lookup 100',
      'ip rule add ipproto udp dport 5061 lookup 100',
      'ip -6 rule add ipproto tcp dport 5060 lookup 100',
      'ip -6 rule add ipproto tcp sport 30007 lookup 100',
      'ip -6 rule add ipproto udp dport 5061 lookup 100',
      'ip rule add tos 0x10 lookup 100',
      'ip -6 rule add tos 0x10 lookup 100',
    ],
  });

  const bigEndian = (index: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, index);
    return bytes;
  };

  // Inside the ephemeral range the port is pinned, outside it is bound explicitly; a range outside is searched.
  describe.each([
    { given: 'a port inside the ephemeral range', source: { localPort: 20003 } },
    { given: 'a port outside of it', source: { localPort: 30000 } },
    { given: 'a range outside of it', source: { localPortRange: [30000, 30006] as const } },
    { given: 'no port', source: {} },
  ])('$given', ({ source }) => {
    test.each([
      { host: FAR4, port: 5060, expected: TWO4 },
      { host: FAR4, port: 5061, expected: ONE4 },
      { host: FAR6, port: 5060, expected: TWO6 },
      { host: FAR6, port: 5061, expected: ONE6 },
    ])('a rule for protocol and destination port: $host $port', async ({ host, port, expected }) => {
      expect(plain(host, port)).toBe(expected);
      expect(await ours({ host, port, ...source })).toBe(expected);
    });

    test('an IPv4-mapped destination', async () => {
      const host = `::ffff:${FAR4}`;
      expect(await ours({ host, port: 5060, ...source })).toBe(`::ffff:${TWO4}`);
    });

    test.each([
      { what: 'TOS', host: FAR4, option: () => ({ level: IPPROTO_IP, name: IP_TOS, value: LOW_DELAY }), other: TWO4 },
      {
        what: 'the traffic class',
        host: FAR6,
        option: () => ({ level: IPPROTO_IPV6, name: IPV6_TCLASS, value: LOW_DELAY }),
        other: TWO6,
      },
      {
        what: 'address preferences',
        host: FAR6,
        option: () => ({ level: IPPROTO_IPV6, name: IPV6_ADDR_PREFERENCES, value: IPV6_PREFER_SRC_TMP }),
        other: expect.stringMatching(/^2001:db8:1:0:/) as string,
      },
      {
        what: 'an interface for unicast',
        host: FAR4,
        option: () => ({ level: IPPROTO_IP, name: IP_UNICAST_IF, value: bigEndian(INDEX_OF_D1) }),
        other: undefined,
      },
      {
        what: 'an interface for unicast',
        host: FAR6,
        option: () => ({ level: IPPROTO_IPV6, name: IPV6_UNICAST_IF, value: bigEndian(INDEX_OF_D1) }),
        other: undefined,
      },
      {
        what: 'a device, as a socket option',
        host: FAR4,
        option: () => ({ level: SOL_SOCKET, name: SO_BINDTODEVICE, value: Buffer.from('d1') }),
        other: TWO4,
      },
    ])('$what: $host', async ({ host, option, other }) => {
      const socketOptions = [option()];
      const expected = plain(host, 5353, socketOptions);
      // Where the kernel makes a difference, this is it; for TCP it takes no notice of some of them.
      if (other !== undefined) expect(expected).toEqual(other);
      expect(await ours({ host, port: 5353, socketOptions, ...source })).toBe(expected);
    });
  });

  test.each([
    { host: FAR4, expected: TWO4 },
    { host: FAR6, expected: TWO6 },
  ])('a rule for the source port: $host', async ({ host, expected }) => {
    expect(await ours({ host, port: 5353, localPort: 30007 })).toBe(expected);
    expect(await ours({ host, port: 5353, localPort: 30008 })).not.toBe(expected);
  });
});
