// Installs the packed package as users do, with every package manager, in an empty folder: added, then again from the lockfile, then
// something else beside it. There is an empty HOME, and on the PATH only Node and a shell: no compiler. Nobody may warn of anything, and
// afterwards the package connects on every Node.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { root } from './lib.mjs';
import { nodes } from './nodes.mjs';

/** Any other package. */
const OTHER = 'ms@2.1.3';

const [THIS] = process.versions.node.split('.');
const modules = join(root, 'scripts/package/node_modules');
const inNode = (path) => ['node', join(modules, path)];
const npms = join(root, 'scripts/npm/node_modules');
const bun = join(modules, `@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`);

/** `major`: the Node that it runs on, when not any. `warns`: what none of its lines may look like. `run`: how it starts a program. */
const MANAGERS = [
  ...['10', '11', '12'].map((major) => ({
    name: `npm ${major}`,
    ...(major === '12' && { major: '24' }),
    command: ['node', join(npms, `npm${major}/bin/npm-cli.js`)],
    steps: (tarball) => [['install', `./${tarball}`], ['ci'], ['install', OTHER]],
    warns: /warn|error/i,
  })),
  {
    name: 'yarn 1',
    command: inNode('yarn1/bin/yarn.js'),
    // With an absolute path no package at all can be installed from its lockfile again.
    steps: (tarball) => [
      ['add', `./${tarball}`],
      ['install', '--frozen-lockfile'],
      ['add', OTHER],
    ],
    warns: /warn|error/i,
  },
  ...['node-modules', 'pnp'].map((linker) => ({
    name: `yarn 4, ${linker}`,
    command: inNode('yarn4/bin/yarn.js'),
    files: { 'yarn.lock': '', '.yarnrc.yml': `enableTelemetry: false\nnodeLinker: ${linker}\n` },
    steps: (tarball) => [
      ['add', `connectx@file:./${tarball}`],
      ['install', '--immutable'],
      ['add', OTHER],
    ],
    // Each line has a code: a step, something fetched, or added. All others are warnings; 0092 is of Node's way to load ES modules.
    warns: /YN(?!0000|0013|0019|0085|0092)\d+/,
    ...(linker === 'pnp' && { run: [...inNode('yarn4/bin/yarn.js'), 'node'] }),
  })),
  {
    name: 'pnpm 10',
    command: inNode('pnpm10/bin/pnpm.cjs'),
    steps: (tarball) => [
      ['add', `./${tarball}`],
      ['install', '--frozen-lockfile'],
      ['add', OTHER],
    ],
    warns: /warn|error|ignored/i,
  },
  {
    name: 'bun',
    command: [bun],
    steps: (tarball) => [
      ['add', `./${tarball}`],
      ['install', '--frozen-lockfile'],
      ['add', OTHER],
    ],
    warns: /warn|error|blocked/i,
  },
];

const PROGRAM = `
import { once } from 'node:events';
import { createServer } from 'node:net';
import { capabilities, connect } from 'connectx';

const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
await once(server, 'listening');
const socket = connect({ host: '127.0.0.1', port: server.address().port, localAddress: '127.0.0.7' });
await once(socket, 'connect');
console.log('native', capabilities().native, 'connected from', socket.localAddress);
socket.destroy();
server.close();
`;
const SAID = 'native true connected from 127.0.0.7\n';

