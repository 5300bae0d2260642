// The netlink codec against a kernel that is made of bytes. The addon's own C++ encodes and decodes; what it decodes lies right
// before memory that cannot be read (test/native/codec.cc), so that a byte too many is a crash.
import { isIP } from 'node:net';
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  attribute,
  diagBody,
  errorMessage,
  type Found,
  type Header,
  hex,
  message,
  mutations,
  NLMSG_ERROR,
  ROUNDS,
  seeded,
  SEQUENCE,
  u16,
  u32,
  u8,
  zeros,
} from '../helpers/bytes.js';

const { errno } = constants;

interface Outcome {
  /** 0: success. */
  errno: number;
  syscall: string;
}

interface DiagAnswer extends Outcome {
  found: boolean;
  state: number;
  cookie: bigint;
  interface: number;
  inode: number;
  uid: number;
  isConnectedTo: boolean;
}

interface RouteAnswer extends Outcome {
  type: number;
  interface: number;
  source?: string;
}

interface Links extends Outcome {
  over: boolean;
  interrupted: boolean;
  links: number[];
}

interface Codec {
  encodeDiagQuery(
    protocol: number,
    family: number,
    local: string,
    localPort: number,
    remote: string,
    remotePort: number,
    index: number,
    sequence: number,
  ): Buffer;
  decodeDiagAnswer(bytes: Uint8Array, sequence: number, family: number, remote: string, remotePort: number): DiagAnswer;
  encodeRouteQuery(family: number, destination: string, index: number, mark: number, sequence: number): Buffer;
  decodeRouteAnswer(bytes: Uint8Array, sequence: number, family: number): RouteAnswer;
  decodeLinks(bytes: Uint8Array, sequence: number): Links;
  isInRange(bytes: Uint8Array, port: number): boolean;
}

const codec = createRequire(import.meta.url)(join(import.meta.dirname, '../native/build/Release/codec.node')) as Codec;

const AF_INET = 2;
const AF_INET6 = 10;
const TCP = 6;
const UDP = 17;

// linux/netlink.h, linux/sock_diag.h, linux/rtnetlink.h
const NLMSG_NOOP = 1;
const NLMSG_DONE = 3;
const SOCK_DIAG_BY_FAMILY = 20;
const RTM_NEWLINK = 16;
const RTM_NEWROUTE = 24;
const RTA_OIF = 4;
const RTA_PREFSRC = 7;
const RTA_CACHEINFO = 12;

const found = (of: Found = {}, header: Partial<Header> = {}) =>
  message({ type: SOCK_DIAG_BY_FAMILY, ...header }, diagBody(of));

const REMOTE = { family: AF_INET, address: '192.0.2.53', port: 53 };

function decodeDiag(bytes: Uint8Array, remote = REMOTE): DiagAnswer {
  return codec.decodeDiagAnswer(bytes, SEQUENCE, remote.family, remote.address, remote.port);
}

const BAD = { errno: errno.EBADMSG, syscall: 'netlink' };

describe('a port in the text of ip_local_port_range', () => {
  test.each([
    { text: '32768\t60999\n', inside: [32768, 32769, 60999], outside: [1, 32767, 61000, 65535] },
    { text: '1\t65535\n', inside: [1, 65535], outside: [] },
    { text: '0\t10\n', inside: [1, 10], outside: [11] },
    { text: '  40000 40000', inside: [40000], outside: [39999, 40001] },
    // None of these is the kernel's.
    { text: '', inside: [], outside: [1, 32768, 65535] },
    { text: '32768', inside: [], outside: [1, 32768, 65535] },
    { text: '32768\t', inside: [], outside: [1, 32768, 65535] },
    { text: '60999\t32768\n', inside: [], outside: [32768, 40000, 60999] },
    { text: '-5\t10\n', inside: [], outside: [1, 10] },
    { text: '1\t99999999999\n', inside: [], outside: [1, 65535] },
    { text: 'many\tmore\n', inside: [], outside: [1, 65535] },
  ])('$text', ({ text, inside, outside }) => {
    const isInRange = (port: number) => codec.isInRange(Buffer.from(text), port);
    expect(inside.map(isInRange)).toEqual(inside.map(() => true));
    expect(outside.map(isInRange)).toEqual(outside.map(() => false));
  });
});

