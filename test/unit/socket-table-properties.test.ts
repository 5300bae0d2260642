// Whatever sockets the kernel tells of, JavaScript reads the same ones: bytes of a dump, through the addon's decoder and its
// records, to values.
import { createRequire } from 'node:module';
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeGroups, decodeHolders } from '../../src/kernel/socket_table.js';
import { diagBody, message, SEQUENCE } from '../helpers/bytes.js';

interface Codec {
  decodeDump(
    bytes: Uint8Array,
    sequence: number,
  ): { errno: number; holders: Uint8Array; groups: Uint8Array; timeWait: Uint8Array };
}

const codec = createRequire(import.meta.url)(join(import.meta.dirname, '../native/build/Release/codec.node')) as Codec;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DIAG_BY_FAMILY = 20;
const TIME_WAIT = 6;

const port = fc.integer({ min: 0, max: 65535 });
// Few of them, so that some are alike.
const ip = fc.oneof(
  fc.constantFrom('192.0.2.1', '192.0.2.2', '255.255.255.255'),
  fc.ipV4().filter((text) => isIPv4(text)),
);
const ip6 = fc.oneof(
  fc.constantFrom('2001:db8::1', '2001:db8::2', '::'),
  fc.ipV6().filter((text) => isIPv6(text) && !/^fe[89ab]/i.test(text) && !/^::ffff:/i.test(text)),
);
const state = fc.integer({ min: 1, max: 13 });
const ends = { state, localPort: port, remotePort: port };
const socket = fc.oneof(
  fc.record({ family: fc.constant(4 as const), local: ip, remote: ip, ...ends }),
  fc.record({ family: fc.constant(6 as const), local: ip6, remote: ip6, ...ends }),
);

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  if (isIPv4(text)) bytes.set(text.split('.').map(Number));
  else {
    const [head = '', tail] = expanded(text).split('::');
    const groups = (part: string) => part.split(':').filter(Boolean);
    const before = groups(head);
    const after = groups(tail ?? '');
    const all = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after];
    all.forEach((group, index) =>
      bytes.set([Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255], index * 2),
    );
  }
  return bytes;
}

/** The last 32 bits as two groups. */
const expanded = (text: string) =>
  text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });

/** However it is spelt. */
const canonical = (text: string) =>
  new SocketAddress({ address: text, family: isIPv4(text) ? 'ipv4' : 'ipv6' }).address;

test('holders and groups are those of the sockets', () => {
  fc.assert(
    fc.property(fc.array(socket, { maxLength: 40 }), (sockets) => {
      const dump = sockets.map(({ family, local, remote, ...rest }) => {
        const body = {
          family: family === 4 ? AF_INET : AF_INET6,
          ...rest,
          local: bytesOf(local),
          remote: bytesOf(remote),
        };
        return message({ type: SOCK_DIAG_BY_FAMILY }, diagBody(body));
      });
      const { errno, holders, groups } = codec.decodeDump(Buffer.concat(dump), SEQUENCE);
      expect(errno).toBe(0);

      expect(
        decodeHolders(holders).map(({ family, localAddress, localPort, state }) => [
          family,
          canonical(localAddress),
          localPort,
          state,
        ]),
      ).toEqual(sockets.map(({ family, local, localPort, state }) => [family, canonical(local), localPort, state]));

      const expected = new Map<string, { used: Set<number>; timeWait: Set<number> }>();
      for (const { local, remote, remotePort, localPort, state } of sockets) {
        const key = [canonical(local), canonical(remote), remotePort].join(' ');
        const group = expected.get(key) ?? { used: new Set(), timeWait: new Set() };
        expected.set(key, group);
        group.used.add(localPort);
        if (state === TIME_WAIT) group.timeWait.add(localPort);
      }
      const decoded = decodeGroups(groups);
      const found = decoded.map(({ localAddress, remoteAddress, remotePort, used, timeWait }) => {
        const key = [canonical(localAddress), canonical(remoteAddress), remotePort].join(' ');
        return `${key}: ${used}, ${timeWait}`;
      });
      expect(found.sort()).toEqual(
        [...expected].map(([key, { used, timeWait }]) => `${key}: ${used.size}, ${timeWait.size}`).sort(),
      );
      // Fullest first.
      expect(decoded.map(({ used }) => used)).toEqual(decoded.map(({ used }) => used).sort((a, b) => b - a));
    }),
    { numRuns: 500, seed: 20240601 },
  );
});

test('records that are not whole are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      for (const [decode, size] of [
        [decodeGroups, 140],
        [decodeHolders, 96],
      ] as const) {
        if (bytes.length % size === 0) expect(decode(bytes)).toHaveLength(bytes.length / size);
        else expect(() => decode(bytes)).toThrow(RangeError);
      }
    }),
    { numRuns: 500, seed: 20240601 },
  );
});
