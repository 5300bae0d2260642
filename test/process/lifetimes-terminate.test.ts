// A worker thread is terminated while it is in the addon: V8 refuses what the addon still asks of it, and the process goes on.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { BUILT_ADDON } from '../helpers/package.js';
import { fixture } from '../helpers/run.js';

describeIsolated('40 worker threads, terminated in the midst of', () => {
  useNetwork(smallNetwork);

  test.each(['sys.getsockname', 'sys.udpLookup', 'connectUdpSync', 'connect, which fails'])('%s', (what) => {
    const { status, signal, stderr } = spawnSync(process.execPath, [fixture('terminate.mjs'), what], {
      encoding: 'utf8',
      timeout: 28_000,
    });
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  });
});

describeIsolated('worker threads, terminated while they search for a port', () => {
  useNetwork(smallNetwork);

  test('leave no socket behind', () => {
    const { stdout, stderr } = spawnSync(process.execPath, [fixture('terminate-search.mjs'), '60'], {
      encoding: 'utf8',
      timeout: 28_000,
    });
    expect({ stdout, stderr }).toEqual({ stdout: '{"rounds":60,"left":0}\n', stderr: '' });
  });
});

describeIsolated('worker threads, terminated after each call of the addon in turn', () => {
  useNetwork({ ...smallNetwork, range: [20_000, 20_015] });

  test.each(
    ['4', '6'].flatMap((version) =>
      [
        ...['a port of its own', 'no port left', 'no port left, at once', 'a port that is shared', 'no source'],
        ...['an unspecified address', 'a flow of a batch', 'a server of a batch', 'portUsage'],
      ].map((what) => [version, what] as const),
    ),
  )('leave no socket behind: IPv%s, %s', (version, what) => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [fixture('terminate-anywhere.mjs'), BUILT_ADDON, version, what],
      { encoding: 'utf8', timeout: 28_000 },
    );
    expect(stderr).toBe('');
    const { calls, left } = JSON.parse(stdout) as { calls: number; left: string[] };
    expect(calls).toBeGreaterThan(0);
    expect(left).toEqual([]);
  });
});