describe('the question who has a 4-tuple', () => {
  test('UDP, IPv4: source and destination are swapped', () => {
    const bytes = codec.encodeDiagQuery(UDP, AF_INET, '192.0.2.7', 40_000, '198.51.100.53', 53, 3, SEQUENCE);
    expect(bytes.toString('hex')).toBe(
      hex(`
        48000000 1400 0100 04030201 00000000
        02 11 00 00 ffffffff
        0035 9c40
        c6336435 00000000 00000000 00000000
        c0000207 00000000 00000000 00000000
        03000000 ffffffffffffffff
      `).toString('hex'),
    );
  });

  test('UDP, IPv6: likewise', () => {
    const bytes = codec.encodeDiagQuery(UDP, AF_INET6, '2001:db8::7', 40_000, 'fe80::53', 53, 0, 0xffffffff);
    expect(bytes.toString('hex')).toBe(
      hex(`
        48000000 1400 0100 ffffffff 00000000
        0a 11 00 00 ffffffff
        0035 9c40
        fe800000 00000000 00000000 00000053
        20010db8 00000000 00000000 00000007
        00000000 ffffffffffffffff
      `).toString('hex'),
    );
  });

  test('TCP: they are not', () => {
    const bytes = codec.encodeDiagQuery(TCP, AF_INET, '192.0.2.7', 40_000, '198.51.100.53', 53, 0x01020304, 1);
    expect(bytes.toString('hex')).toBe(
      hex(`
        48000000 1400 0100 01000000 00000000
        02 06 00 00 ffffffff
        9c40 0035
        c0000207 00000000 00000000 00000000
        c6336435 00000000 00000000 00000000
        04030201 ffffffffffffffff
      `).toString('hex'),
    );
  });
});

