// Numeric addresses as values, with Node's own parsers beside them.
import { isIP, SocketAddress } from 'node:net';
import { describe, expect, test } from 'vitest';
import { groupsOf, isMapped, parseAddress, toMapped } from '../../src/values/address';

const ROUNDS = 2000;

// Seeded (mulberry32), so that a failure can be repeated.
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const below = (random: () => number, limit: number) => Math.floor(random() * limit);

/** Eight groups; zeros and small numbers are common, so that there is something to compress. */
function randomGroups(random: () => number): number[] {
  return Array.from({ length: 8 }, () => {
    const kind = below(random, 4);
    if (kind < 2) return 0;
    return kind === 2 ? below(random, 16) : below(random, 65536);
  });
}

/** One of the ways in which RFC 4291 lets these groups be written. */
function spell(groups: readonly number[], random: () => number): string {
  const parts = groups.map((group) => {
    const digits = group.toString(16);
    const padded = random() < 0.3 ? digits.padStart(4, '0') : digits;
    return random() < 0.3 ? padded.toUpperCase() : padded;
  });
  const dotted = random() < 0.3;
  if (dotted) {
    const [high = 0, low = 0] = groups.slice(6);
    parts.splice(6, 2, [high >> 8, high & 255, low >> 8, low & 255].join('.'));
  }
  // Any run of zeros may be left out, not only the longest one, but only one run.
  const runs: [number, number][] = [];
  const usable = dotted ? 6 : 8;
  for (let from = 0; from < usable; from++) {
    for (let to = from + 1; to <= usable && groups[to - 1] === 0; to++) runs.push([from, to]);
  }
  const run = runs[below(random, runs.length)];
  if (run === undefined || random() < 0.2) return parts.join(':');
  return `${parts.slice(0, run[0]).join(':')}::${parts.slice(run[1]).join(':')}`;
}

