// Runs tests under other kernels, each in a virtual machine: `npm run test:kernels [-- 5.10 6.1 6.12 newest arm64] [-- files]`.
// A kernel is a release that Debian has; `newest` is that of the backports, and `arm64` the newest stable one on that
// architecture. What came of it goes to reports/.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { arm64 } from './kernels/arm64.mjs';
import { keep } from './kernels/keep.mjs';
import { kernel } from './kernels/kernel.mjs';
import { boot } from './kernels/machine.mjs';
import { report, root, works } from './lib.mjs';

const HERE = { root: '/', project: root, node: realpathSync(process.execPath) };
const neededOf = ({ project, node }) => keep([project, dirname(dirname(node))]);

// What depends on the kernel. On the other architecture a part of it has to do: there is no compiler and no Python in that guest,
// which sys.test.ts uses.
const FILES = ['test/kernel', 'test/process/tcp-contest.test.ts', 'test/process/udp-contest.test.ts'];
const FILES_ARM64 = ['tcp-tables', 'tcp-options', 'udp-tables', 'port-usage'].map(
  (name) => `test/kernel/${name}.test.ts`,
);

const MACHINES = new Map([
  ...['5.10', '6.1', '6.12', 'newest'].map((version) => [version, { version, architecture: 'amd64', files: FILES }]),
  ['arm64', { version: '6.12', architecture: 'arm64', files: FILES_ARM64 }],
]);
const machineOf = (name) => MACHINES.get(name) ?? { version: name, architecture: 'amd64', files: FILES };

// At most, for one of them.
const SECONDS = 2 * 3600;
// An emulated processor, beside others who work.
const SLOWNESS = 10;

const given = process.argv.slice(2).filter((argument) => argument !== '--');
const isMachine = (argument) => MACHINES.has(argument) || /^\d+\.\d+$/.test(argument);
const names = given.filter(isMachine);
const files = given.filter((argument) => !isMachine(argument));
const wanted = names.length > 0 ? names : [...MACHINES.keys()];

const forArm64 = [
  ['qemu-system-aarch64', 'qemu-system-arm'],
  ['aarch64-linux-gnu-g++', 'g++-aarch64-linux-gnu'],
];
const missing = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['cpio', 'cpio'],
  ['xz', 'xz-utils'],
  ['/sbin/depmod', 'kmod'],
  ...(wanted.includes('arm64') ? forArm64 : []),
].filter(([command]) => !works(command, ['--version']));
try {
  neededOf(HERE);
} catch (error) {
  console.error(`${error.message} Clone the project elsewhere.`);
  process.exit(1);
}
if (missing.length > 0) {
  console.error(`This needs Debian's packages ${missing.map(([, name]) => name).join(', ')}.`);
  process.exit(1);
}

const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** What the guest does. */
function script({ project, node }, tests) {
  const reporters = ['default', './test/helpers/reporter.ts', 'json'].map((name) => `--reporter=${name}`);
  const args = [...reporters, '--outputFile.json=/run/guest/report.json', ...tests];
  return `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root NO_COLOR=1 CONNECTX_TEST_SLOWNESS=${SLOWNESS}
export PATH HOME NO_COLOR CONNECTX_TEST_SLOWNESS
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
# No module is loaded for whoever opens a device that is not there.
modprobe tun
cd ${quote(project)}
${quote(node)} scripts/kernels/describe.mjs >/run/guest/machine.json
${quote(node)} scripts/test.mjs ${args.map(quote).join(' ')}
echo $? >/run/guest/status
`;
}

/** A row for each test file, and one for what the kernel has. */
function resultsIn(folder, project) {
  const read = (name) => {
    const file = join(folder, name);
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    // A program that did not even start leaves it empty.
    if (text === '') throw new Error(`the guest left no ${name}: see what it printed`);
    return JSON.parse(text);
  };
  const { machine, capabilities } = read('machine.json');
  const rows = read('report.json').testResults.map(({ name, assertionResults, message }) => {
    const inState = (...states) => assertionResults.filter(({ status }) => states.includes(status));
    const failed = inState('failed').map(({ fullName }) => fullName);
    // A file that cannot even be loaded has no tests.
    if (assertionResults.length === 0) failed.push(message);
    const left = inState('skipped', 'pending', 'todo').length;
    const detail = [left > 0 && `${left} left out`, ...failed].filter(Boolean).join('; ');
    const tried = Math.max(assertionResults.length - left, failed.length);
    return { what: relative(project, name), tried, failed: failed.length, detail };
  });
  // Whatever failed outside of a test: an error that nobody caught, say, or a file that was not found.
  const status = read('status');
  if (status !== 0 && rows.every(({ failed }) => failed === 0)) {
    rows.push({ what: 'vitest', tried: 1, failed: 1, detail: `exit code ${status}` });
  }
  return { machine, rows, capabilities };
}

let failures = 0;
for (const name of wanted) {
  const { version, architecture, files: usual } = machineOf(name);
  const linux = kernel(version, architecture);
  const place = architecture === 'amd64' ? HERE : arm64();
  console.log(`\nLinux ${linux.release}`);
  const begun = performance.now();
  const { accelerator, machine, rows, capabilities } = await boot(
    {
      kernel: linux,
      architecture,
      root: place.root,
      kept: neededOf(place),
      script: script(place, files.length > 0 ? files : usual),
      seconds: SECONDS,
    },
    (accelerator, folder) => ({ accelerator, ...resultsIn(folder, place.project) }),
  );
  const minutes = Math.round((performance.now() - begun) / 6000) / 10;
  const command = ['npm run test:kernels --', name, ...files].join(' ');
  const found = {
    what: 'capabilities()',
    tried: 1,
    failed: capabilities.native ? 0 : 1,
    detail: JSON.stringify(capabilities),
  };
  report(`kernel-${name}`, command, [...rows, found], { ...machine, accelerator, minutes });
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  const counts = `${sum('tried') - sum('failed')} passed, ${sum('failed')} failed`;
  console.log(`Linux ${machine.kernel}: ${counts}, in ${minutes} minutes (${accelerator})`);
  failures += sum('failed') + found.failed;
}
process.exit(failures > 0 ? 1 : 0);