describe('the answer', () => {
  test('a socket', () => {
    const answer = {
      errno: 0,
      found: true,
      state: 1,
      cookie: 0x5566778811223344n,
      interface: 3,
      inode: 123456,
      uid: 1000,
    };
    expect(decodeDiag(found())).toMatchObject(answer);
    // The kernel adds attributes that nobody asked for.
    expect(decodeDiag(message({ type: SOCK_DIAG_BY_FAMILY }, diagBody({}), u16(5), u16(8), u32(0)))).toMatchObject(
      answer,
    );
  });

  test('ENOENT, and nothing but ENOENT, says that there is none', () => {
    expect(decodeDiag(errorMessage(errno.ENOENT))).toMatchObject({ errno: 0, found: false });
    for (let code = 1; code < 4096; code++) {
      if (code === errno.ENOENT) continue;
      expect(decodeDiag(errorMessage(code))).toMatchObject({ errno: code, syscall: 'netlink', found: false });
    }
  });

  test.each([0, -errno.ENOENT, 4096, -0x80000000, 0x7fffffff])('%i as an errno is no answer', (code) => {
    expect(decodeDiag(errorMessage(code))).toMatchObject(BAD);
  });

  test('of another kind', () => {
    for (let type = 0; type < 0x10000; type++) {
      if (type === NLMSG_ERROR || type === SOCK_DIAG_BY_FAMILY) continue;
      const { errno: code, found: isFound } = decodeDiag(found({}, { type }));
      if (code !== errno.EBADMSG || isFound) expect.fail(`type ${type}: errno ${code}`);
    }
  });

  test.each([0, 1, SEQUENCE - 1, SEQUENCE + 1, 0x04030201, 0xffffffff])('to another question (%i)', (sequence) => {
    expect(decodeDiag(found({}, { sequence }))).toMatchObject(BAD);
    expect(decodeDiag(errorMessage(errno.ENOENT, { sequence }))).toMatchObject(BAD);
    expect(decodeDiag(errorMessage(errno.EPERM, { sequence }))).toMatchObject(BAD);
  });

  describe.each([
    { what: 'a socket', whole: found(), least: 16 + 72 },
    { what: 'ENOENT', whole: errorMessage(errno.ENOENT), least: 16 + 4 },
  ])('$what, cut off', ({ whole, least }) => {
    test('by the reader', () => {
      for (let length = 0; length < whole.length; length++) {
        expect(decodeDiag(whole.subarray(0, length)), `${length} bytes`).toMatchObject(BAD);
      }
    });

    test('by its own length', () => {
      for (let length = 0; length < least; length++) {
        const bytes = Buffer.from(whole);
        bytes.writeUInt32LE(length);
        expect(decodeDiag(bytes), `${length} bytes`).toMatchObject(BAD);
        expect(decodeDiag(bytes.subarray(0, length)), `${length} bytes`).toMatchObject(BAD);
      }
    });

    test.each([whole.length + 1, whole.length + 4, 1000, 0x7fffffff, 0xffffffff])('said to be %i bytes', (length) => {
      const bytes = Buffer.from(whole);
      bytes.writeUInt32LE(length);
      expect(decodeDiag(bytes)).toMatchObject(BAD);
    });
  });

  describe('is it connected to the remote end that was asked for?', () => {
    const v6 = { family: AF_INET6, address: '2001:db8::53', port: 53 };
    const ip6 = hex('20010db8 00000000 00000000 00000053');
    const mapped = hex('00000000 00000000 0000ffff c0000235');
    test.each([
      { what: 'yes', of: {}, expected: true },
      { what: 'only bound', of: { state: 7 }, expected: false },
      { what: 'another port', of: { remotePort: 0x3500 }, expected: false },
      { what: 'another address', of: { remote: Buffer.concat([hex('c0000236'), zeros(12)]) }, expected: false },
      { what: 'an IPv6 socket, by an IPv4-mapped address', of: { family: AF_INET6, remote: mapped }, expected: true },
      { what: 'yes, IPv6', of: { family: AF_INET6, remote: ip6 }, remote: v6, expected: true },
      {
        what: 'another address that differs in its last byte, IPv6',
        of: { family: AF_INET6, remote: hex('20010db8 00000000 00000000 00000054') },
        remote: v6,
        expected: false,
      },
    ])('$what', ({ of, remote, expected }) => {
      expect(decodeDiag(found(of), remote)).toMatchObject({ errno: 0, found: true, isConnectedTo: expected });
    });

    test('not when there is none', () => {
      const nowhere = { family: AF_INET, address: '0.0.0.0', port: 0 };
      expect(decodeDiag(errorMessage(errno.ENOENT), nowhere)).toMatchObject({ found: false, isConnectedTo: false });
    });
  });
});

describe('the question for a route', () => {
  test('IPv4, with an interface and a mark', () => {
    expect(codec.encodeRouteQuery(AF_INET, '198.51.100.53', 3, 0xfffffffe, SEQUENCE).toString('hex')).toBe(
      hex(`
        34000000 1a00 0100 04030201 00000000
        02 20 00 00 00 00 00 00 00000000
        0800 0100 c6336435
        0800 0400 03000000
        0800 1000 feffffff
      `).toString('hex'),
    );
  });

  test('IPv6, with nothing', () => {
    expect(codec.encodeRouteQuery(AF_INET6, '2001:db8::53', 0, 0, 1).toString('hex')).toBe(
      hex(`
        30000000 1a00 0100 01000000 00000000
        0a 80 00 00 00 00 00 00 00000000
        1400 0100 20010db8 00000000 00000000 00000053
      `).toString('hex'),
    );
  });

  test('IPv6, the zone names the interface, unless another is given', () => {
    const [scoped, given] = [0, 3].map((index) => codec.encodeRouteQuery(AF_INET6, 'fe80::1%7', index, 0, 1));
    expect(scoped?.subarray(48).toString('hex')).toBe(hex('0800 0400 07000000').toString('hex'));
    expect(given?.subarray(48).toString('hex')).toBe(hex('0800 0400 03000000').toString('hex'));
  });
});

