// TCP and UDP under load, with faults, and with every port taken most of the time: `npm run soak -- --minutes N [--seed S]`. It takes
// place in a network namespace of its own (test/soak). What came of it goes to reports/soak.json; the exit code is 1 when
// anything was not as it must be.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { report, root } from './lib.mjs';
import { SETUP } from '../test/soak/network.mjs';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes >= 1 && minutes <= 24 * 60) || !Number.isInteger(seed)) {
  console.error('Usage: npm run soak [-- --minutes N] [--seed S]    N is 1 to 1440, and 60 without it');
  process.exit(2);
}
const program = [process.execPath, join(root, 'test/soak/run.mjs'), JSON.stringify({ seconds: minutes * 60, seed })];
const inside = ['-Urn', 'sh', '-ec', `${SETUP}\nexec "$@"`, 'sh', ...program];
const { status, stdout, error } = spawnSync('unshare', inside, {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
  maxBuffer: 2 ** 28,
});
if (error) throw error;
if (status !== 0) {
  console.error(`The soak did not come to its end: ${status}`);
  process.exit(1);
}
const { rows, counts } = JSON.parse(stdout);
report('soak', `npm run soak -- --minutes ${minutes} --seed ${seed}`, rows);
for (const [kind, of] of Object.entries(counts)) {
  console.log(`${kind}:`);
  for (const [name, count] of Object.entries(of).sort()) console.log(`  ${name}: ${count}`);
}
for (const { what, tried, failed, detail } of rows) {
  console.log(
    `${failed === 0 ? 'ok    ' : 'FAILED'} ${what}: ${tried} tried, ${failed} failed${detail === '' ? '' : `; ${detail}`}`,
  );
}
process.exit(rows.some(({ failed }) => failed > 0) ? 1 : 0);
