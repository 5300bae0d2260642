// A thread that goes to another network namespace (setns(2)): what was known of ports in the one before says nothing there.
import { describe, expect, test } from 'vitest';
import { describeIsolated, enterNetwork, useNetwork } from '../helpers/netns.js';
import { errorOf, families, PORTS, SERVER, udpNetwork, ways } from '../helpers/udp.js';

describeIsolated('all ports are taken, and the thread goes to another network namespace', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote }) => {
    test.each(ways)('$way: there they are free, and here, again, they are not', async ({ open }) => {
      const options = { host: remote, port: SERVER, localAddress: source };
      for (const _ of PORTS) await open(options);
      const exhausted = { code: 'EAGAIN', reason: 'ports-exhausted' };
      expect(await errorOf(async () => open(options))).toMatchObject(exhausted);
      const leave = enterNetwork(udpNetwork);
      try {
        for (const _ of PORTS) await open(options);
        expect(await errorOf(async () => open(options))).toMatchObject(exhausted);
      } finally {
        leave();
      }
      expect(await errorOf(async () => open(options))).toMatchObject(exhausted);
    });
  });
});
