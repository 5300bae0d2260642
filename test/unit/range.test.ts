// Port ranges, each operation compared with the sets of ports that it stands for.
import { describe, expect, test } from 'vitest';
import {
  ALL_PORTS,
  formatRange,
  includesPort,
  intersect,
  outside,
  parseEphemeralRange,
  parseReservedPorts,
  type PortRange,
  portsOf,
} from '../../src/values/port_range';

const LIMIT = 6;
const every: PortRange[] = [];
for (let low = 1; low <= LIMIT; low++) for (let high = low; high <= LIMIT; high++) every.push({ low, high });
const pairs = every.flatMap((a) => every.map((b) => [a, b] as const));

const listed = (range: PortRange | undefined): number[] => {
  const ports: number[] = [];
  if (range !== undefined) for (let port = range.low; port <= range.high; port++) ports.push(port);
  return ports;
};

test('includesPort', () => {
  for (const range of every) {
    for (let port = 0; port <= LIMIT + 1; port++) {
      expect(includesPort(range, port)).toBe(listed(range).includes(port));
    }
  }
  expect([0, 1, 65535, 65536].map((port) => includesPort(ALL_PORTS, port))).toEqual([false, true, true, false]);
});

test('intersect is the ports that both have', () => {
  for (const [a, b] of pairs) {
    const common = listed(a).filter((port) => listed(b).includes(port));
    expect(listed(intersect(a, b)), JSON.stringify([a, b])).toEqual(common);
    expect(intersect(a, b)).toEqual(intersect(b, a));
  }
});

test('outside is the ports that only the first has, in ascending order and never empty ranges', () => {
  for (const [a, b] of pairs) {
    const rest = outside(a, b);
    expect(rest.flatMap(listed), JSON.stringify([a, b])).toEqual(listed(a).filter((port) => !listed(b).includes(port)));
    for (const { low, high } of rest) expect(low).toBeLessThanOrEqual(high);
  }
});

test('formatRange', () => {
  expect(formatRange({ low: 1, high: 65535 })).toBe('1-65535');
  expect(formatRange({ low: 80, high: 80 })).toBe('80');
});

describe('portsOf', () => {
  test('leaves out what is reserved', () => {
    for (const [a, hole] of pairs) {
      expect(portsOf([a], [hole])).toEqual(listed(a).filter((port) => !listed(hole).includes(port)));
      expect(portsOf([a], [])).toEqual(listed(a));
    }
  });

  test('puts several ranges together, and takes several reservations away', () => {
    const ranges = [
      { low: 1, high: 3 },
      { low: 7, high: 9 },
    ];
    const reserved = [
      { low: 2, high: 2 },
      { low: 9, high: 20 },
    ];
    expect(portsOf(ranges, reserved)).toEqual([1, 3, 7, 8]);
    expect(portsOf([], reserved)).toEqual([]);
  });
});

test.each([
  ['32768\t60999\n', { low: 32768, high: 60999 }],
  ['20000 20003', { low: 20000, high: 20003 }],
  ['5\t5\n', { low: 5, high: 5 }],
  ['1\t65535\n', { low: 1, high: 65535 }],
  // The kernel accepts it, and never assigns port 0.
  ['0\t100\n', { low: 1, high: 100 }],
  ['0\t0\n', undefined],
  ['', undefined],
  ['\n', undefined],
  ['1', undefined],
  ['1 2 3', undefined],
  ['a b', undefined],
  ['-1 5', undefined],
  ['9 5', undefined],
  ['1 65536', undefined],
  ['1.5 6', undefined],
])('net.ipv4.ip_local_port_range %j', (text, range) => {
  expect(parseEphemeralRange(text)).toEqual(range);
});

test.each([
  ['', []],
  ['\n', []],
  ['8080\n', [{ low: 8080, high: 8080 }]],
  [
    '8080,9000-9100\n',
    [
      { low: 8080, high: 8080 },
      { low: 9000, high: 9100 },
    ],
  ],
  ['1-65535', [{ low: 1, high: 65535 }]],
  ['nonsense', []],
  ['8080,nonsense', [{ low: 8080, high: 8080 }]],
  ['x8080,1 2,3-4-5,-7,-7-8,9-,6', [{ low: 6, high: 6 }]],
])('net.ipv4.ip_local_reserved_ports %j', (text, ranges) => {
  expect(parseReservedPorts(text)).toEqual(ranges);
});
