// The documentation is true: its tables are measured or read from the source, and its links lead somewhere. Its examples are run
// by docs-examples.test.ts.
import { existsSync, readdirSync } from 'node:fs';
import * as net from 'node:net';
import { dirname, join } from 'node:path';
import { connect } from 'connectx';
import { expect, test } from 'vitest';
import { layers } from '../../scripts/layers.mjs';
import { anchorsOf, blocks, codeIn, pages, read, root, tableBelow } from '../helpers/documents.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, exhaust } from '../helpers/sockets.js';

test('the first 40 lines of README.md have what it is, a picture, the installation, the change, no change, and TypeScript', () => {
  const screen = read('README.md').split('\n').slice(0, 40).join('\n');
  const [, what = ''] = /^# connectx\n\n(.*?)\n\n/s.exec(screen) ?? [];
  expect(what.match(/\.(?= |\n|$)/g)).toHaveLength(2);
  const parts = [
    /^!\[.+\]\(.+\.svg\)$/m,
    /npm install /,
    /^-.*\n\+.*'connectx'/m,
    /^node --import connectx\/register /m,
  ];
  for (const part of parts) expect(screen).toMatch(part);
  expect(screen).toMatch(/^```ts\n.*?^```$/ms);
});

test('every npm script that is mentioned exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const mentioned = pages.flatMap((page) => [...read(page).matchAll(/\bnpm run ([\w:]+)/g)].map(([, name]) => name));
  expect(mentioned).toContain('demo');
  expect(mentioned.filter((name = '') => !(name in scripts))).toEqual([]);
});

test('CONTRIBUTING.md knows every folder', () => {
  const folders = blocks.flatMap(({ code }) => [...code.matchAll(/^(\w+)\/(?=\s)/gm)].map(([, name = '']) => name));
  expect(folders.filter((folder) => !existsSync(join(root, folder)))).toEqual([]);
});

test('CONTRIBUTING.md maps every file of src/, in the order of the layers', () => {
  const [, map = ''] = /^src\/\n(.*?)^```/ms.exec(read('CONTRIBUTING.md')) ?? [];
  const named = [...map.matchAll(/^ {2}(?:(\w+)\/ +)?(\w+(?: \w+)*)$/gm)].map(([, folder = '.', names = '']) => [
    folder,
    names.split(' ').sort(),
  ]);
  const folders = [...layers.flat(), '.'];
  const there = folders.map((folder) => [
    folder,
    readdirSync(join(root, 'src', folder), { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name.replace('.ts', ''))
      .sort(),
  ]);
  expect(named).toEqual(there);
  const inSrc = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(inSrc.map(({ name }) => name).sort()).toEqual(layers.flat().sort());
});

test.each(pages)('the links of %s lead somewhere', (page) => {
  const targets = [...read(page).matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
  const dead = targets.filter((target) => {
    if (/^https:/.test(target)) return false;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : join(dirname(page), path);
    return !existsSync(join(root, file)) || (anchor !== undefined && !anchorsOf(file).includes(anchor));
  });
  expect(dead).toEqual([]);
});

test('the docstrings of the declarations stand alone: none sends its reader to a page', () => {
  const declarations = readdirSync(join(root, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.d.ts'),
  );
  expect(declarations).toContain('index.d.ts');
  expect(declarations.filter((name) => /docs\/|\.md\b/.test(read(`dist/${name}`)))).toEqual([]);
});

test('docs/options.md has all source options', () => {
  const [, declaration = ''] = /interface SourceOptions \{(.*?)^\}/ms.exec(read('src/source/options.ts')) ?? [];
  const declared = [...declaration.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name = '']) => name);
  const documented = tableBelow('docs/options.md', 'All of them').flatMap(([name]) => codeIn(name));
  expect(declared).toContain('localAddress');
  expect(documented).toEqual(declared);
});

test('docs/errors.md has all reasons, in its table and explained', () => {
  const [, declaration = ''] = /type Reason =(.*?);$/ms.exec(read('src/errors/connectx_error.ts')) ?? [];
  const declared = [...declaration.matchAll(/\| '([\w-]+)'/g)].map(([, name = '']) => name);
  const summarized = tableBelow('docs/errors.md', 'Reasons').flatMap(([reason]) => codeIn(reason));
  const explained = [...read('docs/errors.md').matchAll(/^## `([a-z-]+)`/gm)].map(([, name = '']) => name);
  expect(declared).toContain('ports-exhausted');
  expect(summarized).toEqual(declared);
  expect(explained).toEqual(declared);
});

describeIsolated('the table of docs/tcp.md, measured', () => {
  const [A, B, SOURCE, PORT] = ['127.0.0.2', '127.0.0.3', '127.0.0.1', 5353] as const;
  const [LOW, PORTS] = [20000, 10] as const;
  useNetwork({ range: [LOW, LOW + PORTS - 1] });

  const rows = tableBelow('docs/tcp.md', 'How it gets a port, and how it ends').map(
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
