// A dump of the kernel's socket table, made of bytes: the question, the answer, and what becomes of it. See codec.test.ts.
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { portsIn } from '../../src/values/port_bits.js';
import { describe, expect, test } from 'vitest';
import { decodeGroups, decodeHolders, groupCount } from '../../src/kernel/socket_table.js';
import {
  attribute,
  diagBody,
  errorMessage,
  type Found,
  type Header,
  hex,
  message,
  mutations,
  ROUNDS,
  seeded,
  SEQUENCE,
  u32,
  zeros,
} from '../helpers/bytes.js';

const { errno } = constants;

interface Decoded {
  errno: number;
  syscall: string;
  over: boolean;
  interrupted: boolean;
  holders: Buffer;
  groups: Buffer;
  timeWait: Buffer;
}

interface Codec {
  encodeDump(
    protocol: number,
    family: number,
    states: number,
    local: string | null,
    remote: string | null,
    remotePort: number,
    low: number,
    high: number,
    sequence: number,
  ): Buffer;
  decodeDump(bytes: Uint8Array, sequence: number): Decoded;
  countPorts(ports: Uint8Array): { count: number; ports: Buffer };
}

const codec = createRequire(import.meta.url)(join(import.meta.dirname, '../native/build/Release/codec.node')) as Codec;

const AF_INET = 2;
const AF_INET6 = 10;
const TCP = 6;
const UDP = 17;

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
const NLMSG_NOOP = 1;
const NLMSG_DONE = 3;
const NLM_F_DUMP_INTR = 0x10;
const SOCK_DIAG_BY_FAMILY = 20;
const INET_DIAG_SKV6ONLY = 11;

const TIME_WAIT = 6;
const LISTEN = 10;

const socket = (of: Found = {}, header: Partial<Header> = {}, ...attributes: Uint8Array[]) =>
  message({ type: SOCK_DIAG_BY_FAMILY, ...header }, diagBody(of), ...attributes);
const done = (code = 0, header: Partial<Header> = {}) => message({ type: NLMSG_DONE, ...header }, u32(-code));
const decode = (...messages: Uint8Array[]) => codec.decodeDump(Buffer.concat(messages), SEQUENCE);
const mapped = (ip: string) => hex(`00000000 00000000 0000ffff ${ip}`);

const BAD = { errno: errno.EBADMSG, syscall: 'netlink', over: false };

describe('the question', () => {
  const encode = (...[local, remote, port, low, high]: [string | null, string | null, number, number, number]) =>
    codec.encodeDump(UDP, AF_INET6, 0x82, local, remote, port, low, high, SEQUENCE).toString('hex');
  const header = (length: string) => `${length}000000 1400 0103 04030201 00000000`;
  const body = `0a 11 00 00 82000000 ${'00'.repeat(48)}`;

  test('for everything', () => {
    expect(encode(null, null, -1, 0, 65535)).toBe(hex(`${header('48')} ${body}`).toString('hex'));
  });

  test('for local ports', () => {
    const filter = `
      1400 0100
      02 08 1400 00 00 204e
      03 08 0c00 00 00 234e
    `;
    expect(encode(null, null, -1, 20000, 20003)).toBe(hex(`${header('5c')} ${body} ${filter}`).toString('hex'));
  });

  test('for two IPv4 addresses and a port', () => {
    const filter = `
      2400 0100
      07 10 2400 02 20 00 00 ffffffff c0000207
      08 10 1400 02 20 00 00 35000000 c0000235
    `;
    expect(encode('192.0.2.7', '192.0.2.53', 53, 0, 65535)).toBe(
      hex(`${header('6c')} ${body} ${filter}`).toString('hex'),
    );
  });

  test('for an IPv6 address, and for a port of any address', () => {
    const filter = `
      2c00 0100
      07 1c 2c00 0a 80 00 00 ffffffff 20010db8 00000000 00000000 00000007
      08 0c 1000 00 00 00 00 bb010000
    `;
    expect(encode('2001:db8::7', null, 443, 0, 65535)).toBe(hex(`${header('74')} ${body} ${filter}`).toString('hex'));
  });
});

