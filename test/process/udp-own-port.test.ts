// A UDP socket whose port was not asked for does not connect to itself, with the addon and without it.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';

const OWN = 20001;

interface Outcome {
  native: boolean;
  ports: Record<'plain' | 'connectUdp' | 'connectUdpSync', number[]>;
}

describeIsolated('the own port as the destination', () => {
  useNetwork({ range: [20000, 20002], addresses: ['2001:db8::1'] });

  describe.each([
    { as: 'with the addon', disable: '' },
    { as: 'without it', disable: '1' },
  ])('$as', ({ disable }) => {
    test.each([
      { host: '127.0.0.1', localAddress: '127.0.0.1' },
      { host: '127.0.0.1', localAddress: undefined },
      { host: '2001:db8::1', localAddress: '2001:db8::1' },
      { host: '::1', localAddress: undefined },
    ])('$host from $localAddress', async ({ host, localAddress }) => {
      const argument = JSON.stringify({ host, localAddress, port: OWN, count: 40 });
      const env = { ...process.env, CONNECTX_DISABLE_NATIVE: disable };
      const { stdout } = await promisify(execFile)(process.execPath, [fixture('udp-own-port.mjs'), argument], { env });
      const { native, ports } = JSON.parse(stdout) as Outcome;
      expect(native).toBe(disable === '');
      // The control: the kernel does it.
      expect(ports.plain).toContain(OWN);
      expect(ports.connectUdp).toEqual([20000, 20002]);
      expect(ports.connectUdpSync).toEqual([20000, 20002]);
    });
  });
});
