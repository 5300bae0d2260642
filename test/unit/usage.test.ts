// How full, and which listeners are in the way: the policy, on plain data.
import { describe, expect, test } from 'vitest';
import type { SocketHolder } from '../../src/kernel/socket_table.js';
import {
  type Assignable,
  byFullness,
  inTheWay,
  reserveCommand,
  reserving,
  roomFor,
  usageKey,
  usageOf,
} from '../../src/usage/usage.js';

const assignable: Assignable = {
  range: { low: 20000, high: 20009 },
  reserved: [
    { low: 20008, high: 20008 },
    { low: 1, high: 20000 },
  ],
};

/** 20001 to 20007, and 20009. */
const ASSIGNABLE = 8;

function holder(of: Partial<SocketHolder>): SocketHolder {
  const { family = 4, localAddress = '127.0.0.1', localPort = 20001 } = of;
  const endpoint = Uint8Array.of(family, localAddress.length, localPort & 255);
  return { family, localAddress, localPort, state: 7, v6Only: false, inode: 1, uid: 0, endpoint, ...of };
}

function portsIn(bits: Uint8Array): number[] {
  return Array.from({ length: 65536 }, (_, port) => port).filter((port) => (bits[port >> 3] ?? 0) & (1 << (port & 7)));
}

describe('the room there is', () => {
  test.each(['tcp', 'udp'] as const)('%s: the range without what is reserved', (protocol) => {
    const room = roomFor(protocol, assignable, []);
    expect(portsIn(room.ports)).toEqual([20001, 20002, 20003, 20004, 20005, 20006, 20007, 20009]);
    expect(room.except).toHaveLength(0);
    expect(room.capacityOf(4, '127.0.0.1')).toBe(ASSIGNABLE);
  });

  test('TCP: a listener takes its port from every address of both families', () => {
    const holders = [holder({}), holder({ localAddress: '127.0.0.9' }), holder({ localPort: 20002, family: 6 })];
    const room = roomFor('tcp', assignable, [...holders, holder({ localPort: 80 }), holder({ localPort: 20008 })]);
    expect(portsIn(room.ports)).toEqual([20003, 20004, 20005, 20006, 20007, 20009]);
    for (const [family, address] of [[4, '127.0.0.3'] as const, [6, '::1'] as const]) {
      expect(room.capacityOf(family, address)).toBe(ASSIGNABLE - 2);
    }
  });

  test('UDP: a bound socket takes its port from its own address', () => {
    const mine = holder({});
    const room = roomFor('udp', assignable, [mine, mine, holder({ localPort: 80 })]);
    expect(portsIn(room.ports)).toHaveLength(ASSIGNABLE);
    expect([...room.except]).toEqual([...mine.endpoint, ...mine.endpoint]);
    expect(room.capacityOf(4, '127.0.0.1')).toBe(ASSIGNABLE - 1);
    expect(room.capacityOf(4, '127.0.0.2')).toBe(ASSIGNABLE);
  });

  test.each([
    { what: '0.0.0.0', of: { localAddress: '0.0.0.0' }, v4: 1, v6: 0 },
    { what: ':: that takes part in IPv4', of: { family: 6 as const, localAddress: '::' }, v4: 1, v6: 1 },
    { what: ':: that does not', of: { family: 6 as const, localAddress: '::', v6Only: true }, v4: 0, v6: 1 },
  ])('UDP: bound to $what', ({ of, v4, v6 }) => {
    // Once more by an address of its own, which makes no difference where the wildcard has it.
    const room = roomFor('udp', assignable, [holder(of), holder({ localAddress: '127.0.0.9' })]);
    expect(room.capacityOf(4, '127.0.0.1')).toBe(ASSIGNABLE - v4);
    expect(room.capacityOf(6, '::1')).toBe(ASSIGNABLE - v6);
    expect(room.capacityOf(4, '127.0.0.9')).toBe(ASSIGNABLE - 1);
    expect(room.except).toHaveLength(3 * (v4 + v6 === 2 ? 3 : 2));
  });
});

const group = { family: 4, localAddress: 'a', remoteAddress: 'b', remotePort: 80, used: 4, timeWait: 1 } as const;

test('a group', () => {
  const usage = usageOf('tcp', group, 8);
  expect(usage).toEqual({ protocol: 'tcp', ...group, family: 'IPv4', capacity: 8, ratio: 0.5 });
  expect(usageOf('udp', { ...group, family: 6 }, 0)).toMatchObject({ family: 'IPv6', ratio: 1 });
  expect(usageKey(usage)).toBe('tcp a b 80');
});

test('fullest first', () => {
  const of = (used: number, capacity: number) => usageOf('tcp', { ...group, used }, capacity);
  const sorted = [of(1, 10), of(5, 10), of(4, 5), of(8, 10)].sort(byFullness);
  expect(sorted.map(({ used }) => used)).toEqual([8, 4, 5, 1]);
});

test('which of them are in the way', () => {
  const holders = [19999, 20000, 20001, 20008, 20009, 20010].map((localPort) => holder({ localPort }));
  expect(inTheWay(assignable, holders).map(({ localPort }) => localPort)).toEqual([20001, 20009]);
});

test.each([
  { reserved: [], ports: [34567], expected: '34567' },
  { reserved: [], ports: [5, 3, 4, 4, 9], expected: '3-5,9' },
  {
    reserved: [
      { low: 8080, high: 8080 },
      { low: 9000, high: 9100 },
    ],
    ports: [9101, 34567],
    expected: '8080,9000-9101,34567',
  },
  { reserved: [{ low: 1, high: 100 }], ports: [50], expected: '1-100' },
])('the command that reserves $expected', ({ reserved, ports, expected }) => {
  const command = `sysctl -w net.ipv4.ip_local_reserved_ports=${expected}`;
  expect(reserveCommand(reserving(reserved, ports))).toBe(command);
});
