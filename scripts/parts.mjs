// The packages that the commands of this project use, in folders of their own: each is installed by the commands that need it, when
// they need it, and whoever only tries the project gets the first.
import { readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { newest, root, run } from './lib.mjs';

/**
 * `megabytes`: on disk, on x64. `isLocked`: whether it has a lockfile. `link`: where else they are found. (A package.json in test/ would make the tests a package of their own,
 * and `connectx` would not be this one.)
 */
export const parts = {
  project: { folder: '.', what: 'compilers, the test runner and linters', megabytes: 145 },
  tests: {
    folder: 'test/libraries',
    link: 'test/node_modules',
    what: 'clients and servers that the tests use',
    megabytes: 67,
  },
  package: { folder: 'scripts/package', what: 'package managers and linters of packages', megabytes: 271 },
  npm: { folder: 'scripts/npm', what: 'the releases of npm that users have', megabytes: 55, isLocked: false },
  zig: { folder: 'scripts/zig', what: 'Zig, which compiles for every target', megabytes: 395 },
};

/** The size of the files below the folder, in bytes. */
function sizeOf(folder) {
  let size = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) size += sizeOf(path);
    else if (entry.isFile()) size += statSync(path).blocks * 512;
  }
  return size;
}

/** Installs the packages of this part, unless they are there and as its lockfile, or package.json, says. */
export function install(name) {
  const { folder, link, what, megabytes, isLocked = true } = parts[name];
  const at = join(root, folder);
  const installed = join(at, 'node_modules/.package-lock.json');
  if (newest(installed) >= newest(join(at, isLocked ? 'package-lock.json' : 'package.json'))) return;
  const where = folder === '.' ? 'node_modules' : `${folder}/node_modules`;
  console.log(`Installing ${what}: about ${megabytes} MB in ${where}`);
  // No package here needs its install script, and npm names each whose script it did not run. Only the packages of the project
  // itself have to fit every Node: for the others npm would warn of those that a test or check leaves out on an older one.
  const quiet = name === 'project' ? [] : ['--loglevel=error'];
  const how = isLocked ? ['ci'] : ['install', '--no-package-lock'];
  run('npm', [...how, '--ignore-scripts', '--no-audit', '--no-fund', '--no-json', ...quiet], { cwd: at });
  if (link !== undefined) {
    const from = join(root, link);
    rmSync(from, { recursive: true, force: true });
    symlinkSync(relative(dirname(from), join(at, 'node_modules')), from);
  }
  const size = Math.round(sizeOf(join(at, 'node_modules')) / 1e6);
  if (Math.abs(size - megabytes) > 0.2 * megabytes) {
    console.log(`These are ${size} MB, and scripts/parts.mjs says ${megabytes}.`);
    if (process.env.CI === 'true') process.exit(1);
  }
}
