// Every block of code in the documentation is run, or its page says how else it is checked, and that is checked here. Its types are
// checked by docs-types.test.ts.
import { execFile } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { usageTable } from '../../src/cli/table.js';
import { doctorText, plain } from '../../src/cli/text.js';
import type { PortUsage } from '../../src/usage/usage.js';
import { type Block, blocks, pages, read, root } from '../helpers/documents.js';
import { libraryFolder } from '../helpers/libraries.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { javaScriptOf, recipesOf } from '../helpers/recipes.js';
import { track } from '../helpers/sockets.js';

const LANGUAGES = ['js', 'ts', 'diff', 'sh', 'text', 'json', 'mermaid'];
const titleOf = ({ page, line }: Block) => `${page}, line ${line}`;
const blocksIn = (language: string) =>
  blocks.filter((block) => block.language === language).map((block) => [titleOf(block), block] as const);
// The recipes are run by recipes-*.test.ts, with the libraries that they are for.
const RECIPES = 'docs/recipes.md';
const runnable = (language: string) =>
  blocksIn(language).filter(([, block]) => block.directive === undefined && block.page !== RECIPES);

// What the blocks find: packages, and programs of a user.
const APP = `
import net from 'node:net';
const socket = net.connect({ host: '203.0.113.10', port: 80, localAddress: '192.0.2.7' }, () => {
  console.log('app.js is connected from', socket.localAddress);
  socket.destroy();
});
`;
const PACKAGES = ['prom-client', 'undici'];

/** A folder in which `connectx` is installed as it is for a user. */
function project(files: Record<string, string>): string {
  const manifest = { type: 'module', scripts: { start: 'node app.js' } };
  const folder = folderWith({ 'package.json': JSON.stringify(manifest), 'app.js': APP, hosts: HOSTS, ...files });
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '.bin'), { recursive: true });
  symlinkSync(root, join(modules, 'connectx'));
  for (const name of PACKAGES) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(libraryFolder(name === 'undici' ? 'undici7' : name), join(modules, name));
  }
  return folder;
}

