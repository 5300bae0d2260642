// Makes a fresh clone ready: dependencies, addon, JavaScript; whatever is up to date is left alone. No package is needed to
// run it.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { newest, root, run, works } from './lib.mjs';

const at = (...names) => names.map((name) => join(root, name));

if (newest(...at('node_modules/.package-lock.json')) < newest(...at('package.json', 'package-lock.json'))) {
  run('npm', ['ci', '--no-audit', '--no-fund']);
}

if (process.platform === 'linux') {
  // Below test/native the build folder is no source.
  const tests = readdirSync(join(root, 'test/native')).filter((name) => /\.(cc|gyp)$/.test(name));
  const sources = newest(...at('native', 'binding.gyp'), ...tests.map((name) => join(root, 'test/native', name)));
  const addons = ['netns', 'sandbox', 'bpf', 'answers', 'codec', 'faults'].map(
    (name) => `test/native/build/Release/${name}.node`,
  );
  const built = at('build/Release/connectx.node', ...addons).map((file) => newest(file));
  if (Math.min(...built) < sources) {
    const missing = [
      ['make', ['--version']],
      ['c++', ['--version']],
      ['python3', ['--version']],
    ].filter(([command, args]) => !works(command, args));
    if (missing.length > 0) {
      const names = missing.map(([command]) => command).join(', ');
      console.error(`Building the addon needs ${names}. On Debian and Ubuntu: apt-get install make g++ python3`);
      process.exit(1);
    }
    run(process.execPath, ['scripts/build-native.mjs']);
  }
}

if (newest(...at('dist/index.js')) < newest(...at('src', 'tsconfig.json', 'package.json', 'scripts/build-ts.mjs'))) {
  run(process.execPath, ['scripts/build-ts.mjs']);
}
