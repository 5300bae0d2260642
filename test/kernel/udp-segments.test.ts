// `segmentSize`: one send that leaves as several datagrams, and what the route has to do with it.
import { randomBytes } from 'node:crypto';
import type * as dgram from 'node:dgram';
import { capabilities, connectUdp, connectUdpSync } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, NARROW, OUTSIDE, shell, useNetwork } from '../helpers/netns.js';
import { descriptorCount } from '../helpers/sockets.js';
import { errorOf, families, keep, RANGE, SERVER, sendUntil, udpNetwork, udpServer, ways } from '../helpers/udp.js';

/** Sends, and resolves with core's error or undefined. */
function sendOnce(socket: dgram.Socket, bytes: Uint8Array): Promise<Error | undefined> {
  return new Promise((resolve) => socket.send(bytes, (error) => resolve(error ?? undefined)));
}

describeIsolated('segmentSize', () => {
  useNetwork(udpNetwork);

  test('is there, as capabilities() says', () => {
    expect(capabilities()).toMatchObject({ udpSegment: true, udpReceiveOffload: true });
  });

  describe.each(families)('$family', ({ source, remote }) => {
    test.each(ways)('$way: one send leaves as datagrams of this size, the last one shorter', async ({ open }) => {
      const server = await udpServer(SERVER, remote);
      const heard: Buffer[] = [];
      server.on('message', (message) => heard.push(message));
      const socket = await open({ host: remote, port: SERVER, localAddress: source, segmentSize: 1000 });
      const bytes = randomBytes(12_345);
      await sendUntil(
        () => {
          heard.length = 0;
          socket.send(bytes);
        },
        () => heard.length === 13,
      );
      expect(heard.map(({ length }) => length)).toEqual([...Array<number>(12).fill(1000), 345]);
      expect(Buffer.concat(heard).equals(bytes)).toBe(true);
    });

    test('what is not longer is one datagram; with an offset, a list and no callback, too', async () => {
      const server = await udpServer(SERVER, remote);
      const heard: string[] = [];
      server.on('message', (message) => heard.push(message.toString()));
      const socket = keep(connectUdpSync({ host: remote, port: SERVER, localAddress: source, segmentSize: 4 }));
      const sends: [() => void, string[]][] = [
        [() => socket.send('abcd'), ['abcd']],
        [() => socket.send(''), ['']],
        [() => socket.send('xxabcdefxx', 2, 6), ['abcd', 'ef']],
        [() => socket.send([Buffer.from('abc'), 'def']), ['abcd', 'ef']],
      ];
      for (const [send, expected] of sends) {
        await sendUntil(
          () => {
            heard.length = 0;
            send();
          },
          () => heard.length === expected.length,
        );
        expect(heard).toEqual(expected);
      }
    });

    test('more than one send can hold is an error that says so', async () => {
      const socket = keep(connectUdpSync({ host: remote, port: SERVER, localAddress: source, segmentSize: 10 }));
      const error = await sendOnce(socket, Buffer.alloc(60_000));
      expect(error).toMatchObject({ code: 'EINVAL', syscall: 'send', address: remote, port: SERVER });
      expect(error?.message).toContain('at most 64 segments and 65,000 bytes');
    });
  });

  test.each([[0], [-1], [1.5], [65_508], [Number.NaN]])('%s is out of range', (segmentSize) => {
    expect(() => connectUdpSync({ host: '127.0.0.2', port: SERVER, segmentSize })).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
    );
  });

  test('a string is of the wrong type', async () => {
    const options = { host: '127.0.0.2', port: SERVER, segmentSize: '1200' as unknown as number };
    const error = await errorOf(async () => connectUdp(options));
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  });
});

describeIsolated('segmentSize and a route whose MTU is 1400', () => {
  useNetwork({
    range: RANGE,
    commands: [...OUTSIDE, ...NARROW],
  });

  describe.each([
    { family: 'IPv4', host: '192.0.2.8', most: 1372, change: 'ip route change 192.0.2.8/32 dev v0 mtu 1300' },
    {
      family: 'IPv6',
      host: '2001:db8:1::8',
      most: 1352,
      change: 'ip -6 route change 2001:db8:1::8/128 dev v0 mtu 1300',
    },
    {
      family: 'IPv4-mapped',
      host: '::ffff:192.0.2.8',
      most: 1372,
      change: 'ip route change 192.0.2.8/32 dev v0 mtu 1300',
    },
  ])('$family', ({ host, most, change }) => {
    test.each(ways)('$way refuses what does not fit, says what does, and leaves nothing behind', async ({ open }) => {
      // What is opened once for all.
      keep(await open({ host, port: SERVER, segmentSize: most })).close();
      await errorOf(() => open({ host, port: SERVER, segmentSize: most + 1 }));
      const before = descriptorCount();
      // As often as there are ports: none stays in use.
      for (let n = 0; n < 2 * (RANGE[1] - RANGE[0] + 1); n++) {
        const error = await errorOf(() => open({ host, port: SERVER, segmentSize: most + 1 }));
        expect(error).toMatchObject({ code: 'EMSGSIZE', syscall: 'connect', address: host, port: SERVER });
        expect(error.message).toContain(`set segmentSize to ${most} or less`);
      }
      const socket = await open({ host, port: SERVER, segmentSize: most });
      expect(await sendOnce(socket, Buffer.alloc(5 * most))).toBeUndefined();
      socket.close();
      expect(descriptorCount()).toBeLessThanOrEqual(before);
    });

    test('when the route changes later, the error of the send says what fits', async () => {
      const socket = keep(connectUdpSync({ host, port: SERVER, segmentSize: most }));
      expect(await sendOnce(socket, Buffer.alloc(2 * most))).toBeUndefined();
      shell(change);
      const error = await sendOnce(socket, Buffer.alloc(2 * most));
      expect(error).toMatchObject({ syscall: 'send', address: host, port: SERVER });
      expect(['EMSGSIZE', 'EINVAL']).toContain((error as NodeJS.ErrnoException).code);
      // The kernel does not tell an IPv4-mapped socket of the new MTU.
      const advice = host.includes('ffff') ? 'set a smaller segmentSize' : `set segmentSize to ${most - 100} or less`;
      expect(error?.message).toContain(advice);
    });
  });
});
