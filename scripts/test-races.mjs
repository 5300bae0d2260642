// Processes that want the same UDP 4-tuples at the same time, and are killed in the middle of it, for much longer than in
// `npm test`: `npm run test:races [-- --attempts N]`. What came of it goes to reports/races.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { report, root } from './lib.mjs';

const { values } = parseArgs({ options: { attempts: { type: 'string', default: '1000000' } } });
const attempts = Number(values.attempts);
if (!Number.isInteger(attempts) || attempts < 1000) {
  console.error('Usage: npm run test:races [-- --attempts N]    N is 1000 or more, and 1000000 without it');
  process.exit(2);
}
const directory = mkdtempSync(join(tmpdir(), 'connectx-races-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const file = join(directory, 'rows.json');
const { status, error } = spawnSync(process.execPath, ['scripts/test.mjs', 'test/process/udp-contest.test.ts'], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, CONNECTX_CONTEST_ATTEMPTS: `${attempts}`, CONNECTX_CONTEST_REPORT: file },
});
if (error) throw error;
if (existsSync(file)) {
  report('races', `npm run test:races -- --attempts ${attempts}`, JSON.parse(readFileSync(file, 'utf8')));
}
process.exit(status ?? 1);
