// Addresses that answer late, refuse late, or never answer, to the millisecond: for races between them.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { afterEach, beforeEach, describe } from 'vitest';
import { enterNetwork, hasNamespaces, shell } from './netns.js';
import { fixture } from './run.js';

/** Where the servers of the tests listen. */
export const SERVER = 5353;
/** Nobody listens there. */
const CLOSED = 9;

/** The source that the kernel takes, and another one. */
export const SOURCE4 = '10.9.0.1';
export const SOURCE4_2 = '10.9.0.2';
export const SOURCE6 = 'fd09::1';
export const SOURCE6_2 = 'fd09::2';

type Family = 4 | 6;

function address(family: Family, kind: number, ms: number): string {
  const tens = Math.round(ms / 10);
  return family === 4 ? `10.9.${kind}.${tens}` : `fd09::${kind}:${tens.toString(16)}`;
}

/** Connects after so many ms, at most 2,000. */
export const answers = (family: Family, ms: number): string => address(family, 1, ms);
/** Refuses after so many ms. */
export const refuses = (family: Family, ms: number): string => address(family, 2, ms);
/** Never answers. */
export const dead = (family: Family): string => address(family, 3, 0);
/** There is no route to it. */
export const unreachable = (family: Family): string => (family === 4 ? '203.0.113.1' : '2001:db8:2::1');

function hasTun(): boolean {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** A `describe` in such a network, a new one for each test; left out, and named so, where none can be made. */
export function describeSlow(name: string, body: () => void): void {
  const lacks = hasNamespaces ? (hasTun() ? undefined : '/dev/net/tun') : 'network namespace can be made here';
  if (lacks !== undefined) {
    describe.skip(`${name} [left out: no ${lacks}]`, body);
    return;
  }
  describe(name, () => {
    let leave = () => {};
    let program: ChildProcess | undefined;
    beforeEach(async () => {
      leave = enterNetwork({ range: [20000, 59999] });
      const child = spawn(process.execPath, [fixture('slow-network.mjs'), `${SERVER}`, `${CLOSED}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      program = child;
      await Promise.race([
        once(child.stdout, 'data'),
        once(child, 'exit').then(() => Promise.reject(new Error('no slow network'))),
      ]);
      shell(
        [
          'ip link set slow0 up txqueuelen 10000',
          ...[SOURCE4, SOURCE4_2].map((source) => `ip addr add ${source}/32 dev slow0`),
          ...[SOURCE6, SOURCE6_2].map((source) => `ip addr add ${source}/128 dev slow0 nodad`),
          ...['10.9.0.0/16', '10.10.0.0/16'].map((block) => `ip route add ${block} dev slow0 src ${SOURCE4}`),
          ...['fd09::/16', 'fd0a::/16'].map((block) => `ip route add ${block} dev slow0 src ${SOURCE6}`),
        ].join('\n'),
      );
    });
    afterEach(async () => {
      leave();
      if (program === undefined || program.exitCode !== null) return;
      program.kill();
      await once(program, 'exit');
    });
    body();
  });
}
