// What a failure means: errno and circumstances in, `reason` and advice out.
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  type Circumstances,
  explain,
  familyMismatch,
  LOOPBACK_SOURCE,
  MISSING_ZONE,
  otherAddress,
  otherPort,
  SELF_CONNECT,
  wildcardOf,
} from '../../src/connect/explain';
import { readSource, type SourceOptions } from '../../src/source/options';

const { errno } = constants;

interface Case {
  name: string;
  errno: number;
  syscall: string;
  options?: SourceOptions;
  localAddress?: string | null;
  usable?: boolean;
  ephemeral?: Circumstances['ephemeral'];
  timeWait?: ReturnType<NonNullable<Circumstances['timeWait']>>;
  reason: string | undefined;
  /** What the advice must name. */
  says: RegExp;
}

function circumstances(of: Case, asked = () => {}): Circumstances {
  return {
    errno: of.errno,
    syscall: of.syscall,
    localAddress: of.localAddress ?? null,
    source: readSource(of.options),
    ephemeral: 'ephemeral' in of ? of.ephemeral : { low: 32768, high: 60999 },
    sourceIsUsable: () => {
      asked();
      return of.usable ?? true;
    },
    timeWait: () => of.timeWait,
  };
}

const cases: Case[] = [
  {
    name: 'no port is left',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { localAddress: '192.0.2.1' },
    localAddress: '192.0.2.1',
    reason: 'ports-exhausted',
    says: /every usable port of 32768-60999 is taken towards this destination.*ip_local_port_range/,
  },
  {
    name: 'no port is left, and none is in TIME-WAIT',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    timeWait: { of: 16, found: 0, timestamps: true },
    reason: 'ports-exhausted',
    says: /destination: add source addresses, [^T]*$/,
  },
  {
    name: 'TIME-WAIT has ports',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    timeWait: { of: 16, found: 9, timestamps: true },
    reason: 'ports-exhausted',
    says: /9 of 16 that were looked at by connections in TIME-WAIT: set reuseTimeWait/,
  },
  {
    name: 'TIME-WAIT has ports that could not be taken over',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { reuseTimeWait: true },
    timeWait: { of: 16, found: 9, timestamps: true },
    reason: 'ports-exhausted',
    says: /could not be taken over, for which the other side has to use TCP timestamps/,
  },
  {
    name: 'TIME-WAIT has ports, and there are no timestamps',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { reuseTimeWait: true },
    timeWait: { of: 16, found: 16, timestamps: false },
    reason: 'ports-exhausted',
    says: /while TCP timestamps are off: set net\.ipv4\.tcp_timestamps=1/,
  },
  {
    name: 'no port is left for the destination only',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    reason: 'ports-exhausted',
    says: /32768-60999/,
  },
  {
    name: 'no port of the wanted range is left',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { localPortRange: [7, 9] },
    reason: 'ports-exhausted',
    says: /every usable port of 7-9 is taken/,
  },
  {
    name: 'no port is left of a range that cannot be read',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    ephemeral: undefined,
    reason: 'ports-exhausted',
    says: /every ephemeral port is taken/,
  },
  {
    name: 'the exact tuple is taken',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { localPort: 7 },
    reason: 'tuple-in-use',
    says: /another connection has this exact 4-tuple.*TIME-WAIT/,
  },
  {
    name: 'somebody who does not share has the port',
    errno: errno.EADDRINUSE,
    syscall: 'bind',
    options: { localPort: 7 },
    reason: 'port-locked',
    says: /port 7 .*ip_local_reserved_ports/,
  },
  {
    name: 'the source is not here, says bind',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'bind',
    localAddress: '192.0.2.1',
    reason: 'address-not-local',
    says: /^192\.0\.2\.1 cannot be used as a source/,
  },
  {
    name: 'the source is not here, port or no port',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'bind',
    options: { localPort: 7 },
    localAddress: '192.0.2.1',
    reason: 'address-not-local',
    says: /192\.0\.2\.1/,
  },
  {
    name: 'the source cannot be used, says connect',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    options: { localPort: 7 },
    localAddress: '2001:db8::1',
    usable: false,
    reason: 'address-not-local',
    says: /2001:db8::1/,
  },
  {
    name: 'there is no source at all',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'connect',
    usable: false,
    reason: 'address-not-local',
    says: /no usable source address/,
  },
  {
    name: 'an interface that is not there',
    errno: errno.ENODEV,
    syscall: 'setsockopt',
    options: { interface: 'nosuch0' },
    reason: undefined,
    says: /there is no interface "nosuch0"/,
  },
  {
    name: 'a privilege that is missing',
    errno: errno.EPERM,
    syscall: 'setsockopt',
    options: { mark: 1 },
    reason: undefined,
    says: /CAP_NET_ADMIN/,
  },
  {
    name: 'a socket option that the kernel does not take',
    errno: errno.ENOPROTOOPT,
    syscall: 'setsockopt',
    options: { socketOptions: [{ level: 1, name: 9999, value: 1 }] },
    reason: undefined,
    says: /socket options was refused/,
  },
  {
    name: 'EADDRNOTAVAIL of an option that takes an address',
    errno: errno.EADDRNOTAVAIL,
    syscall: 'setsockopt',
    options: { socketOptions: [{ level: 0, name: 32, value: 0x010200c0 }] },
    reason: undefined,
    says: /socket options was refused/,
  },
  {
    name: 'ENODEV of an option that is not the interface',
    errno: errno.ENODEV,
    syscall: 'setsockopt',
    options: { socketOptions: [{ level: 1, name: 25, value: 1 }] },
    reason: undefined,
    says: /socket options was refused/,
  },
  ...['ECONNREFUSED', 'ETIMEDOUT', 'EMFILE', 'EADDRINUSE'].map((name) => ({
    name: `${name} says it all`,
    errno: errno[name as keyof typeof errno],
    syscall: 'connect',
    localAddress: '192.0.2.7',
    reason: undefined,
    says: /^$/,
  })),
  ...(['EHOSTUNREACH', 'ENETUNREACH', 'EACCES', 'EINVAL', 'EPERM'] as const).flatMap((name) => [
    {
      name: `${name} from a source address is the route's`,
      errno: errno[name],
      syscall: 'connect',
      localAddress: '192.0.2.7',
      reason: undefined,
      says: /the destination cannot be reached from this source: /,
    },
    {
      name: `${name} with no source address says it all`,
      errno: errno[name],
      syscall: 'connect',
      reason: undefined,
      says: /^$/,
    },
  ]),
];

