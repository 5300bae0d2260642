// Runs the tests on the other Node releases, from npm's node-linux-* packages:
// `npm run test:nodes [-- 22 24] [vitest arguments]`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newest, root, run } from './lib.mjs';

const given = process.argv.slice(2);
const isMajor = (argument) => /^\d\d$/.test(argument);
const majors = given.filter(isMajor);
const wanted = majors.length > 0 ? majors : ['22', '24', '26'];
const directory = join(root, '.nodes');
mkdirSync(directory, { recursive: true });
if (newest(join(directory, 'package.json')) === 0) writeFileSync(join(directory, 'package.json'), '{"private":true}\n');
const binary = (major) => join(directory, `node_modules/node${major}/bin/node`);
const missing = wanted.filter((major) => newest(binary(major)) === 0);
if (missing.length > 0) {
  const packages = missing.map((major) => `node${major}@npm:node-linux-${process.arch}@${major}`);
  run('npm', ['install', '--no-audit', '--no-fund', ...packages], { cwd: directory });
}
for (const major of wanted) {
  const env = { ...process.env, CONNECTX_TEST_COMMAND: `npm run test:nodes -- ${major}` };
  run(binary(major), ['scripts/test.mjs', ...given.filter((argument) => !isMajor(argument))], { env });
}
