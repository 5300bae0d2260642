// Every block of code in the documentation is run, or its page says how else it is checked, and that is checked here. Its types are
// checked by docs-types.test.ts.
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { usageTable } from '../../src/cli/table.js';
import { doctorText, plain } from '../../src/cli/text.js';
import type { PortUsage } from '../../src/usage/usage.js';
import { expectPromised, OURS, project, runIn, SERVERS, startServers } from '../helpers/documented.js';
import { type Block, blocks, pages, read, root } from '../helpers/documents.js';
import { need } from '../helpers/needs.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { javaScriptOf, recipesOf } from '../helpers/recipes.js';

const LANGUAGES = ['js', 'ts', 'diff', 'sh', 'text', 'json', 'dockerfile', 'ini'];
const titleOf = ({ page, line }: Block) => `${page}, line ${line}`;
const blocksIn = (language: string) =>
  blocks.filter((block) => block.language === language).map((block) => [titleOf(block), block] as const);
// The recipes are run by recipes-*.test.ts, with the libraries that they are for.
const RECIPES = 'docs/recipes.md';
const runnable = (language: string) =>
  blocksIn(language).filter(([, block]) => block.directive === undefined && block.page !== RECIPES);

describeIsolated('the examples', () => {
  useNetwork({ range: [32768, 60999], addresses: [...OURS, ...SERVERS] });
  beforeEach(startServers);

  test.each(runnable('js'))('js: %s', async (_, block) => {
    expectPromised(block, await runIn(project({ 'example.mjs': block.code }), [process.execPath, 'example.mjs']));
  });

  test.each(runnable('ts'))('ts: %s', async (_, block) => {
    const files = { 'example.mjs': javaScriptOf(block.code) };
    expectPromised(block, await runIn(project(files), [process.execPath, 'example.mjs']));
  });

  // Both the program before the change and the one after it.
  test.each(runnable('diff'))('diff: %s', async (_, block) => {
    for (const side of ['-', '+']) {
      const lines = block.code
        .split('\n')
        .filter((line) => line === '' || line.startsWith(' ') || line.startsWith(side));
      expect(lines.some((line) => line.startsWith(side))).toBe(true);
      const code = lines.map((line) => line.slice(1)).join('\n');
      expectPromised(block, await runIn(project({ 'example.mjs': code }), [process.execPath, 'example.mjs']));
    }
  });

  test.each(runnable('sh'))('sh: %s', async (_, block) => {
    need(...['sysctl', 'ss', 'tc'].filter((name) => new RegExp(`^(sudo )?${name} `, 'm').test(block.code)));
    const folder = project({ 'example.sh': block.code });
    expectPromised(block, await runIn(folder, ['sh', '-eu', 'example.sh']));
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
    const data = ['json', 'dockerfile', 'ini'].flatMap(runnable);
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