test.each(cases)('$name: $reason', (of) => {
  const { reason, advice } = explain(circumstances(of));
  expect(reason).toBe(of.reason);
  expect(advice).toMatch(of.says);
});

test('the kernel is asked only where the answer matters', () => {
  for (const of of cases) {
    let asked = 0;
    explain(circumstances(of, () => asked++));
    const matters = of.errno === errno.EADDRNOTAVAIL && of.syscall === 'connect';
    expect(asked, of.name).toBe(matters ? 1 : 0);
  }
});

describe('what is known before the kernel is asked, or afterwards', () => {
  test.each([
    ['192.0.2.9', { localAddress: '::1' }, /needs an IPv4 source address, and localAddress has none/],
    ['2001:db8::9', { localAddress: '127.0.0.1' }, /needs an IPv6 source address, and localAddress has none/],
    ['192.0.2.9', { localAddress: () => undefined }, /IPv4 source address, and localAddress\(\) gave none/],
  ])('family-mismatch towards %s', (destination, options, says) => {
    const { reason, advice } = familyMismatch(destination, readSource(options));
    expect(reason).toBe('family-mismatch');
    expect(advice).toMatch(says);
  });

  // It is the IPv4 source that such a destination needs.
  test('family-mismatch towards an IPv4-mapped destination', () => {
    expect(familyMismatch('::ffff:192.0.2.9', readSource({ localAddress: '::1' })).advice).toMatch(
      /needs an IPv4 source/,
    );
  });

  test('another address or port than asked for', () => {
    expect(otherAddress('192.0.2.255')).toMatchObject({ reason: 'address-not-local' });
    expect(otherAddress('192.0.2.255').advice).toContain('192.0.2.255');
    expect(otherPort({ low: 7, high: 9 })).toMatchObject({ reason: 'ports-exhausted' });
    expect(otherPort({ low: 7, high: 9 }).advice).toContain('7-9');
  });

  test('what has no reason has advice', () => {
    for (const { reason, advice } of [MISSING_ZONE, LOOPBACK_SOURCE, SELF_CONNECT]) {
      expect(reason).toBeUndefined();
      expect(advice).not.toBe('');
    }
  });

  test('every advice is one clause: nothing that would end the sentence it is put into', () => {
    const all = [
      ...cases.map((of) => explain(circumstances(of))),
      MISSING_ZONE,
      LOOPBACK_SOURCE,
      SELF_CONNECT,
      otherAddress('192.0.2.255'),
      otherPort({ low: 7, high: 9 }),
    ];
    for (const { advice } of all) expect(advice).not.toMatch(/^[A-Z]|[.;\n]$|\n/);
  });
});

test('the wildcard as each kind of socket writes it', () => {
  expect([wildcardOf(4, false), wildcardOf(6, false), wildcardOf(6, true)]).toEqual([
    '0.0.0.0',
    '::',
    '::ffff:0.0.0.0',
  ]);
});