/** rtmsg of linux/rtnetlink.h. */
const rtmsg = (family: number, type: number) =>
  Buffer.concat([Uint8Array.of(family, 32, 0, 0, 254, 0, 0, type), u32(0)]);

function routeMessage(family: number, ...attributes: Uint8Array[]): Buffer {
  return message({ type: RTM_NEWROUTE }, rtmsg(family, 1), ...attributes);
}

const decodeRoute = (bytes: Uint8Array, family = AF_INET) => codec.decodeRouteAnswer(bytes, SEQUENCE, family);

describe('the route', () => {
  const oif = attribute(RTA_OIF, u32(3));
  const source = attribute(RTA_PREFSRC, Uint8Array.of(192, 0, 2, 7));
  const other = attribute(RTA_CACHEINFO, zeros(33));

  test('with a source, wherever among the attributes', () => {
    const route = { errno: 0, type: 1, interface: 3, source: '192.0.2.7' };
    expect(decodeRoute(routeMessage(AF_INET, source, oif))).toMatchObject(route);
    expect(decodeRoute(routeMessage(AF_INET, other, oif, other, source))).toMatchObject(route);
    const source6 = attribute(RTA_PREFSRC, hex('20010db8 00000000 00000000 00000007'));
    expect(decodeRoute(routeMessage(AF_INET6, oif, source6), AF_INET6)).toMatchObject({
      ...route,
      source: '2001:db8::7',
    });
  });

  test('without a source', () => {
    const answer = decodeRoute(routeMessage(AF_INET, oif));
    expect(answer).toMatchObject({ errno: 0, type: 1, interface: 3 });
    expect(answer).not.toHaveProperty('source');
  });

  test('an errno is the outcome, ENOENT too', () => {
    for (const code of [errno.ENETUNREACH, errno.EINVAL, errno.EPERM, errno.ENOENT]) {
      expect(decodeRoute(errorMessage(code))).toMatchObject({ errno: code, syscall: 'netlink' });
    }
    expect(decodeRoute(errorMessage(0))).toMatchObject(BAD);
  });

  test.each([
    { what: 'of another kind', bytes: message({ type: RTM_NEWLINK }, rtmsg(AF_INET, 1), source) },
    { what: 'no answer at all', bytes: message({ type: NLMSG_NOOP }, rtmsg(AF_INET, 1), source) },
    {
      what: 'to another question',
      bytes: message({ type: RTM_NEWROUTE, sequence: SEQUENCE + 1 }, rtmsg(AF_INET, 1), source),
    },
    { what: 'of another family', bytes: routeMessage(AF_INET6, source) },
    { what: 'a source that is too short', bytes: routeMessage(AF_INET, attribute(RTA_PREFSRC, zeros(3))) },
    { what: 'a source that is too long', bytes: routeMessage(AF_INET, attribute(RTA_PREFSRC, zeros(16))) },
    { what: 'an interface that is too short', bytes: routeMessage(AF_INET, attribute(RTA_OIF, zeros(2))) },
    { what: 'an interface that is too long', bytes: routeMessage(AF_INET, attribute(RTA_OIF, zeros(8))) },
    { what: 'an attribute shorter than its header', bytes: routeMessage(AF_INET, attribute(RTA_OIF, u32(3), 3)) },
    { what: 'an attribute of no length', bytes: routeMessage(AF_INET, attribute(RTA_OIF, u32(3), 0), source) },
    { what: 'an attribute longer than the message', bytes: routeMessage(AF_INET, attribute(RTA_OIF, u32(3), 9)) },
    { what: 'an attribute of the greatest length', bytes: routeMessage(AF_INET, attribute(99, u32(3), 0xffff)) },
  ])('$what', ({ bytes }) => {
    expect(decodeRoute(bytes)).toMatchObject(BAD);
  });

  test('cut off by the reader', () => {
    const whole = routeMessage(AF_INET, other, oif, source);
    for (let length = 0; length < whole.length; length++) {
      expect(decodeRoute(whole.subarray(0, length)), `${length} bytes`).toMatchObject(BAD);
    }
  });

  test('cut off by its own length: at an attribute, or it is none', () => {
    const whole = routeMessage(AF_INET, oif, source);
    for (let length = 0; length < whole.length; length++) {
      const bytes = Buffer.from(whole.subarray(0, length));
      if (length >= 4) bytes.writeUInt32LE(length);
      const { errno: code, interface: index, source: ip } = decodeRoute(bytes);
      // What is too short to be an attribute's header is padding.
      const isWhole = (length >= 28 && length < 32) || (length >= 36 && length < 40);
      expect({ length, code }).toEqual({ length, code: isWhole ? 0 : errno.EBADMSG });
      if (isWhole) expect({ index, ip }).toEqual({ index: length >= 36 ? 3 : 0, ip: undefined });
    }
  });
});

