// Builds the addon and the tests' own addon with node-gyp. Arguments go to gyp: -Dsanitize=address,undefined
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root, run } from './lib.mjs';

const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');

// Node-API needs no headers of a particular Node: those beside the running one will do, and save a download.
const prefix = dirname(dirname(process.execPath));
const nodedir = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];

for (const directory of [root, join(root, 'test/native')]) {
  const args = [nodeGyp, 'rebuild', '--loglevel=warn', '--jobs=max', ...nodedir, '--', ...process.argv.slice(2)];
  // make tells of each file on its standard output; what a compiler has to say comes on the other one.
  run(process.execPath, args, { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
}
