// Several processes that fill the same ports together, towards the same and towards different destinations.
import type { UdpConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { families, RawUdp, SERVER } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';

describeIsolated('filling', () => {
  useNetwork({
    range: [20000, 20015],
    addresses: families.flatMap(({ version, source, remote, remote2 }) =>
      version === 6 ? [source, remote, remote2] : [],
    ),
  });

  describe.each(families)('$family', ({ version, any, source, remote, remote2 }) => {
    test('8 processes, each to 200 destinations of its own over one port, all at once: all succeed', async () => {
      // (source, 30001, any of 1,600) wanted by 1 --> # 1 each
      const clients = Array.from({ length: 8 }, () => new UdpClient());
      const opened = await Promise.all(
        clients.map(async (client, n) =>
          client.open(
            ...Array.from({ length: 200 }, (_, m) => ({
              host: version === 4 ? `127.1.${n}.${m + 1}` : source,
              port: version === 4 ? SERVER : 40_000 + 200 * n + m,
              localAddress: source,
              localPort: 30001,
              // Half of the processes block, the others do not.
              sync: n % 2 === 0,
            })),
          ),
        ),
      );
      const failed = opened.flat().filter(({ localPort }) => localPort !== 30001);
      expect(failed).toEqual([]);
    });

    test.each([{ count: 16 }, { count: 1000 }])(
      '4 processes fill $count ports to each of two destinations: $count sockets each, then EAGAIN',
      async ({ count }) => {
        // (source, *, remote) wanted by 4 --> # count
        // (source, *, remote2) wanted by 4 --> # count
        const clients = Array.from({ length: 4 }, () => new UdpClient());
        const localPortRange = [30_000, 30_000 + count - 1] as const;
        for (const host of [remote, remote2]) {
          const options = { host, port: SERVER, localAddress: source, localPortRange };
          expect(await fillTogether(clients, options)).toEqual(upTo(count));
        }
      },
    );

    test('ports that others do not share are left out, and nothing else is', async () => {
      // (source, *, remote) wanted by 4 --> # 13 of 16
      const locked = [30_000, 30_007, 30_015];
      for (const port of locked) new RawUdp(version, { bind: { address: port === 30_007 ? any : source, port } });
      const clients = Array.from({ length: 4 }, () => new UdpClient());
      for (const host of [remote, remote2]) {
        const options = { host, port: SERVER, localAddress: source, localPortRange: [30_000, 30_015] as const };
        const ports = await fillTogether(clients, options);
        expect(ports).toEqual(upTo(16).filter((port) => !locked.includes(port)));
      }
    });
  });
});

const upTo = (count: number) => Array.from({ length: count }, (_, n) => 30_000 + n);

/** The ports that all got together, in order. Each of them has been told that there are no more. */
async function fillTogether(clients: UdpClient[], options: UdpConnectOptions): Promise<number[]> {
  const filled = await Promise.all(
    // Half of them block, the others do not.
    clients.map(async (client, n) => client.fill({ ...options, sync: n % 2 === 0 }, 2000)),
  );
  for (const { code, reason } of filled)
    expect({ code, reason }).toEqual({ code: 'EAGAIN', reason: 'ports-exhausted' });
  return filled.flatMap(({ ports }) => ports).sort((a, b) => a - b);
}
