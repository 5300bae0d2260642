// Runs the tests on the other Node releases, from npm's node-linux-* packages: `npm run test:nodes [-- 22 24]`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newest, root, run } from './lib.mjs';

const majors = process.argv.slice(2).filter((argument) => /^\d+$/.test(argument));
const wanted = majors.length > 0 ? majors : ['22', '24', '26'];
const directory = join(root, '.nodes');
mkdirSync(directory, { recursive: true });
if (newest(join(directory, 'package.json')) === 0) writeFileSync(join(directory, 'package.json'), '{"private":true}\n');
for (const major of wanted) {
  const node = join(directory, `node_modules/node${major}/bin/node`);
  const name = `node-linux-${process.arch}`;
  if (newest(node) === 0) {
    run('npm', ['install', '--no-audit', '--no-fund', '--no-save', `node${major}@npm:${name}@${major}`], {
      cwd: directory,
    });
  }
  run(node, ['scripts/test.mjs']);
}
