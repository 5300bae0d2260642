// Feeds the decoders of the addon, built with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, with inputs that
// look for new ways through the code: `npm run fuzz [-- --seconds N] [--keep] [target ...]`. The seeds are in test/fuzz/corpus;
// --keep adds what was found to them. How many inputs were tried goes to reports/fuzz.json.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { report, root, run, works } from './lib.mjs';

const fuzz = join(root, 'test/fuzz');
const known = readdirSync(fuzz)
  .filter((name) => name.endsWith('.cc'))
  .map((name) => name.slice(0, -3));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '20' }, keep: { type: 'boolean' } },
});
const seconds = Number(values.seconds);
const targets = positionals.length > 0 ? positionals : known;
const unknown = targets.find((target) => !known.includes(target));
if (unknown !== undefined || !Number.isInteger(seconds) || seconds < 1) {
  console.error(`Usage: npm run fuzz [-- --seconds N] [--keep] [${known.join(' | ')} ...]`);
  process.exit(2);
}
if (!works('clang++', ['--version'])) {
  console.error('Fuzzing needs clang with its runtime libraries: scripts/install-servers installs them.');
  process.exit(1);
}

const native = join(root, 'native');
const FLAGS = [`-I${native}`, '-std=c++17', '-g', '-O1', '-fno-omit-frame-pointer', '-D_GNU_SOURCE'];
const SANITIZE = '-fsanitize=fuzzer,address,undefined';
const SOURCES = [
  ...['os', 'address', 'socket_options', 'netlink/message', 'netlink/sock_diag', 'netlink/route', 'netlink/links'],
  ...['netlink/diag_dump', 'netlink/socket_table', 'udp/control'],
];

const directory = mkdtempSync(join(tmpdir(), 'connectx-fuzz-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const reports = join(root, 'reports');
mkdirSync(reports, { recursive: true });

// The addon's own sources once, for all of the targets.
const objects = SOURCES.map((name) => join(directory, `${basename(name)}.o`));
for (const [index, name] of SOURCES.entries()) {
  const sanitize = [SANITIZE.replace('fuzzer', 'fuzzer-no-link'), '-fno-sanitize-recover=all'];
  run('clang++', [...FLAGS, ...sanitize, '-c', join(native, `${name}.cc`), '-o', objects[index]]);
}

const summary = [];
for (const target of targets) {
  const program = join(directory, target);
  const source = join(fuzz, `${target}.cc`);
  run('clang++', [...FLAGS, SANITIZE, '-fno-sanitize-recover=all', source, ...objects, '-o', program]);
  const seeds = join(fuzz, 'corpus', target);
  const corpus = join(directory, `${target}-corpus`);
  mkdirSync(corpus);
  if (existsSync(seeds)) cpSync(seeds, corpus, { recursive: true });
  const before = readdirSync(corpus).length;
  const args = [
    `-max_total_time=${seconds}`,
    '-max_len=1024',
    '-timeout=5',
    '-rss_limit_mb=1024',
    '-print_final_stats=1',
    `-artifact_prefix=${join(reports, `${target}-`)}`,
    corpus,
  ];
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const inputs = Number(/number_of_executed_units: (\d+)/.exec(stderr)?.[1] ?? 0);
  if (status !== 0 || inputs === 0) {
    console.error(`${stderr.slice(-8000)}\n${target}: failed. The input is in ${reports}.`);
    process.exit(1);
  }
  const [, coverage = '0'] = [...stderr.matchAll(/cov: (\d+)/g)].at(-1) ?? [];
  console.log(`${target}: ${inputs} inputs in ${seconds} s, from ${before} seeds; ${coverage} edges; nothing found`);
  summary.push({
    what: target,
    tried: inputs,
    failed: 0,
    detail: `${seconds} s, from ${before} seeds; ${Number(coverage)} edges`,
  });
  if (!values.keep) continue;
  mkdirSync(seeds, { recursive: true });
  const small = join(directory, `${target}-small`);
  mkdirSync(small);
  execFileSync(program, ['-merge=1', small, corpus], { stdio: 'ignore' });
  rmSync(seeds, { recursive: true });
  cpSync(small, seeds, { recursive: true });
}
report('fuzz', `npm run fuzz -- --seconds ${seconds}`, summary);
