// Every fault of every system call that the addon makes, not only the part that `npm test` takes: `npm run test:faults [-- vitest
// arguments]`. What came of each goes to reports/faults-*.json, and the counts to reports/faults.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { commandOf, report, root } from './lib.mjs';

const folder = join(root, 'reports');
const given = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const files = ['faults-warm.json', 'faults-cold.json'].map((name) => join(folder, name));
for (const file of files) rmSync(file, { force: true });

const { status, error } = spawnSync(process.execPath, ['scripts/test.mjs', 'test/faults', ...given], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, CONNECTX_TEST_FAULTS: folder },
});
if (error) throw error;

const rows = files.filter(existsSync).map((file) => {
  const { when, tried, survived, missed, unfinished, scenarios } = JSON.parse(readFileSync(file, 'utf8'));
  const calls = scenarios.reduce((sum, scenario) => sum + scenario.calls.length, 0);
  const count = scenarios.length + unfinished.length;
  const ended = unfinished.length === 0 ? '' : `; not to the end: ${unfinished.join(', ')}`;
  const detail = `${count} operations with ${calls} system calls; ${missed} faults did not come about, for the call was not made${ended}`;
  return { what: `faults ${when}`, tried, failed: tried - survived + unfinished.length, detail };
});
report('faults', commandOf('test:faults', given), rows);
for (const { what, tried, failed, detail } of rows) console.log(`${what}: ${tried} tried, ${failed} failed; ${detail}`);
console.log(`See ${folder}.`);
process.exit(status ?? 1);