/** Resolves with what it printed; rejects with it when it fails or takes too long. */
async function output([command, ...args], { cwd, env }) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 900_000 });
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${signal ?? `exit ${status}`}\n${stdout}${stderr}`);
  return { stdout, stderr };
}

/** The variables of a user who has just got the machine; those that lead to the network stay. */
function newcomer(home, path) {
  const kept = Object.entries(process.env).filter(([name]) => /(proxy|CERT|CA_BUNDLE|registry)/i.test(name));
  return {
    ...Object.fromEntries(kept),
    HOME: home,
    PATH: path,
    NO_COLOR: '1',
    npm_config_audit: 'false',
    npm_config_update_notifier: 'false',
  };
}

/** Node of this major, or this one, and a shell. */
function pathWith(folder, node) {
  const path = mkdtempSync(join(folder, 'path-'));
  symlinkSync(node, join(path, 'node'));
  symlinkSync(realpathSync('/bin/sh'), join(path, 'sh'));
  return path;
}

async function tryManager({ name, major, command, steps, warns, run = ['node'], files = {} }, tarball, folder, paths) {
  const app = mkdtempSync(join(folder, 'app-'));
  const manifest = { name: 'app', version: '1.0.0', license: 'MIT', private: true, type: 'module' };
  const all = { ...files, 'package.json': JSON.stringify(manifest), 'connect.mjs': PROGRAM };
  for (const [file, content] of Object.entries(all)) writeFileSync(join(app, file), content);
  cpSync(tarball, join(app, basename(tarball)));
  const home = join(folder, 'home');
  const at = (path) => ({ cwd: app, env: newcomer(home, path) });
  const of = ([program, ...args], path) => [program === 'node' ? join(path, 'node') : program, ...args];
  const own = paths[major ?? THIS];
  const [first, ...rest] = steps(basename(tarball));
  for (const step of [first, ...rest]) {
    const { stdout, stderr } = await output(of([...command, ...step], own), at(own));
    const said = `${stdout}${stderr}`.split('\n').filter((line) => warns.test(line));
    if (said.length > 0) throw new Error(`${name}, ${step[0]}:\n${said.join('\n')}`);
    // As if the project came to another machine, with its lockfile.
    if (step === first) rmSync(join(app, 'node_modules'), { recursive: true, force: true });
  }
  for (const [node, path] of Object.entries(paths)) {
    const { stdout } = await output(of([...run, 'connect.mjs'], path), at(path));
    if (stdout !== SAID) throw new Error(`${name}, on Node ${node}: ${stdout}`);
  }
  console.log(
    `${name}: installed, again from its lockfile, and beside another package; connects on ${Object.keys(paths).join(', ')}`,
  );
}

const [npm] = MANAGERS.filter(({ name }) => name === 'npm 11');

/** An npm project, on the PATH of this process: there is a compiler. */
function project(folder) {
  const app = mkdtempSync(join(folder, 'app-'));
  writeFileSync(join(app, 'package.json'), '{"private":true,"type":"module"}\n');
  writeFileSync(join(app, 'connect.mjs'), PROGRAM);
  // The headers beside this Node will do, and save a download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {};
  return { cwd: app, env: { ...newcomer(join(folder, 'home'), process.env.PATH), ...headers } };
}

async function connects(at, what) {
  const { stdout } = await output([process.execPath, 'connect.mjs'], at);
  if (stdout !== SAID) throw new Error(stdout);
  console.log(`${what}: connects`);
}

/** The command of docs/install.md, in a project whose connectx has no binary. */
async function buildFromSource(tarball, folder) {
  const at = project(folder);
  await output([...npm.command, 'install', tarball], at);
  rmSync(join(at.cwd, 'node_modules/connectx/prebuilds'), { recursive: true });
  const page = readFileSync(join(root, 'docs/install.md'), 'utf8');
  const [, command] = /^<!-- run by npm run package:check -->\n\n```sh\n(.*)\n```$/m.exec(page) ?? [];
  if (command === undefined) throw new Error('docs/install.md has no command that builds the addon');
  await output(['sh', '-euc', command], at);
  await connects(at, 'built from the source in the package');
}

/** As a dependency out of a Git repository: this one, as it was committed last. */
async function installFromGit(tarball, folder) {
  const clone = join(folder, 'clone');
  await output(['git', 'clone', '--quiet', root, clone], { cwd: root, env: process.env });
  const at = project(folder);
  await output([...npm.command, 'install', '--no-save', `git+file://${clone}`], at);
  await connects(at, 'installed from Git');
}

/** Tries all of that, two at a time; throws what went wrong. */
export async function tryManagers(tarball) {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-managers-'));
  try {
    mkdirSync(join(folder, 'home'));
    const others = nodes(['22', '24', '26']);
    const all = { ...others, [THIS]: process.execPath };
    const paths = Object.fromEntries(Object.entries(all).map(([major, node]) => [major, pathWith(folder, node)]));
    const missing = MANAGERS.map(({ command }) => command.at(-1)).filter((file) => !existsSync(file));
    if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}`);
    // The longest first.
    const waiting = [
      { name: 'from Git', attempt: () => installFromGit(tarball, folder) },
      { name: 'from source', attempt: () => buildFromSource(tarball, folder) },
      ...MANAGERS.map((manager) => ({
        name: manager.name,
        attempt: () => tryManager(manager, tarball, folder, paths),
      })),
    ];
    const failures = [];
    const work = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const { name, attempt } = next;
        await attempt().catch((error) => failures.push(`${name}: ${error.message}`));
      }
    };
    await Promise.all([work(), work()]);
    if (failures.length > 0) throw new Error(failures.join('\n'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