describe('parseAddress', () => {
  test.each([
    ['0.0.0.0', 'unspecified'],
    ['0.0.0.1', 'other'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.255', 'loopback'],
    ['126.255.255.255', 'other'],
    ['128.0.0.1', 'other'],
    ['169.254.0.1', 'link-local'],
    ['169.253.0.1', 'other'],
    ['16.92.54.1', 'other'],
    ['223.255.255.255', 'other'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.1', 'other'],
    ['255.255.255.254', 'other'],
    ['255.255.255.255', 'broadcast'],
    ['10.0.0.255', 'other'],
  ])('IPv4 %s is %s', (ip, scope) => {
    expect(parseAddress(ip)).toEqual({ ip, family: 4, zone: undefined, scope });
  });

  test.each([
    ['::', 'unspecified'],
    ['0:0:0:0:0:0:0:0', 'unspecified'],
    ['::0.0.0.0', 'unspecified'],
    ['::1', 'loopback'],
    ['0::0:1', 'loopback'],
    ['::0.0.0.1', 'loopback'],
    ['::2', 'other'],
    ['1::', 'other'],
    ['1::1', 'other'],
    ['fe80::1', 'link-local'],
    ['FEBF::1', 'link-local'],
    ['fec0::1', 'other'],
    ['fe7f::1', 'other'],
    ['ff02::1', 'multicast'],
    ['ffff::', 'multicast'],
    ['fdff::1', 'other'],
    ['2001:db8::1', 'other'],
    ['::127.0.0.1', 'other'],
    ['64:ff9b::127.0.0.1', 'other'],
    ['::ffff:0:127.0.0.1', 'other'],
    ['1::ffff:127.0.0.1', 'other'],
    ['fe80::', 'link-local'],
  ])('IPv6 %s is %s', (ip, scope) => {
    expect(parseAddress(ip)).toEqual({ ip, family: 6, zone: undefined, scope });
  });

  test.each([
    ['::ffff:127.0.0.1', '127.0.0.1', 'loopback'],
    ['::FFFF:7f00:1', '127.0.0.1', 'loopback'],
    ['0:0:0:0:0:ffff:c000:0207', '192.0.2.7', 'other'],
    ['::ffff:0:0', '0.0.0.0', 'unspecified'],
    ['::ffff:0.0.0.0', '0.0.0.0', 'unspecified'],
    ['::ffff:255.255.255.255', '255.255.255.255', 'broadcast'],
    ['::ffff:224.0.0.1', '224.0.0.1', 'multicast'],
    ['::ffff:a9fe:1', '169.254.0.1', 'link-local'],
    // A zone means nothing to IPv4.
    ['::ffff:192.0.2.7%eth0', '192.0.2.7', 'other'],
  ])('IPv4-mapped %s is %s, %s', (text, ip, scope) => {
    expect(parseAddress(text)).toEqual({ ip, family: 4, zone: undefined, scope });
    expect(isMapped(text)).toBe(true);
  });

  test.each([
    ['fe80::1%eth0', 'fe80::1', 'eth0', 'link-local'],
    ['fe80::1%2', 'fe80::1', '2', 'link-local'],
    ['fe80:0:0:0:0:0:0:1%br-0.1', 'fe80:0:0:0:0:0:0:1', 'br-0.1', 'link-local'],
    ['ff02::1%lo', 'ff02::1', 'lo', 'multicast'],
    ['2001:db8::1%lo', '2001:db8::1', 'lo', 'other'],
  ])('the zone of %s is taken apart', (text, ip, zone, scope) => {
    expect(parseAddress(text)).toEqual({ ip, family: 6, zone, scope });
  });

  test.each([
    '',
    ' ',
    'localhost',
    'example.org',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '0x7f.0.0.1',
    '2130706433',
    '127.0.0.1 ',
    ' 127.0.0.1',
    '127.0.0.1\0',
    '127.0.0.1:80',
    '127.0.0.1%lo',
    '127.0.0.0/8',
    ':',
    ':::',
    '::1::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4::5:6:7:8',
    '12345::',
    'g::',
    '[::1]',
    '::1 ',
    '::1/128',
    'fe80::1%',
    'fe80::1%a b',
    'fe80::1%lo\0',
    '::ffff:1.2.3',
    '::1.2.3.4:5',
  ])('%j is no address', (text) => {
    expect(isIP(text)).toBe(0);
    expect(parseAddress(text)).toBeUndefined();
    expect(isMapped(text)).toBe(false);
  });

  test('every spelling of an IPv6 address is the same address', () => {
    const random = generator(1);
    const seen = { compressed: 0, dotted: 0, whole: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const groups = randomGroups(random);
      const text = spell(groups, random);
      expect(isIP(text), text).toBe(6);
      expect(groupsOf(text), text).toEqual(groups);
      // Node's own reading of this text and of the plainest one.
      const plain = groups.map((group) => group.toString(16)).join(':');
      expect(new SocketAddress({ family: 'ipv6', address: text }).address).toBe(
        new SocketAddress({ family: 'ipv6', address: plain }).address,
      );
      expect(parseAddress(text)?.scope, text).toBe(parseAddress(plain)?.scope);
      if (text.includes('::')) seen.compressed++;
      else seen.whole++;
      if (text.includes('.')) seen.dotted++;
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(ROUNDS / 20);
  });

  test('every spelling of an IPv4-mapped address is that IPv4 address', () => {
    const random = generator(2);
    for (let round = 0; round < ROUNDS; round++) {
      const [high, low] = [below(random, 65536), below(random, 65536)];
      const ip = [high >> 8, high & 255, low >> 8, low & 255].join('.');
      const text = spell([0, 0, 0, 0, 0, 0xffff, high, low], random);
      expect(parseAddress(text), text).toEqual(parseAddress(ip));
      expect(parseAddress(text)).toMatchObject({ ip, family: 4 });
      expect(isMapped(text)).toBe(true);
    }
  });
});

test('toMapped writes what isMapped knows and parseAddress takes back', () => {
  const random = generator(3);
  for (let round = 0; round < ROUNDS; round++) {
    const ip = Array.from({ length: 4 }, () => below(random, 256)).join('.');
    expect(isMapped(toMapped(ip))).toBe(true);
    expect(parseAddress(toMapped(ip))?.ip).toBe(ip);
    expect(isMapped(ip)).toBe(false);
  }
});

test.each(['::', '::1', '::127.0.0.1', '2001:db8::ffff:7f00:1', '::ffff', '::ffff:0:7f00:1', 'ffff::7f00:1'])(
  '%s is not IPv4-mapped',
  (ip) => expect(isMapped(ip)).toBe(false),
);
