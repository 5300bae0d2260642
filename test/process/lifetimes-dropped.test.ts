// Sockets, pools and monitors that nobody refers to any more: what the garbage collector makes of them, beside core's.
import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';

interface Dropped {
  collected: number;
  /** Descriptors. */
  left: number;
  count: number;
}

function drop(library: string, what: string): Dropped {
  const argument = JSON.stringify({ library, what });
  const output = execFileSync(process.execPath, ['--expose-gc', fixture('dropped.mjs'), argument], {
    encoding: 'utf8',
    timeout: 25_000,
  });
  return JSON.parse(output) as Dropped;
}

describeIsolated('dropped', () => {
  useNetwork({ range: [20000, 20999] });

  // An open socket is kept by its handle, and so lives as long as it is open, referenced or not.
  test.each(['TCP connections', 'TCP connections that are unreferenced', 'UDP sockets'])(
    '%s that are open: they stay, as with core',
    (what) => {
      const [core, ours] = ['core', 'connectx'].map((library) => drop(library, what));
      expect(core?.collected).toBe(0);
      expect(ours?.collected).toBe(0);
      // A connection has two ends here.
      expect(ours?.left).toBe(core?.left);
    },
  );

  describe('what has ended is collected, and leaves no descriptor', () => {
    test.each([
      'TCP connections that were destroyed',
      'TCP connections under way, destroyed',
      'UDP sockets that were closed',
    ])('%s, as with core', (what) => {
      for (const library of ['core', 'connectx']) {
        const { collected, left, count } = drop(library, what);
        expect({ library, left }).toEqual({ library, left: 0 });
        // The last ones may be on the stack, or the last that core has heard of.
        expect(collected).toBeGreaterThanOrEqual(count - 2);
      }
    });

    test.each(['pools, with a connection that has ended', 'monitors that were closed'])('%s', (what) => {
      const { collected, left, count } = drop('connectx', what);
      expect(left).toBe(0);
      expect(collected).toBeGreaterThanOrEqual(count - 2);
    });
  });
});
