// The code of the documentation compiles in a strict TypeScript program: blocks of TypeScript, blocks of JavaScript that are pasted into
// one, and the examples of docstrings.
import { mkdirSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { type Block, blocks, examples, root } from '../helpers/documents.js';
import { libraryFolder } from '../helpers/libraries.js';
import { folderWith } from '../helpers/programs.js';

/** The packages that the code imports: theirs, or their types. */
const PACKAGES: Readonly<Record<string, string>> = {
  '@grpc/grpc-js': '@grpc/grpc-js',
  '@types/node': '@types/node',
  '@types/pg': '@types/pg',
  '@types/ws': '@types/ws',
  'http-proxy-3': 'http-proxy-3',
  ioredis: 'ioredis',
  mysql2: 'mysql2',
  'prom-client': 'prom-client',
  socks: 'socks',
  undici: 'undici7',
};

/** What the compiler says of these modules, in a project in which connectx is installed as it is for a user. */
function diagnose(modules: Readonly<Record<string, string>>): string {
  const folder = folderWith({ 'package.json': '{ "type": "module" }', ...modules });
  const installed = join(folder, 'node_modules');
  mkdirSync(installed);
  symlinkSync(root, join(installed, 'connectx'));
  for (const [name, source] of Object.entries(PACKAGES)) {
    mkdirSync(dirname(join(installed, name)), { recursive: true });
    symlinkSync(libraryFolder(source), join(installed, name));
  }
  const program = ts.createProgram({
    rootNames: Object.keys(modules).map((name) => join(folder, name)),
    options: {
      noEmit: true,
      strict: true,
      exactOptionalPropertyTypes: true,
      module: ts.ModuleKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      types: ['node'],
      typeRoots: [join(installed, '@types')],
      skipLibCheck: true,
    },
  });
  return ts.formatDiagnostics(ts.getPreEmitDiagnostics(program), ts.createCompilerHost({}));
}

// What surrounds the example of a docstring: what it uses and does not say where it comes from.
const SURROUNDINGS: Readonly<Record<string, string>> = {
  http: "import http from 'node:http';",
  https: "import https from 'node:https';",
  Agent: "import { Agent } from 'undici';",
  fetch: "import { fetch } from 'undici';",
  fd: 'declare const fd: number;',
  query: 'declare const query: Buffer;',
  respondWith: 'declare function respondWith(status: number): void;',
  'socket.on': "declare const socket: import('node:net').Socket;",
};

/** The example of a docstring is a part of a program: with what surrounds it. */
async function completed({ code, page }: Block): Promise<string> {
  if (code.includes('import ')) return code;
  const uses = (name: string) =>
    new RegExp(`(?<![\\w.'])${name}\\b`).test(code) && !new RegExp(`const ${name.split('.')[0]}\\b`).test(code);
  // The entries of the package are in src/ itself, and what is below is exported by the main one.
  const isEntry = dirname(page) === 'src' && page !== 'src/index.ts';
  const modules = isEntry ? [`connectx/${basename(page, '.ts')}`, 'connectx'] : ['connectx'];
  const taken = new Set<string>();
  const imports = [];
  for (const name of modules) {
    const names = Object.keys((await import(name)) as object).filter((one) => uses(one) && !taken.has(one));
    for (const one of names) taken.add(one);
    if (names.length > 0) imports.push(`import { ${names.join(', ')} } from '${name}';`);
  }
  const others = Object.entries(SURROUNDINGS).filter(([name]) => uses(name));
  return [...imports, ...others.map(([, line]) => line), 'export {};', code].join('\n');
}

/** One module for each, named after where its code stands. */
const modulesOf = (sources: readonly (readonly [Block, string])[]) =>
  Object.fromEntries(sources.map(([{ page, line }, code]) => [`${page.replaceAll(/\W/g, '_')}_${line}.mts`, code]));

test('the blocks of the pages compile, strictly, those in JavaScript too', { timeout: 120_000 }, () => {
  const code = blocks.filter(
    ({ language, code }) => language === 'ts' || (language === 'js' && /from 'connectx|import 'connectx/.test(code)),
  );
  for (const page of ['README.md', 'docs/recipes.md', 'docs/guides/proxies.md']) {
    expect(code.map((block) => block.page)).toContain(page);
  }
  expect(new Set(code.map(({ language }) => language))).toEqual(new Set(['js', 'ts']));
  expect(diagnose(modulesOf(code.map((block) => [block, block.code] as const)))).toBe('');
});

test('the examples of docstrings compile, strictly', { timeout: 120_000 }, async () => {
  expect(examples.length).toBeGreaterThan(15);
  const sources = await Promise.all(examples.map(async (block) => [block, await completed(block)] as const));
  expect(diagnose(modulesOf(sources))).toBe('');
});

test('the control: a strict program with an error does not compile', { timeout: 120_000 }, () => {
  const unsourced = "import http from 'node:http';\nimport { SourcePool } from 'connectx';\n";
  const get = "http.get({ host: 'example.org', localAddress: new SourcePool(['192.0.2.7']) });\n";
  expect(diagnose({ 'example.mts': unsourced + get })).toContain("not assignable to type 'string'");
});
