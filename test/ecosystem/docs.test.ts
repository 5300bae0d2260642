// The documentation is true: its examples run, its tables are measured, its links lead somewhere, and the demo shows what it
// says that it shows.
import { execFile, execFileSync, spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { connect } from 'connectx';
import { beforeEach, describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith, leftOutWithout } from '../helpers/programs.js';
import { connected, echoServer, exhaust, track } from '../helpers/sockets.js';

const root = join(import.meta.dirname, '../..');
const guides = readdirSync(join(root, 'docs')).filter((file) => file.endsWith('.md'));
const pages = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...guides.map((file) => `docs/${file}`)];
const read = (page: string) => readFileSync(join(root, page), 'utf8');

interface Block {
  page: string;
  line: number;
  language: string;
  code: string;
}

function blocksOf(page: string): Block[] {
  const text = read(page);
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(({ index, 1: language = '', 2: code = '' }) => ({
    page,
    line: text.slice(0, index).split('\n').length,
    language,
    code,
  }));
}

const blocks = pages.flatMap(blocksOf);
const blocksIn = (language: string) => blocks.filter((block) => block.language === language);

/** A folder in which `connectx` is installed as it is for a user, and its types. */
function project(files: Record<string, string>): string {
  const folder = folderWith(files);
  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules/connectx'));
  symlinkSync(join(root, 'node_modules/@types/node'), join(folder, 'node_modules/@types/node'));
  // An optional peer that the examples use.
  symlinkSync(join(root, 'node_modules/prom-client'), join(folder, 'node_modules/prom-client'));
  return folder;
}

/** The lines that the block says that it prints. */
function promised({ code }: Block): string[] {
  return [...code.matchAll(/\/\/ prints (.*?)( \(twice\))?$/gm)].flatMap(({ 1: line = '', 2: twice }) =>
    twice === undefined ? [line] : [line, line],
  );
}

// What the pages say of their examples: these addresses are ours, and these servers are there.
const OURS = ['192.0.2.7', '2001:db8::7'];
const SERVERS = ['203.0.113.10', '203.0.113.11', '2001:db8:1::10'];
const HOSTS = '203.0.113.10 example.org\n2001:db8:1::10 example.org\n';

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

  // The recipes are run by recipes-*.test.ts, with the libraries that they are for.
  const examples = blocksIn('js').filter(({ page }) => page !== 'docs/recipes.md');
  test.each(examples)('$page, line $line', async (block) => {
    const folder = project({ 'example.mjs': block.code, hosts: HOSTS });
    const command = 'mount --bind hosts /etc/hosts && exec "$0" example.mjs';
    // The names of the examples are looked up as every name is, in a mount namespace with a hosts file of its own.
    const { stdout, stderr } = await promisify(execFile)('unshare', ['-m', 'sh', '-ec', command, process.execPath], {
      cwd: folder,
      timeout: 10_000,
    });
    expect(stderr).toBe('');
    const lines = stdout.split('\n').filter(Boolean);
    const expected = promised(block);
    if (expected.length > 0) expect(lines).toEqual(expected);
    else expect(lines).not.toEqual([]);
  });
});

test('the TypeScript examples compile, strictly', () => {
  const examples = blocksIn('ts').map(({ code }, index) => [`example${index}.mts`, code] as const);
  expect(examples).not.toEqual([]);
  const folder = project({ ...Object.fromEntries(examples), 'package.json': '{"type":"module"}' });
  const options = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--module',
    'nodenext',
    '--types',
    'node',
    '--skipLibCheck',
  ];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const files = examples.map(([name]) => name);
  execFileSync(process.execPath, [tsc, ...options, ...files], { cwd: folder, encoding: 'utf8' });
});

test('every block is in a language that is checked', () => {
  expect(new Set(blocks.map(({ language }) => language))).toEqual(new Set(['js', 'ts', 'sh', 'text']));
});

test('every npm script that is mentioned exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const mentioned = pages.flatMap((page) => [...read(page).matchAll(/\bnpm run ([\w:]+)/g)].map(([, name]) => name));
  expect(mentioned).toContain('demo');
  expect(mentioned.filter((name = '') => !(name in scripts))).toEqual([]);
});

const anchorsOf = (page: string) =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