/** ifinfomsg of linux/rtnetlink.h, and an attribute. */
const link = (index: number, header: Partial<Header> = {}) =>
  message(
    { type: RTM_NEWLINK, ...header },
    u8(0),
    u8(0),
    u16(772),
    u32(index),
    zeros(8),
    attribute(3, Buffer.from('eth0\0\0\0\0')),
  );

const done = (header: Partial<Header> = {}) => message({ type: NLMSG_DONE, ...header }, u32(0));

const decodeLinks = (...messages: Uint8Array[]) => codec.decodeLinks(Buffer.concat(messages), SEQUENCE);

describe('the interfaces', () => {
  test('a part of the list, and the end of it', () => {
    expect(decodeLinks(link(1), link(2), link(0x7fffffff))).toMatchObject({
      errno: 0,
      over: false,
      links: [1, 2, 0x7fffffff],
    });
    expect(decodeLinks(link(4), done())).toMatchObject({ errno: 0, over: true, links: [4] });
    expect(decodeLinks(done())).toMatchObject({ errno: 0, over: true, links: [] });
    expect(decodeLinks()).toMatchObject({ errno: 0, over: false, links: [] });
  });

  test.each([
    { what: 'of another kind', bytes: [link(1, { type: RTM_NEWROUTE }), done()] },
    { what: 'a message to another question', bytes: [link(1), link(2, { sequence: 1 }), done()] },
    { what: 'the end of another list', bytes: [link(1), done({ sequence: 1 })] },
    { what: 'too short for an interface', bytes: [message({ type: RTM_NEWLINK }, zeros(15)), done()] },
    { what: 'a message longer than what was read', bytes: [link(1), link(2, { length: 1000 })] },
    { what: 'a message shorter than its header', bytes: [link(1), link(2, { length: 15 })] },
    { what: 'a message of no length', bytes: [link(1, { length: 0 }), done()] },
    { what: 'an acknowledgement', bytes: [errorMessage(0)] },
  ])('$what', ({ bytes }) => {
    expect(decodeLinks(...bytes)).toMatchObject({ ...BAD, over: false });
  });

  test('interfaces that came or went meanwhile: the list is worth nothing', () => {
    const NLM_F_DUMP_INTR = 0x10;
    expect(decodeLinks(link(1), done())).toMatchObject({ errno: 0, interrupted: false });
    expect(decodeLinks(link(1, { flags: NLM_F_DUMP_INTR }), link(2))).toMatchObject({ errno: 0, interrupted: true });
    expect(decodeLinks(link(1), done({ flags: NLM_F_DUMP_INTR }))).toMatchObject({ over: true, interrupted: true });
  });

  test('an end that says that there is more, but that it could not be told', () => {
    const end = (code: number) => message({ type: NLMSG_DONE }, u32(-code));
    expect(decodeLinks(link(1), end(errno.ENOMEM))).toMatchObject({ errno: errno.ENOMEM, syscall: 'netlink' });
    expect(decodeLinks(link(1), message({ type: NLMSG_DONE }))).toMatchObject({ ...BAD, over: false });
  });

  test('an errno', () => {
    expect(decodeLinks(link(1), errorMessage(errno.EPERM))).toMatchObject({ errno: errno.EPERM, syscall: 'netlink' });
  });

  test('cut off by the reader: between two messages, or it is none', () => {
    const one = link(1);
    const whole = Buffer.concat([one, link(2), done()]);
    for (let length = 0; length < whole.length; length++) {
      const isWhole = length % one.length === 0 && length <= 2 * one.length;
      const { errno: code, over } = codec.decodeLinks(whole.subarray(0, length), SEQUENCE);
      expect({ length, code, over }).toEqual({ length, code: isWhole ? 0 : errno.EBADMSG, over: false });
    }
  });
});

