// Unspecified destinations: the kernel connects to an address of this machine, and that is the 4-tuple that counts.
import { connectUdp } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { assertUdpEcho, closeNow, errorOf, keep, SERVER, udpEcho, udpNetwork, ways } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';

const [V4, V6] = ['127.0.0.9', '2001:db8::1'] as const;

const rows = [
  { asked: '0.0.0.0', localAddress: V4, reached: V4 },
  { asked: '0.0.0.0', localAddress: undefined, reached: '127.0.0.1' },
  { asked: '::', localAddress: V6, reached: '::1' },
  { asked: '0:0::0', localAddress: undefined, reached: '::1' },
  { asked: '::ffff:0.0.0.0', localAddress: V4, reached: `::ffff:${V4}` },
  { asked: '::ffff:0:0', localAddress: undefined, reached: '::ffff:127.0.0.1' },
] as const;

describeIsolated('an unspecified destination', () => {
  useNetwork(udpNetwork);
  const tuple = { port: SERVER, localPort: 20001 };
  const inUse = { code: 'EADDRINUSE', reason: 'tuple-in-use' };

  test.each(rows)(
    'control: $asked from $localAddress is $reached to the kernel',
    ({ asked, localAddress, reached }) => {
      const v6 = asked.includes(':');
      const fd = sys.socket(v6 ? sys.constants.AF_INET6 : sys.constants.AF_INET, sys.constants.SOCK_DGRAM);
      try {
        const address = v6 && localAddress === V4 ? `::ffff:${V4}` : localAddress;
        if (address !== undefined) sys.bind(fd, { address, port: 20001 });
        sys.connect(fd, { address: asked, port: SERVER });
        expect(sys.getpeername(fd)).toMatchObject({ address: reached, port: SERVER });
      } finally {
        sys.close(fd);
      }
    },
  );

  describe.each(rows)('$asked from $localAddress', ({ asked, localAddress, reached }) => {
    test.each(ways)(
      '$way: the 4-tuple with $reached is had once, whichever name it is asked for by',
      async ({ open }) => {
        await udpEcho(SERVER, [reached]);
        for (const [first, second] of [
          [asked, reached],
          [reached, asked],
          [asked, asked],
        ] as const) {
          const socket = await open({ ...tuple, host: first, localAddress });
          expect(socket.remoteAddress()).toMatchObject({ address: reached, port: SERVER });
          expect(await errorOf(() => open({ ...tuple, host: second, localAddress }))).toMatchObject(inUse);
          await assertUdpEcho(socket);
          await closeNow(socket);
        }
      },
    );

    test('also when another process has it', async () => {
      const holder = new UdpClient();
      const filled = await holder.fill(
        { host: reached, port: SERVER, localAddress, localPortRange: [20001, 20001] },
        1,
      );
      expect(filled.ports).toEqual([20001]);
      expect(await errorOf(() => connectUdp({ ...tuple, host: asked, localAddress }))).toMatchObject(inUse);
    });

    test('also by name', async () => {
      const family = asked.includes(':') ? 6 : 4;
      const lookup = (
        _host: string,
        _options: unknown,
        done: (error: null, address: string, family: number) => void,
      ) => {
        done(null, asked, family);
      };
      const options = { ...tuple, host: 'sink.test', lookup: lookup as never, localAddress };
      const socket = keep(await connectUdp(options));
      expect(socket.remoteAddress()).toMatchObject({ address: reached });
      expect(await errorOf(() => connectUdp({ ...tuple, host: reached, localAddress }))).toMatchObject(inUse);
    });
  });
});
