// Random scripts of options, callbacks, aborts and destroys: a program sees the same of core and of connectx. `npm run test:differential`
// plays thousands of them; `node test/differential/run.mjs 1 SEED` plays one again.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';

const SCRIPTS = 200;

describeIsolated('random connects', () => {
  test('no difference from core, no lease and no descriptor left', { timeout: 120_000 }, () => {
    const run = join(import.meta.dirname, '../differential/run.mjs');
    const { stdout, stderr } = spawnSync(process.execPath, [run, String(SCRIPTS)], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ scripts: SCRIPTS, differences: [], descriptors: 0 });
  });
});