describe('the answer', () => {
  test('sockets, and the end', () => {
    const first = decode(socket(), socket({ localPort: 40_001 }), socket({ localPort: 40_002, state: TIME_WAIT }));
    expect(first).toMatchObject({ errno: 0, over: false, interrupted: false });
    expect(decodeGroups(first.groups)).toEqual([
      { family: 4, localAddress: '192.0.2.7', remoteAddress: '192.0.2.53', remotePort: 53, used: 3, timeWait: 1 },
    ]);
    expect(portsIn(new Uint32Array(Uint8Array.from(first.timeWait).buffer))).toEqual([40_002]);
    expect(decode(socket(), done())).toMatchObject({ errno: 0, over: true });
    expect(decode()).toMatchObject({ errno: 0, over: false });
  });

  test('a port that is shown twice counts once', () => {
    const { groups } = decode(socket(), socket(), socket({ state: TIME_WAIT }));
    expect(decodeGroups(groups)).toMatchObject([{ used: 1, timeWait: 1 }]);
  });

  test('groups, with the most ports first', () => {
    const { groups } = decode(
      socket({ remotePort: 1 }),
      ...[1, 2, 3].map((localPort) => socket({ localPort, remotePort: 2 })),
      ...[1, 2].map((localPort) => socket({ localPort, remotePort: 3 })),
      socket({ remotePort: 2, family: AF_INET6, local: hex(`20010db8${'00'.repeat(11)}01`), remote: zeros(16) }),
    );
    expect(groupCount(groups)).toBe(4);
    expect(decodeGroups(groups).map(({ remotePort, used }) => [remotePort, used])).toEqual(
      expect.arrayContaining([
        [2, 3],
        [3, 2],
        [1, 1],
        [2, 1],
      ]),
    );
    expect(decodeGroups(groups, 1, 2)).toMatchObject([{ remotePort: 3, used: 2, localAddress: '192.0.2.7' }]);
    expect(decodeGroups(groups, 2).map(({ used }) => used)).toEqual([1, 1]);
  });

  test('IPv4-mapped sockets are IPv4 ones', () => {
    const v6 = { family: AF_INET6, local: mapped('c0000207'), remote: mapped('c0000235'), localPort: 40_001 };
    expect(decodeGroups(decode(socket(), socket(v6)).groups)).toMatchObject([{ family: 4, used: 2 }]);
    const listener = { ...v6, remote: zeros(16), remotePort: 0, state: LISTEN };
    expect(decodeHolders(decode(socket(listener)).holders)).toMatchObject([{ family: 4, localAddress: '192.0.2.7' }]);
  });

  test('link-local addresses have a zone', () => {
    const local = hex(`fe80${'00'.repeat(13)}01`);
    const { groups, holders } = decode(socket({ family: AF_INET6, local, remote: zeros(16) }));
    expect(decodeGroups(groups)).toMatchObject([{ localAddress: 'fe80::1%3', remoteAddress: '::' }]);
    expect(decodeHolders(holders)).toMatchObject([{ localAddress: 'fe80::1%3' }]);
  });

  test('sockets that hold a port', () => {
    const listener = socket({ state: LISTEN, family: AF_INET6, local: zeros(16), remotePort: 0, localPort: 34567 });
    expect(decodeHolders(decode(listener).holders)).toEqual([
      {
        family: 6,
        localAddress: '::',
        localPort: 34567,
        state: LISTEN,
        v6Only: false,
        inode: 123456,
        uid: 1000,
        endpoint: hex(`06 ${'00'.repeat(16)} 8707`),
      },
    ]);
    const v6 = { state: LISTEN, family: AF_INET6, local: zeros(16) };
    const v6Only = (...attributes: Uint8Array[]) =>
      decodeHolders(decode(socket(v6, {}, ...attributes)).holders)[0]?.v6Only;
    expect(v6Only(attribute(9, zeros(3)), attribute(INET_DIAG_SKV6ONLY, Uint8Array.of(1)))).toBe(true);
    expect(v6Only(attribute(INET_DIAG_SKV6ONLY, Uint8Array.of(0)))).toBe(false);
    for (const length of [0, 3, 4, 9, 0xffff]) {
      expect(v6Only(attribute(INET_DIAG_SKV6ONLY, Uint8Array.of(1), length)), `${length}`).toBe(false);
    }
  });

  test('interrupted', () => {
    const flags = NLM_F_DUMP_INTR;
    expect(decode(socket({}, { flags }), done())).toMatchObject({ errno: 0, over: true, interrupted: true });
    expect(decode(done(0, { flags }))).toMatchObject({ errno: 0, over: true, interrupted: true });
    expect(decode(done(0, { flags: 2 }))).toMatchObject({ errno: 0, over: true, interrupted: false });
  });

  test('an errno, also at the end of the dump', () => {
    for (const bytes of [errorMessage(errno.EINVAL), done(errno.EINVAL)]) {
      expect(decode(socket(), bytes)).toMatchObject({ errno: errno.EINVAL, syscall: 'netlink', over: false });
    }
  });

  test.each([
    { what: 'of another kind', bytes: [socket({}, { type: NLMSG_NOOP }), done()] },
    { what: 'of another family', bytes: [socket({ family: 1 }), done()] },
    { what: 'a message to another question', bytes: [socket(), socket({}, { sequence: 1 }), done()] },
    { what: 'the end of another dump', bytes: [socket(), done(0, { sequence: 1 })] },
    { what: 'an end without an outcome', bytes: [message({ type: NLMSG_DONE })] },
    { what: 'an acknowledgement', bytes: [errorMessage(0)] },
    { what: 'too short for a socket', bytes: [message({ type: SOCK_DIAG_BY_FAMILY }, zeros(71)), done()] },
    { what: 'a message longer than what was read', bytes: [socket(), socket({}, { length: 1000 })] },
    { what: 'a message shorter than its header', bytes: [socket(), socket({}, { length: 15 })] },
    { what: 'a message of no length', bytes: [socket({}, { length: 0 }), done()] },
  ])('$what', ({ bytes }) => {
    expect(decode(...bytes)).toMatchObject(BAD);
  });

  test('cut off by the reader: between two messages, or it is none', () => {
    const one = socket();
    const whole = Buffer.concat([one, socket(), done()]);
    for (let length = 0; length < whole.length; length++) {
      const isWhole = length % one.length === 0 && length <= 2 * one.length;
      const { errno: code, over } = decode(whole.subarray(0, length));
      expect({ length, code, over }).toEqual({ length, code: isWhole ? 0 : errno.EBADMSG, over: false });
    }
  });

  test(`${ROUNDS} inputs of random and spoilt bytes`, () => {
    const good = [
      socket(),
      socket({ family: AF_INET6, local: mapped('c0000207') }, {}, attribute(INET_DIAG_SKV6ONLY, Uint8Array.of(1))),
      Buffer.concat([socket(), socket({ state: TIME_WAIT }), done()]),
      done(),
      errorMessage(errno.EPERM),
    ];
    const counts = { decoded: 0, failed: 0 };
    for (const bytes of mutations(good, seeded(4))) {
      const { errno: code, over, holders, groups } = decode(bytes);
      counts[code === 0 ? 'decoded' : 'failed']++;
      if (over && code !== 0) expect.fail(`over, and errno ${code}: ${bytes.toString('hex')}`);
      // Each takes its header and its body.
      const sockets = decodeHolders(holders).length;
      if (sockets * 88 > bytes.length || groupCount(groups) > sockets)
        expect.fail(`${sockets}: ${bytes.toString('hex')}`);
    }
    expect(Math.min(counts.decoded, counts.failed)).toBeGreaterThan(ROUNDS / 100);
  });
});

describe('distinct ports', () => {
  test.each([0, 1, 2047, 2048, 2049, 15_000])('%i of them, each twice', (count) => {
    // In an order that is not theirs; both ends are there.
    const ports = Uint16Array.from({ length: count }, (_, n) => (n * 40_503 + 65_535) & 65_535);
    const { count: counted, ports: back } = codec.countPorts(Buffer.from(Uint16Array.of(...ports, ...ports).buffer));
    expect(counted).toBe(count);
    expect(new Uint16Array(Uint8Array.from(back).buffer)).toEqual(ports.slice().sort());
  });
});

describe('records', () => {
  test('that are not whole', () => {
    expect(() => decodeGroups(zeros(1))).toThrow(RangeError);
    expect(() => decodeHolders(zeros(1))).toThrow(RangeError);
    expect(decodeHolders(zeros(0))).toEqual([]);
    expect(decodeGroups(zeros(0))).toEqual([]);
  });
});

test('TCP is asked for as such', () => {
  const bytes = codec.encodeDump(TCP, AF_INET, 0xfff, null, null, -1, 0, 65535, 1);
  expect([...bytes.subarray(16, 24)]).toEqual([2, 6, 0, 0, 0xff, 0x0f, 0, 0]);
});
