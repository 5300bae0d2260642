// UdpBatch without the addon: the same program, with the same outcome.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';

async function outcome(host: string, env: NodeJS.ProcessEnv): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [fixture('batch-fallback.mjs'), host], {
    env: { ...process.env, ...env },
  });
  return JSON.parse(stdout);
}

describeIsolated('UdpBatch', () => {
  useNetwork({ range: [20000, 20999] });

  describe.each([['127.0.0.1'], ['::1']])('%s', (host) => {
    test.each([
      { what: 'with the addon', env: {}, native: true },
      { what: 'without it', env: { CONNECTX_DISABLE_NATIVE: '1' }, native: false },
    ])('$what', async ({ env, native }) => {
      expect(await outcome(host, env)).toEqual({
        native,
        taken: 3,
        echoed: true,
        peer: true,
        peerAddress: 1,
        errors: [['ECONNREFUSED', true]],
        tooLong: [0, 1],
        received: 6,
        stale: 0,
        again: 'EADDRINUSE',
      });
    });
  });
});
