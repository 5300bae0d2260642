// Runs that the kernel refuses for want of room, or because of the route's MTU. The room and the clock are the test's
// (test/native/faults.cc), the rest is the kernel's.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { preloading } from '../helpers/environment.js';
import { describeIsolated, OUTSIDE, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { RANGE } from '../helpers/udp.js';

const faults = join(import.meta.dirname, '../native/build/Release/faults.node');

async function outcomeOf(...args: string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [fixture('batch-refused.mjs'), ...args], {
    env: { ...process.env, ...preloading(faults) },
  });
  return JSON.parse(stdout);
}

const MTU = 1400;
const FAR = ['192.0.2.8/32', '2001:db8:1::8/128'] as const;

describeIsolated('runs that are refused', () => {
  useNetwork({
    range: RANGE,
    commands: [...OUTSIDE, ...FAR.map((far) => `ip route add ${far} dev v0 mtu ${MTU}`)],
  });

  describe.each([
    { family: 'IPv4', host: '127.0.0.1', far: FAR[0] },
    { family: 'IPv6', host: '::1', far: FAR[1] },
  ])('$family', ({ host, far }) => {
    test('of a run what fits is sent, the first datagrams of it, and no less; the rest is counted', async () => {
      // 2 to 64 datagrams, and room for none of them to all.
      const tried = Array.from({ length: 63 }, (_, n) => n + 3).reduce((sum, each) => sum + each, 0);
      expect(await outcomeOf('room', host)).toEqual({ tried, wrong: [] });
    });

    test('a destination whose MTU refuses segments is asked again after 10 seconds', async () => {
      const raise = ['route', 'change', far, 'dev', 'v0', 'mtu', '1500'];
      const oneByOne = [4, 4, 0];
      const asked = [4, 4, 1];
      const aRun = [4, 1, 0];
      expect(await outcomeOf('clock', host, far.replace(/\/.*/, ''), ...raise)).toEqual({
        first: asked,
        next: oneByOne,
        'before 10 s': oneByOne,
        'after 10 s': asked,
        'before 10 s more': oneByOne,
        'the MTU is higher': oneByOne,
        'after 10 s more': aRun,
        'and from then on': aRun,
      });
    });
  });
});
