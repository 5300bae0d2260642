// Makes a fresh clone ready: packages, addon, JavaScript; whatever is up to date is left alone. `npm run setup`, and `npm run setup --
// all` with the packages of every command (scripts/parts.mjs). No package is needed to run it.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { newest, root, run, works } from './lib.mjs';
import { install, parts } from './parts.mjs';

const given = process.argv.slice(2);
const unknown = given.find((name) => name !== 'all' && !(name in parts));
if (unknown !== undefined) {
  console.error(`Usage: npm run setup [-- all | ${Object.keys(parts).join(' | ')} ...]`);
  process.exit(2);
}

const at = (...names) => names.map((name) => join(root, name));

/** Whether an addon is missing, or older than what it is built of. */
function addonIsStale() {
  if (process.platform !== 'linux') return false;
  // Below test/native the build folder is no source.
  const tests = readdirSync(join(root, 'test/native')).filter((name) => /\.(cc|gyp)$/.test(name));
  const sources = newest(...at('native', 'binding.gyp'), ...tests.map((name) => join(root, 'test/native', name)));
  const addons = ['netns', 'sandbox', 'bpf', 'answers', 'codec', 'faults'].map(
    (name) => `test/native/build/Release/${name}.node`,
  );
  const built = at('build/Release/connectx.node', ...addons).map((file) => newest(file));
  return Math.min(...built) < sources;
}

// Before anything is downloaded.
const stale = addonIsStale();
if (stale) {
  const missing = ['make', process.env.CXX ?? 'g++', 'python3'].filter((command) => !works(command, ['--version']));
  if (missing.length > 0) {
    const names = missing.join(', ');
    console.error(`Building the addon needs ${names}. On Debian and Ubuntu: apt-get install make g++ python3`);
    process.exit(1);
  }
}

install('project');
if (stale) {
  console.log('Building the addon, and those of the tests: less than a minute');
  run(process.execPath, ['scripts/build-native.mjs']);
}
if (newest(...at('dist/index.js')) < newest(...at('src', 'tsconfig.json', 'package.json', 'scripts/build-ts.mjs'))) {
  console.log('Building dist/');
  run(process.execPath, ['scripts/build-ts.mjs']);
}
for (const name of Object.keys(parts)) if (given.includes(name) || given.includes('all')) install(name);
