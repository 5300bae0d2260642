// The package as it is published: what is in the tarball, and what programs and compilers make of it.
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder } from '../helpers/libraries.js';
import { BUILT_ADDON, install, pack, type Packed, type Project } from '../helpers/package.js';

const root = join(import.meta.dirname, '../..');

let packed: Packed;
let project: Project;
beforeAll(async () => {
  packed = await pack();
  project = install(packed, { addon: readFileSync(BUILT_ADDON) });
});
afterAll(() => {
  packed.remove();
  project.remove();
});

interface Manifest {
  main: string;
  types: string;
  files: string[];
  exports: Record<string, unknown>;
  bin?: Record<string, string>;
  scripts?: Record<string, string>;
  dependencies: Record<string, string>;
}

const manifest = () => JSON.parse(readFileSync(join(packed.folder, 'package.json'), 'utf8')) as Manifest;

/** Every path in a value of `exports`, however deep. */
const targets = (value: unknown): string[] =>
  typeof value === 'string' ? [value] : Object.values(value as object).flatMap(targets);

describe('the tarball', () => {
  test('has what belongs to it, and nothing else', () => {
    const patterns = [
      /^(CHANGELOG\.md|LICENSE|README\.md|package\.json)$/,
      /^dist\/(\w+\/)?[\w-]+\.(js|js\.map|d\.ts)$/,
      /^dist\/(man\/connectx\.1|completions\/(connectx\.bash|_connectx))$/,
      /^ops\/[\w.-]+\/[\w.-]+\.(service|timer|yml|yaml|json|conf)$/,
      /^native\/((\w+\/)?\w+\.(cc|h|map)|binding\.gyp|connectx\.gypi)$/,
      /^prebuilds\/linux-(x64|arm64)\/connectx\.(glibc|musl)\.node$/,
    ];
    expect(packed.files.filter((path) => !patterns.some((pattern) => pattern.test(path)))).toEqual([]);
    // With a binding.gyp here, npm and yarn would compile the package, and mostly fail.
    expect(packed.files.filter((path) => !path.includes('/'))).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'], // sorted
    );
    expect(packed.size).toBeLessThan(1.2e6);
  });

  test('has every file that package.json names', () => {
    const { main, types, exports, bin = {} } = manifest();
    for (const path of [main, types, ...targets(exports), ...Object.values(bin)]) {
      expect(packed.files).toContain(path.replace(/^\.\//, ''));
    }
  });

  test('has every source that the addon is built from', () => {
    const gyp = readFileSync(join(packed.folder, 'native/connectx.gypi'), 'utf8');
    const sources = [...gyp.matchAll(/"([\w/]+\.cc)"/g)].map(([, path]) => `native/${path}`);
    expect(sources.length).toBeGreaterThan(3);
    const included = packed.files
      .filter((path) => path.startsWith('native/'))
      .flatMap((path) => [...readFileSync(join(packed.folder, path), 'utf8').matchAll(/^#include "(.+)"$/gm)])
      .map(([, header]) => `native/${header}`);
    expect(packed.files).toEqual(expect.arrayContaining([...sources, ...included]));
  });

  test('runs nothing when it is installed, and depends on node-gyp-build alone', () => {
    const { scripts = {}, dependencies } = manifest();
    for (const script of ['preinstall', 'install', 'postinstall', 'prepublish'])
      expect(scripts).not.toHaveProperty(script);
    expect(Object.keys(dependencies)).toEqual(['node-gyp-build']);
  });

  test('its source maps have their sources inside', () => {
    const maps = packed.files.filter((path) => path.endsWith('.js.map'));
    expect(maps.length).toBeGreaterThan(5);
    for (const path of maps) {
      const { sources, sourcesContent = [] } = JSON.parse(readFileSync(join(packed.folder, path), 'utf8')) as {
        sources: string[];
        sourcesContent?: string[];
      };
      expect(sources.length).toBeGreaterThan(0);
      const written = sources.map((source) => readFileSync(join(root, 'dist', source), 'utf8'));
      expect([path, sourcesContent]).toEqual([path, written]);
    }
  });

  test('its source maps lead to the line that made an error', async () => {
    project.write('throws.cjs', `require('connectx').connect({ port: 1, localPort: 'x' });`);
    const stack = await project.node('--enable-source-maps', 'throws.cjs').catch(String);
    const [, file = '', line = '0'] = /at .*\/connectx\/(src\/[\w/]+\.ts):(\d+):\d+/.exec(stack) ?? [];
    expect(readFileSync(join(root, file), 'utf8').split('\n')[Number(line) - 1]).toContain('new TypeError(');
  });
});

describe('a program', () => {
  const entries = () => Object.keys(manifest().exports).filter((entry) => entry !== './package.json');

  test('gets the same functions and classes through import and require, of every entry', async () => {
    const names = entries().map((entry) => entry.replace(/^\./, 'connectx'));
    expect(names).toEqual(expect.arrayContaining(['connectx', 'connectx/sys']));
    project.write(
      'same.mjs',
      `
      import { createRequire } from 'node:module';
      const require = createRequire(import.meta.url);
      for (const name of ${JSON.stringify(names)}) {
        const esm = await import(name);
        const cjs = require(name);
        const keys = Object.keys(cjs).sort();
        const same = keys.every((key) => esm[key] === cjs[key]);
        // What Node makes of every CommonJS module.
        const nodes = ['default', 'module.exports', '__esModule'];
        const others = Object.keys(esm).filter((key) => !keys.includes(key) && !nodes.includes(key));
        console.log(name, keys.length > 0, same, 'and ' + others.length);
      }`,
    );
    const lines = (await project.node('same.mjs')).trim().split('\n');
    expect(lines).toEqual(names.map((name) => `${name} true true and 0`));
  });

  test('catches with one ConnectxError what the other way threw', async () => {
    project.write(
      'catch.mjs',
      `
      import { createRequire } from 'node:module';
      import { connect, createConnection, Socket, ConnectxError } from 'connectx';
      import { close } from 'connectx/sys';
      const cjs = createRequire(import.meta.url)('connectx');
      try {
        close(0x7fffffff);
      } catch (error) {
        console.log(error instanceof ConnectxError, error instanceof cjs.ConnectxError, error.code);
      }
      const socket = cjs.connect({ host: '127.0.0.1', port: 9, localAddress: '192.0.2.1' });
      console.log(socket instanceof Socket, connect === createConnection);
      socket.on('error', (error) => console.log(error instanceof ConnectxError, error.reason));`,
    );
    expect(await project.node('catch.mjs')).toBe('true true EBADF\ntrue true\ntrue address-not-local\n');
  });

  test('finds package.json, and nothing that is not exported', async () => {
    project.write(
      'inside.cjs',
      `
      console.log(require('connectx/package.json').name);
      for (const path of ['connectx/dist/native.js', 'connectx/native', 'connectx/dist/index.js']) {
        try { require(path); console.log(path); } catch (error) { console.log(error.code); }
      }`,
    );
    expect(await project.node('inside.cjs')).toBe(`connectx\n${'ERR_PACKAGE_PATH_NOT_EXPORTED\n'.repeat(3)}`);
  });
});

// Uses every option, and says of some mistakes that they must not compile.
const USE = `
const options: ConnectOptions = {
  host: 'example.org',
  port: 443,
  localAddress: { ipv4: '192.0.2.7', ipv6: '2001:db8::7' },
  localPortRange: [1024, 2047],
  interface: 'eth0',
  mark: 1,
  freeBind: true,
  transparent: false,
  fastOpen: true,
  socketOptions: [{ level: sys.constants.SOL_SOCKET, name: sys.constants.SO_REUSEADDR, value: 1 }, { level: 1, name: 2, value: new Uint8Array(4) }],
  keepAlive: true,
  autoSelectFamily: true,
};
const choose: SourceFunction = ({ address, port, family }: Destination) =>
  family === 4 && port > 0 && address !== '' ? '192.0.2.7' : undefined;

function open(): Socket {
  const socket: Socket = connect(options, () => undefined);
  const plain: net.Socket = connect(443, 'example.org');
  plain.on('error', (error) => {
    if (!(error instanceof ConnectxError)) return;
    const code: string = error.code;
    const reason: string | undefined = error.reason;
    const port: number | undefined = error.localPort;
    console.log(code, reason, port);
  });
  createConnection({ port: 1, localAddress: choose, localPort: 7 });
  connect({ path: '/run/x.sock' });
  createConnection({ port: 1, localAddress: { ipv4: process.env['SOURCE'], ipv6: undefined } });
  new Socket({ localAddress: '192.0.2.7', allowHalfOpen: true }).connect(443, 'example.org');
  const range: { low: number; high: number } | undefined = capabilities().ephemeralRange;
  const fd: number = sys.socket(sys.constants.AF_INET, sys.constants.SOCK_STREAM);
  const number: number = sys.getsockopt(fd, 1, 2);
  const bytes: Buffer = sys.getsockopt(fd, 1, 2, 8);
  const end: Endpoint = sys.getsockname(fd);
  console.log(range, number, bytes, end.scope);
  // @ts-expect-error a port is a number
  connect({ port: 1, localPort: '7' });
  // @ts-expect-error a range has two ends
  connect({ port: 1, localPortRange: [7] });
  // @ts-expect-error there is no such option
  connect({ port: 1, localAdress: '192.0.2.7' });
  // @ts-expect-error a source function gives text
  connect({ port: 1, localAddress: () => 7 });
  // @ts-expect-error bytes are asked for with a length
  const wrong: Buffer = sys.getsockopt(fd, 1, 2);
  const agent: http.Agent = new HttpAgent({ keepAlive: true, localAddress: choose });
  const secure: https.Agent = new HttpsAgent({ rejectUnauthorized: true, localPortRange: [1024, 2047] });
  const connector: Connector = buildConnector({ localAddress: '192.0.2.7', timeout: 1000 });
  const undo: () => void = register({ sources: ['192.0.2.0/24'] });
  collectPortUsage({ filter: { protocol: 'tcp' }, limit: undefined });
  console.log(agent, secure, connector, undo);
  // @ts-expect-error an option of its own, misspelt
  new HttpAgent({ localAdress: '192.0.2.7' });
  // @ts-expect-error a list of sources
  register({ sources: '192.0.2.7' });
  // @ts-expect-error there may be none
  const first: PortUsage = ([] as PortUsage[])[0];
  console.log(first);
  return wrong.length > 0 ? socket : new Socket();
}
open();
`;

const TYPES = 'type ConnectOptions, type Destination, type PortUsage, type SourceFunction';
const VALUES = 'capabilities, connect, ConnectxError, createConnection, Socket';
const asModule = `
import type * as http from 'node:http';
import type * as https from 'node:https';
import type * as net from 'node:net';
import { ${TYPES}, ${VALUES} } from 'connectx';
import * as sys from 'connectx/sys';
import { type Endpoint } from 'connectx/sys';
import { HttpAgent, HttpsAgent } from 'connectx/http';
import { buildConnector, type Connector } from 'connectx/undici';
import { register } from 'connectx/register';
import { collectPortUsage } from 'connectx/metrics';
${USE}`;
const asScript = `
import type http = require('node:http');
import type https = require('node:https');
import type net = require('node:net');
import connectx = require('connectx');
import sys = require('connectx/sys');
type ConnectOptions = connectx.ConnectOptions;
type Destination = connectx.Destination;
type SourceFunction = connectx.SourceFunction;
type Socket = connectx.Socket;
type Endpoint = sys.Endpoint;
import adapter = require('connectx/http');
import undici = require('connectx/undici');
import registration = require('connectx/register');
import metrics = require('connectx/metrics');
type Connector = undici.Connector;
type PortUsage = connectx.PortUsage;
const { HttpAgent, HttpsAgent } = adapter;
const { buildConnector } = undici;
const { register } = registration;
const { collectPortUsage } = metrics;
const { ${VALUES} } = connectx;
${USE}`;

describe('a strict TypeScript program compiles', () => {
  beforeAll(() => {
    mkdirSync(join(project.folder, 'node_modules/@types'));
    for (const name of ['@types/node', 'undici-types', 'prom-client']) {
      symlinkSync(libraryFolder(name), join(project.folder, 'node_modules', name));
    }
    project.write('module.mts', asModule);
    project.write('script.cts', asScript);
  });

  const { ModuleKind, ModuleResolutionKind } = ts;
  test.each([
    {
      name: 'node16',
      module: ModuleKind.Node16,
      moduleResolution: ModuleResolutionKind.Node16,
      files: ['module.mts', 'script.cts'],
    },
    {
      name: 'nodenext',
      module: ModuleKind.NodeNext,
      moduleResolution: ModuleResolutionKind.NodeNext,
      files: ['module.mts', 'script.cts'],
    },
    {
      name: 'bundler',
      module: ModuleKind.ESNext,
      moduleResolution: ModuleResolutionKind.Bundler,
      files: ['module.mts'],
    },
  ])('$files with moduleResolution $name', ({ files, module, moduleResolution }) => {
    const program = ts.createProgram({
      rootNames: files.map((name) => join(project.folder, name)),
      options: {
        module,
        moduleResolution,
        target: ts.ScriptTarget.ES2022,
        lib: ['lib.es2023.d.ts'],
        types: ['node'],
        typeRoots: [join(project.folder, 'node_modules/@types')],
        noEmit: true,
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noPropertyAccessFromIndexSignature: true,
        noUnusedLocals: true,
        verbatimModuleSyntax: true,
        isolatedModules: true,
        skipLibCheck: false,
      },
    });
    // Our own declarations are checked as strictly as the program; those of others need not be checked here.
    const own = program
      .getSourceFiles()
      .filter(({ fileName }) => /\/(module|script)\.[cm]ts$|\/connectx\/dist\//.test(fileName));
    const declarations = own.filter(({ isDeclarationFile }) => isDeclarationFile);
    expect([own.length - declarations.length, declarations.length > 3]).toEqual([files.length, true]);
    const found = [
      ...program.getOptionsDiagnostics(),
      ...program.getGlobalDiagnostics(),
      ...own.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
    ];
    expect(ts.formatDiagnostics(found, ts.createCompilerHost({}))).toBe('');
  });
});
