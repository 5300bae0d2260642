// Every fault of every system call that the addon makes, not only the part that `npm test` takes: `npm run test:faults [-- vitest
// arguments]`. What came of each goes to reports/.
import { join } from 'node:path';
import { root, run } from './lib.mjs';

const folder = join(root, 'reports');
run(process.execPath, ['scripts/test.mjs', 'test/faults', ...process.argv.slice(2)], {
  env: { ...process.env, CONNECTX_TEST_FAULTS: folder },
});
console.log(`See ${folder}.`);
