// A network namespace in which an sk_lookup program gives to a socket of its own whatever comes for a UDP socket that is not connected,
// as those do that serve many ports with one socket: look-ups do not find who is about to connect, and ports are shared all the same.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { hasCgroups, leftOutWithoutCgroups, skLookupSocket } from '../helpers/cgroup.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';

interface Outcome {
  attached: number;
  owner: { state: number } | null;
  first: unknown[];
  second: unknown[];
  exact: unknown[];
  sharing: boolean;
  warnings: string[];
}

const RANGE = [20000, 20003] as const;
const PORTS = [20000, 20001, 20002, 20003];

describeIsolated('an sk_lookup program', () => {
  useNetwork({ range: RANGE, addresses: ['2001:db8::1', '2001:db8::9'] });

  test.skipIf(!hasCgroups).each([
    { family: 4, localAddress: '127.0.0.9', host: '127.0.0.1' },
    { family: 6, localAddress: '2001:db8::9', host: '2001:db8::1' },
  ])(
    `IPv$family: each destination has every port, and no 4-tuple two sockets${leftOutWithoutCgroups}`,
    async (given) => {
      const argument = JSON.stringify({ socket: skLookupSocket, ...given });
      const { stdout } = await promisify(execFile)(process.execPath, [fixture('sk-lookup.mjs'), argument], {
        timeout: 20_000,
      });
      const outcome = JSON.parse(stdout) as Outcome;
      expect(outcome.attached).toBe(0);
      // The control: the kernel names the program's socket, which is bound elsewhere.
      expect(outcome.owner).toMatchObject({ state: 7, isStandIn: true });
      const exhausted = { code: 'EAGAIN', reason: 'ports-exhausted' };
      for (const ports of [outcome.first, outcome.second]) {
        expect(ports.slice(0, 4).sort()).toEqual(PORTS);
        expect(ports[4]).toEqual(exhausted);
      }
      expect(outcome.exact).toEqual([30000, { code: 'EADDRINUSE', reason: 'tuple-in-use' }, 30000]);
      expect(outcome).toMatchObject({ sharing: true, warnings: [] });
    },
  );
});
