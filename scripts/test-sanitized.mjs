// Runs the tests over an addon that is built with AddressSanitizer and UndefinedBehaviorSanitizer, and then
// counts what it has allocated and not freed: `npm run test:sanitized [-- vitest arguments]`. All of it happens in a copy
// of this folder, so that the addon in place stays what it is.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { commandOf, report, root, run, summaryIn } from './lib.mjs';
import { install } from './parts.mjs';

// Of test/process: leaks* look at the resident set, which is the sanitizer's here, and their limits are meant for a plain process; udp-contest
// makes 40,000 attempts, for which its limit of time does not suffice; the others build an addon of their own or look for one in a certain place,
// which is not this one. test/model has no addon, and test/tooling is not about it.
const LEFT_OUT = [
  ...['leaks', 'leaks-given-up', 'leaks-limits', 'udp-contest'],
  ...['bundlers', 'loader', 'package', 'permission'],
].map((name) => `${name}.test.ts`);
const OF_PROCESSES = readdirSync(join(root, 'test/process')).filter((name) => !LEFT_OUT.includes(name));
const SUITES = [
  'test/unit',
  'test/kernel',
  'test/faults',
  'test/ecosystem',
  ...OF_PROCESSES.map((name) => `test/process/${name}`),
];

const wanted = process.argv.slice(2);
const left = new Set(['node_modules', '.git', '.nodes', 'build', 'prebuilds', 'coverage']);
const directory = mkdtempSync(join(tmpdir(), 'connectx-sanitized-'));
const copy = join(directory, 'connectx');
const logs = join(directory, 'sanitizer');
const summary = join(directory, 'summary.json');
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** What the sanitizers wrote, in whatever process. */
function reports() {
  const names = readdirSync(directory).filter((name) => name.startsWith(basename(logs)));
  return names.map((name) => readFileSync(join(directory, name), 'utf8')).join('\n');
}

const rows = [];

/** What it has come to so far, in reports/. */
function keep() {
  report('sanitized', commandOf('test:sanitized', wanted), rows);
}

function fail(why) {
  keep();
  console.error(`${reports()}\n${why}`);
  process.exit(1);
}

install('tests');
cpSync(root, copy, { recursive: true, preserveTimestamps: true, filter: (path) => !left.has(basename(path)) });
for (const folder of ['node_modules', 'test/libraries/node_modules', 'test/node_modules']) {
  symlinkSync(join(root, folder), join(copy, folder));
}
run(process.execPath, ['scripts/build-native.mjs', '-Dsanitize=address,undefined'], { cwd: copy });

// The addon comes into a process that is not instrumented, so that its runtime has to be there before.
const library = execFileSync('c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
if (!existsSync(library)) fail('There is no libasan.so: on Debian and Ubuntu it comes with g++.');
const sanitized = (leaks) => ({
  ...process.env,
  LD_PRELOAD: library,
  CONNECTX_TEST_SUMMARY: summary,
  ASAN_OPTIONS: `detect_leaks=${leaks}:detect_stack_use_after_return=1:log_path=${logs}:exitcode=99`,
  UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:log_path=${logs}`,
});
const node = (args, leaks) => spawnSync(process.execPath, args, { cwd: copy, stdio: 'inherit', env: sanitized(leaks) });

// A plain addon would find no fault in anything.
const check = `
  if (!require('connectx').capabilities().native) throw require('connectx').capabilities().nativeError;
  const { sharedObjects } = process.report.getReport();
  for (const name of ['asan', 'ubsan', 'connectx.node']) {
    if (!sharedObjects.some((path) => path.includes(name))) throw new Error(name + ' is not loaded');
  }`;
if (node(['-e', check], 0).status !== 0) fail('The addon of the copy is not instrumented.');

// Programs that the tests start do not free all that they have: leaks are looked for below.
const { status } = node(['scripts/test.mjs', ...(wanted.length > 0 ? wanted : SUITES)], 0);
const { passed, failed } = summaryIn(summary);
const faulty = failed + (reports() === '' ? 0 : 1);
rows.push({
  what: 'the tests, with AddressSanitizer and UndefinedBehaviorSanitizer',
  tried: passed + failed,
  failed: faulty,
  detail: wanted.length > 0 ? wanted.join(', ') : '',
});
if (status !== 0 || faulty > 0) {
  fail('With AddressSanitizer and UndefinedBehaviorSanitizer: failed.');
}

const leak = `
  const { connect } = require('connectx');
  const sys = require('connectx/sys');
  const target = { host: '127.0.0.1', port: 9 };
  const calls = [
    () => sys.close(sys.socket(2, 1)),
    () => sys.getsockname(fd),
    () => sys.getpeername(fd),
    () => sys.getsockopt(fd, 1, 57, 8),
    () => sys.setsockopt(fd, 1, 9, new Uint8Array(4)),
    () => sys.setsockopt(fd, 1, 9999, 1),
    () => sys.bind(fd, { address: 'fe80::1%nosuch0', port: 1 }),
    () => sys.connect(fd, { address: '192.0.2.1', port: 1 }),
    () => connect({ ...target, localAddress: '127.0.0.1' }),
    () => connect({ ...target, localAddress: '192.0.2.1' }),
    () => connect({ ...target, localPort: 20000 }),
    () => connect({ ...target, localPortRange: [900, 910] }),
    () => connect({ ...target, interface: 'lo', socketOptions: [{ level: 1, name: 9, value: new Uint8Array(4) }] }),
  ];
  const fd = sys.socket(2, 1);
  let call = 0;
  for (; call < 200 * calls.length; call++) {
    try {
      calls[call % calls.length]()?.on?.('error', () => {});
    } catch {}
  }
  sys.close(fd);
  console.log(call);`;
const { status: leakStatus, stdout: calls } = spawnSync(process.execPath, ['-e', leak], {
  cwd: copy,
  stdio: ['ignore', 'pipe', 'inherit'],
  encoding: 'utf8',
  env: sanitized(1),
});
const leaks = leakStatus !== 0 || reports() !== '';
rows.push({ what: 'calls, with LeakSanitizer', tried: Number(calls), failed: leaks ? 1 : 0, detail: '' });
if (leaks) fail('With LeakSanitizer: failed.');
keep();

console.log('\nWith AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer: nothing found.');