/** The lines that the block says that it prints. */
function promised({ code }: Block): string[] {
  return [...code.matchAll(/(?:\/\/|#) prints (.*?)( \(twice\))?$/gm)].flatMap(({ 1: line = '', 2: twice }) =>
    twice === undefined ? [line] : [line, line],
  );
}

// What the pages say of their examples: these addresses are ours, and these servers are there.
const OURS = ['192.0.2.7', '2001:db8::7'];
const SERVERS = ['203.0.113.10', '203.0.113.11', '2001:db8:1::10'];
const HOSTS = '127.0.0.1 localhost\n203.0.113.10 example.org\n2001:db8:1::10 example.org\n';

/** Runs a program in the folder, and returns what it prints; names are looked up in a hosts file of its own. */
async function run(folder: string, ...command: string[]): Promise<string[]> {
  need('mount');
  const script = 'mount --bind hosts /etc/hosts && exec "$@"';
  const path = [dirname(process.execPath), join(folder, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const { stdout, stderr } = await promisify(execFile)('unshare', ['-m', 'sh', '-ec', script, 'sh', ...command], {
    cwd: folder,
    timeout: 20_000,
    env: { ...process.env, PATH: path, npm_config_loglevel: 'error' },
  });
  expect(stderr).toBe('');
  return stdout.split('\n').filter(Boolean);
}

/** It prints what it promises; an example that promises nothing has to print something, or nobody would see it fail. */
function expectPromised(block: Block, lines: readonly string[]): void {
  const expected = promised(block);
  if (expected.length > 0) expect(lines).toEqual(expected);
  else expect(lines).not.toEqual([]);
}

describeIsolated('the examples', () => {
  useNetwork({ range: [32768, 60999], addresses: [...OURS, ...SERVERS] });
  beforeEach(async () => {
    for (const host of SERVERS) {
      const server = track(http.createServer((_, response) => response.end('hello\n')).listen(80, host));
      server.on('connection', (socket) => track(socket));
      await once(server, 'listening');
      const echo = track(dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4'));
      echo.on('message', (message, { port, address }) => echo.send(message, port, address));
      echo.bind(5300, host);
      await once(echo, 'listening');
    }
  });

  test.each(runnable('js'))('js: %s', async (_, block) => {
    expectPromised(block, await run(project({ 'example.mjs': block.code }), process.execPath, 'example.mjs'));
  });

  test.each(runnable('ts'))('ts: %s', async (_, block) => {
    const files = { 'example.mjs': javaScriptOf(block.code) };
    expectPromised(block, await run(project(files), process.execPath, 'example.mjs'));
  });

  // Both the program before the change and the one after it.
  test.each(runnable('diff'))('diff: %s', async (_, block) => {
    for (const side of ['-', '+']) {
      const lines = block.code
        .split('\n')
        .filter((line) => line === '' || line.startsWith(' ') || line.startsWith(side));
      expect(lines.some((line) => line.startsWith(side))).toBe(true);
      const code = lines.map((line) => line.slice(1)).join('\n');
      expectPromised(block, await run(project({ 'example.mjs': code }), process.execPath, 'example.mjs'));
    }
  });

  test.each(runnable('sh'))('sh: %s', async (_, block) => {
    need(...['sysctl', 'ss', 'tc'].filter((name) => new RegExp(`^(sudo )?${name} `, 'm').test(block.code)));
    const folder = project({ 'example.sh': block.code });
    // As npm installs it: a program.
    const program = join(folder, 'node_modules/.bin/connectx');
    writeFileSync(program, `#!/bin/sh\nexec node ${join(root, 'dist/cli.js')} "$@"\n`, { mode: 0o755 });
    expectPromised(block, await run(folder, 'sh', '-eu', 'example.sh'));
  });
});

describe('what is not run here', () => {
  // By page: why a block of it cannot be run by a test. Whoever adds one adds it here.
  const NOT_RUN: readonly (readonly [page: string, why: string])[] = [
    ['CONTRIBUTING.md', 'they are the checks themselves, and the benchmarks'],
    ['bench/README.md', 'it takes minutes'],
    ['docs/benchmarks.md', 'it takes minutes'],
    ['docs/million.md', 'it takes minutes'],
  ];

  const directives = blocks.filter(({ directive }) => directive !== undefined);
  const saying = (begin: string) =>
    directives
      .filter(({ directive = '' }) => directive.startsWith(begin))
      .map((block) => [titleOf(block), block, block.directive?.slice(begin.length) ?? ''] as const);

  test('a page says of a block how it is checked, and in these ways only', () => {
    const data = [...runnable('json'), ...runnable('mermaid')];
    expect(data.map(([title]) => title)).toEqual([]);
    const known = [...saying('not run: '), ...saying('run by '), ...saying('output of ')].map(([title]) => title);
    expect(directives.map(titleOf).filter((title) => !known.includes(title))).toEqual([]);
    expect(saying('not run: ').map(([, { page }, why]) => [page, why])).toEqual(expect.arrayContaining([...NOT_RUN]));
    expect(saying('not run: ')).toHaveLength(NOT_RUN.length);
  });

  test.each(saying('not run: '))('the commands of %s exist, and so do their options', (_, { code }) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    // A script may consist of others.
    const textOf = (script: string): string =>
      (scripts[script] ?? '').replaceAll(/\bnpm run ([\w:]+)/g, (_, name: string) => textOf(name));
    const commands = code.split('\n').map((line) => line.replace(/\s*#.*/, ''));
    expect(commands.filter(Boolean)).not.toEqual([]);
    for (const command of commands.filter(Boolean)) {
      const [, script] = /^npm (?:run )?([\w:]+)/.exec(command) ?? [];
      const text = script === undefined || script === 'ci' ? command : textOf(script);
      const files = [...text.matchAll(/\b(?:node )?([\w/-]+\.mjs|scripts\/[\w-]+)/g)].map(([, file = '']) => file);
      const isNpms = /^(npm ci|npm run types)/.test(command);
      expect([command, isNpms || (files.length > 0 && files.every((file) => existsSync(join(root, file))))]).toEqual([
        command,
        true,
      ]);
      const program = files.map(read).join('\n');
      for (const [option = ''] of command.matchAll(/(?<= --)[a-z][\w-]*/g))
        expect([command, program]).toEqual([command, expect.stringContaining(option)]);
    }
  });

  // A step of CI, or a test: `<!-- run by .ci/run -->`, `<!-- run by test/... -->`, `<!-- run by npm run ... -->`.
  test.each(saying('run by '))('%s is run', (_, { code, page }, by) => {
    const steps = read('.ci/run').split('\n');
    if (by === '.ci/run') {
      const commands = code.split('\n').map((line) => line.replace(/\s*#.*/, ''));
      expect(commands.filter((command) => command !== '' && !steps.includes(command))).toEqual([]);
    } else if (by.startsWith('npm run ')) expect(steps.flatMap((step) => step.split(/[()]| && | -- /))).toContain(by);
    else expect(read(by)).toContain(page.startsWith('examples/') ? basename(dirname(page)) : page);
  });

  test('the programs of docs/recipes.md are those that its tests run', () => {
    const programs = blocks.filter(({ page }) => page === RECIPES).map(({ code }) => code);
    const tested = ['HTTP and WebSocket', 'Databases and RPC'].flatMap(recipesOf).map(({ code }) => code);
    expect(tested).toEqual(programs);
  });
});

describe('text', () => {
  const texts = blocksIn('text');
  const output = (name: string) => texts.filter(([, { directive }]) => directive === `output of ${name}`);

  test('every block of text is the output of something, or checked with its page', () => {
    // docs.test.ts reads the folders of CONTRIBUTING.md.
    const others = texts.filter(([, { directive, page }]) => directive === undefined && page !== 'CONTRIBUTING.md');
    expect(others.map(([title]) => title)).toEqual([]);
  });

  test.each(output('connectx --help'))('%s has the commands and their options, each and no other', (_, { code }) => {
    const lines = code
      .trimEnd()
      .split('\n')
      .join(' ')
      .split(/(?=connectx )/);
    const shown = lines.map((line) => [/^connectx (\w+)/.exec(line)?.[1], ...(line.match(/--[\w-]+/g) ?? [])]);
    const filters = ['protocol', 'source', 'destination', 'port'];
    const ofTable = COMMANDS.map(({ name, options }) => [
      name,
      ...options.filter((option) => !filters.includes(option.name)).map((option) => `--${option.name}`),
    ]);
    expect(shown.filter(([name]) => name !== undefined)).toEqual(ofTable);
    expect(shown.at(-1)).toEqual([undefined, '--help', '--version']);
  });

  test.each(output('connectx usage'))('%s is how it shows these figures', (_, { code }) => {
    const rows = code.trim().split('\n').slice(1);
    const usage = rows.map((row) => {
      const [protocol, localAddress = '', destination = '', used, timeWait, capacity] = row.split(/\s+/);
      const [remoteAddress = '', remotePort] = destination.split(':');
      const counts = { used: Number(used), timeWait: Number(timeWait), capacity: Number(capacity) };
      const ends = { localAddress, remoteAddress, remotePort: Number(remotePort) };
      return { protocol, family: 'IPv4', ...ends, ...counts, ratio: counts.used / counts.capacity } as PortUsage;
    });
    expect(rows.length).toBeGreaterThan(1);
    expect(`${usageTable(usage, undefined, plain).join('\n')}\n`).toBe(code);
  });

  test.each(output('connectx doctor'))('%s is how it shows this finding', (_, { code }) => {
    const [, message = '', remedy, lasting] = /^FINDING {2}(.*)\n +-> (.*)\n +for good: (.*)$/m.exec(code) ?? [];
    expect(message).toContain('listens inside the range');
    expect(doctorText([{ name: 'conflicts', level: 'finding', message, remedy, lasting }], plain)).toBe(code);
  });
});

test('every block is in a language that is checked', () => {
  expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/udp.md', 'bench/README.md']));
  expect(new Set(blocks.map(({ language }) => language))).toEqual(new Set(LANGUAGES));
});