describe(`${ROUNDS} inputs of random and spoilt bytes`, () => {
  test('the answer: free only where ENOENT stands, found only where a socket does', () => {
    const good = [found(), found({ family: AF_INET6 }), errorMessage(errno.ENOENT), errorMessage(errno.EPERM)];
    const counts = { free: 0, found: 0, failed: 0 };
    for (const bytes of mutations(good, seeded(1))) {
      const { errno: code, found: isFound } = decodeDiag(bytes);
      if (code !== 0) {
        counts.failed++;
        if (isFound) expect.fail(`found, and errno ${code}: ${bytes.toString('hex')}`);
        continue;
      }
      counts[isFound ? 'found' : 'free']++;
      // Read independently, with bounds that are checked.
      const length = bytes.readUInt32LE();
      const type = bytes.readUInt16LE(4);
      const isAnswer = length <= bytes.length && bytes.readUInt32LE(8) === SEQUENCE;
      const isFree = type === NLMSG_ERROR && length >= 20 && bytes.readInt32LE(16) === -errno.ENOENT;
      const isSocket = type === SOCK_DIAG_BY_FAMILY && length >= 88;
      if (!isAnswer || !(isFound ? isSocket : isFree)) expect.fail(`accepted: ${bytes.toString('hex')}`);
    }
    // All of it was tried.
    expect(Math.min(counts.free, counts.found, counts.failed)).toBeGreaterThan(ROUNDS / 100);
  });

  test('the route', () => {
    const good = [
      routeMessage(AF_INET, attribute(RTA_OIF, u32(3)), attribute(RTA_PREFSRC, zeros(4))),
      routeMessage(AF_INET6, attribute(RTA_PREFSRC, zeros(16)), attribute(RTA_OIF, u32(3))),
      errorMessage(errno.ENETUNREACH),
    ];
    const counts = { decoded: 0, failed: 0 };
    let family = AF_INET;
    for (const bytes of mutations(good, seeded(2))) {
      family = family === AF_INET ? AF_INET6 : AF_INET;
      const { errno: code, source } = decodeRoute(bytes, family);
      counts[code === 0 ? 'decoded' : 'failed']++;
      if (code === 0 && source !== undefined && isIP(source) !== (family === AF_INET ? 4 : 6)) {
        expect.fail(`${source} of ${bytes.toString('hex')}`);
      }
    }
    expect(Math.min(counts.decoded, counts.failed)).toBeGreaterThan(ROUNDS / 100);
  });

  test('the interfaces', () => {
    const good = [
      link(1),
      Buffer.concat([link(1), link(2)]),
      Buffer.concat([link(1), done()]),
      errorMessage(errno.EPERM),
    ];
    const counts = { decoded: 0, failed: 0 };
    for (const bytes of mutations(good, seeded(3))) {
      const { errno: code, links } = codec.decodeLinks(bytes, SEQUENCE);
      counts[code === 0 ? 'decoded' : 'failed']++;
      // Each takes its header and its body.
      if (links.length * 32 > bytes.length) expect.fail(`${links.length} of ${bytes.toString('hex')}`);
    }
    expect(Math.min(counts.decoded, counts.failed)).toBeGreaterThan(ROUNDS / 100);
  });
});
