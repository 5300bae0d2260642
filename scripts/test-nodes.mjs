// Runs the tests on the other Node releases, from npm's node-linux-* packages:
// `npm run test:nodes [-- 22 24] [vitest arguments]`. How many passed goes to reports/nodes.json.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandOf, report, root, summaryIn } from './lib.mjs';
import { nodes } from './nodes.mjs';

const given = process.argv.slice(2);
const isMajor = (argument) => /^\d\d$/.test(argument);
const majors = given.filter(isMajor);
const wanted = majors.length > 0 ? majors : ['22', '24', '26'];
const paths = nodes(wanted);

const rows = [];
let failure = 0;
for (const major of wanted) {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-nodes-'));
  const summary = join(folder, 'summary.json');
  const { status, error } = spawnSync(
    paths[major],
    ['scripts/test.mjs', ...given.filter((argument) => !isMajor(argument))],
    { cwd: root, stdio: 'inherit', env: { ...process.env, CONNECTX_TEST_SUMMARY: summary } },
  );
  if (error) throw error;
  failure ||= status ?? 1;
  const { stdout } = spawnSync(paths[major], ['--version'], { encoding: 'utf8' });
  const { passed, failed, skipped } = summaryIn(summary);
  rmSync(folder, { recursive: true });
  const detail = skipped === 0 ? '' : `${skipped} left out`;
  rows.push({ what: `the tests, Node ${stdout.trim()}`, tried: passed + failed, failed, detail });
}
report('nodes', commandOf('test:nodes', given), rows);
process.exit(failure);
