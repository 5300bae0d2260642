// Processes, cluster workers and threads that want the same 4-tuples, for longer than `npm test` lets them: `npm run test:races
// [-- --attempts N]`. N is for UDP over IPv4, and a million without it; a thousandth of it are rounds in which processes with a tenth of a
// processor fill a range. What came of it goes to reports/races.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { report, root, summaryIn } from './lib.mjs';

const { values } = parseArgs({ options: { attempts: { type: 'string', default: '1000000' } } });
const attempts = Number(values.attempts);
if (!Number.isInteger(attempts) || attempts < 1) {
  console.error('Usage: npm run test:races [-- --attempts N]');
  process.exit(2);
}
const directory = mkdtempSync(join(tmpdir(), 'connectx-races-'));
const [told, summary] = ['told', 'summary.json'].map((name) => join(directory, name));
const { status, error } = spawnSync(
  process.execPath,
  [
    'scripts/test.mjs',
    'test/process/tcp-contest.test.ts',
    'test/process/udp-contest.test.ts',
    'test/process/tcp-limit.test.ts',
    'test/process/udp-quota.test.ts',
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      CONNECTX_CONTEST_ATTEMPTS: String(attempts),
      CONNECTX_QUOTA_ROUNDS: String(Math.ceil(attempts / 1000)),
      CONNECTX_TEST_RACES: told,
      CONNECTX_TEST_SUMMARY: summary,
    },
  },
);
if (error) throw error;
const rows = existsSync(told)
  ? readFileSync(told, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  : [];
const { passed, failed } = summaryIn(summary);
rows.push({ what: 'tests of contests', tried: passed + failed, failed, detail: '' });
rmSync(directory, { recursive: true });
report('races', `npm run test:races -- --attempts ${attempts}`, rows);
process.exit(status ?? 1);