test('CONTRIBUTING.md knows every folder, and every file of src/ in the order of its imports', () => {
  const folders = blocksIn('text').flatMap(({ code }) => [...code.matchAll(/^(\w+)\//gm)].map(([, name = '']) => name));
  expect(folders.filter((folder) => !existsSync(join(root, folder)))).toEqual([]);
  const steps = [...read('CONTRIBUTING.md').matchAll(/^\d+\. (.*?):/gm)].map(([, names]) => codeIn(names));
  const files = readdirSync(join(root, 'src')).map((file) => file.replace('.ts', ''));
  expect(steps.flat().sort()).toEqual(files.sort());
  const stepOf = (name: string) => steps.findIndex((names) => names.includes(name));
  const upward = files.flatMap((file) =>
    [...read(`src/${file}.ts`).matchAll(/ from '\.\/(\w+)'/g)]
      .map(([, imported = '']) => `${file} imports ${imported}`)
      .filter((line) => stepOf(line.split(' ').at(-1) ?? '') >= stepOf(file)),
  );
  expect(upward).toEqual([]);
});

// Its programs have tests of their own, with the servers that they need.
const linked = [...pages, 'docs/recipes.md'];

test.each(linked)('the links of %s lead somewhere', (page) => {
  const targets = [...read(page).matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
  const dead = targets.filter((target) => {
    if (/^https:/.test(target)) return false;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : join(dirname(page), path);
    return !existsSync(join(root, file)) || (anchor !== undefined && !anchorsOf(file).includes(anchor));
  });
  expect(dead).toEqual([]);
});

/** The cells of the rows of the first table below the heading. */
function tableBelow(page: string, heading: string): string[][] {
  const [, section = ''] = read(page).split(`\n## ${heading}\n`);
  const [table = ''] = /^\|.*\|$(\n^\|.*\|$)+/m.exec(section) ?? [];
  const rows = table.split('\n').slice(2);
  // A bar within a cell is escaped.
  return rows.map((row) => row.split(/(?<!\\)\|/).slice(1, -1)).map((cells) => cells.map((cell) => cell.trim()));
}

const codeIn = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

test('README.md has all source options', () => {
  const [, declaration = ''] = /interface SourceOptions \{(.*?)^\}/ms.exec(read('src/source.ts')) ?? [];
  const declared = [...declaration.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name = '']) => name);
  const documented = tableBelow('README.md', 'Source options').flatMap(([name]) => codeIn(name));
  expect(declared).toContain('localAddress');
  expect(documented).toEqual(declared);
});

test('README.md and docs/errors.md have all reasons', () => {
  const [, declaration = ''] = /type Reason =(.*?);$/ms.exec(read('src/errors.ts')) ?? [];
  const declared = [...declaration.matchAll(/\| '([\w-]+)'/g)].map(([, name = '']) => name);
  const summarized = tableBelow('README.md', 'Errors').flatMap(([reason]) => codeIn(reason));
  const explained = [...read('docs/errors.md').matchAll(/^## `([a-z-]+)`/gm)].map(([, name = '']) => name);
  expect(declared).toContain('ports-exhausted');
  expect(summarized).toEqual(declared);
  expect(explained).toEqual(declared);
});

describeIsolated('the table of README.md, measured', () => {
  const [A, B, SOURCE, PORT] = ['127.0.0.2', '127.0.0.3', '127.0.0.1', 5353] as const;
  const [LOW, PORTS] = [20000, 10] as const;
  useNetwork({ range: [LOW, LOW + PORTS - 1] });

  const rows = tableBelow('README.md', 'How it gets a port, and how it ends').map(
    ([given = '', , toA = '', toB = '', end]) => {
      const [call = ''] = codeIn(given);
      const [code, reason] = codeIn(end).filter((text) => text !== 'EADDRINUSE' || codeIn(end).length === 1);
      return { call, toA: Number.parseInt(toA), toB: Number.parseInt(toB.replaceAll('*', '')), code, reason };
    },
  );

  test('it has rows', () => expect(rows.length).toBeGreaterThan(5));

  test.each(rows)('$call', async ({ call, toA, toB, code, reason }) => {
    await echoServer(PORT, '0.0.0.0');
    const open = call.startsWith('net.') ? net.connect : connect;
    const has = (option: string) => new RegExp(`\\b${option}\\b`).test(call);
    const fill = (host: string) =>
      exhaust(2 * PORTS, async (n) =>
        connected(
          open({
            host,
            port: PORT,
            ...(has('localAddress') && { localAddress: SOURCE }),
            ...(has('localPort') && { localPort: LOW + (n % PORTS) }),
            ...(has('localPortRange') && { localPortRange: [LOW, LOW + PORTS - 1] }),
          }),
        ),
      );
    const a = await fill(A);
    const b = await fill(B);
    expect([a.made.length, b.made.length]).toEqual([toA, toB]);
    for (const { error } of [a, b]) expect(error).toMatchObject({ code, ...(reason && { reason }) });
  });

  test('net.connect({ localAddress, localPort }) beside connections without a pin', async () => {
    await echoServer(PORT, '0.0.0.0');
    await exhaust(PORTS, async () => connected(net.connect({ host: A, port: PORT })));
    const pinned = { host: B, port: PORT, localAddress: SOURCE, localPort: LOW };
    await expect(connected(net.connect(pinned))).rejects.toMatchObject({ code: 'EADDRINUSE' });
    // The control: connectx gets it.
    await connected(connect(pinned));
  });
});

describe('the demo', () => {
  const script = join(root, 'examples/demo.mjs');

  /** What the demo has left in its folder for temporary files, and the processes that run in it. */
  function leftovers(folder: string): string[] {
    const processes = readdirSync('/proc').filter((name) => {
      try {
        return readlinkSync(`/proc/${name}/cwd`).startsWith(folder);
      } catch {
        // No process, or one that has just ended.
        return false;
      }
    });
    return [...readdirSync(folder), ...processes];
  }

  /** A PATH on which these are the only programs. */
  function pathTo(...programs: string[]): string {
    const folder = folderWith();
    for (const program of programs) {
      const directories = (process.env.PATH ?? '').split(delimiter);
      const found = directories.map((directory) => join(directory, program)).find((file) => existsSync(file));
      if (found !== undefined) symlinkSync(found, join(folder, program));
    }
    return folder;
  }

  async function demo(path: string, ...args: string[]) {
    const folder = folderWith();
    // An addon with sanitizers cannot be loaded without theirs.
    const sanitizers = Object.entries(process.env).filter(([name]) => /^(LD_PRELOAD|[A-Z]+SAN_OPTIONS)$/.test(name));
    const env = { ...Object.fromEntries(sanitizers), PATH: path, TMPDIR: folder };
    const { stdout } = await promisify(execFile)(process.execPath, [script, ...args], { env, timeout: 20_000 });
    expect(stdout).not.toContain('\u001b');
    expect(leftovers(folder)).toEqual([]);
    const totals = [...stdout.matchAll(/^ +total +(\d+) +(\d+)$/gm)].map(([, core, ours]) => [core, ours]);
    return { stdout, totals };
  }

  describeIsolated('in a namespace', () => {
    const tools = ['unshare', 'ip', 'sh'];

    for (const [servers, ...programs] of [['nginx', 'nginx'], ['HAProxy', 'haproxy'], ["Node's http"]] as const) {
      const leftOut = leftOutWithout(...programs);
      test.skipIf(leftOut)(`shows both limits: ${servers}${leftOut}`, async () => {
        const { stdout, totals } = await demo(pathTo(...tools, ...programs));
        expect(stdout).toMatch(new RegExp(`^${servers} .*in a network namespace of its own`));
        expect(totals).toEqual([
          ['20', '100'],
          ['20', '100'],
        ]);
      });
    }

    test('shows exact 4-tuples where no namespace can be made', async () => {
      const { stdout, totals } = await demo(pathTo());
      expect(stdout).toContain('No network namespace can be made here');
      expect(totals).toEqual([['20', '100']]);
    });

    test('leaves nothing behind when it is interrupted', async () => {
      const folder = folderWith();
      const env = { ...process.env, TMPDIR: folder };
      const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      await once(child.stdout, 'data');
      // Otherwise there would be nothing to clean up.
      expect(leftovers(folder)).not.toEqual([]);
      child.kill('SIGINT');
      expect(await ended).toEqual([130, null]);
      expect(leftovers(folder)).toEqual([]);
    });
  });

  test('has nothing to show without the addon', async () => {
    const env = { ...process.env, CONNECTX_DISABLE_NATIVE: '1' };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env, timeout: 20_000 });
    expect(stdout).toContain('connectx does what net.connect does');
  });
});
