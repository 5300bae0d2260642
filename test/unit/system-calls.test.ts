// docs/security.md tells of every system call that the addon makes, and of no other; and nothing is run when it is installed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { blocksOf, codeIn, read, tableBelow } from '../helpers/documents.js';
import { BUILT_ADDON } from '../helpers/package.js';

const PAGE = 'docs/security.md';
const rows = tableBelow(PAGE, 'System calls');

test('the functions that native/os.cc calls are those of the table', () => {
  const called = [...readFileSync('native/os.cc', 'utf8').matchAll(/(?<![\w>])::(\w+)\(/g)].map(
    ([, name = '']) => name,
  );
  const documented = rows.flatMap(([functions]) => codeIn(functions));
  expect(new Set(documented)).toEqual(new Set(called));
});

test('the seccomp profile has the system calls of the table', () => {
  const [block] = blocksOf(PAGE).filter(({ language }) => language === 'json');
  const { names, action } = JSON.parse(block?.code ?? '') as { names: string[]; action: string };
  const calls = rows.flatMap(([, call = '']) =>
    call
      .replaceAll(/\(.*?\)/g, '')
      .split(',')
      .map((name) => name.trim()),
  );
  expect(names).toEqual([...new Set(calls)].sort());
  expect(action).toBe('SCMP_ACT_ALLOW');
});

const READABLE = [...readFileSync('native/napi/sys.cc', 'utf8').matchAll(/"(\/proc\/[\w/-]+)"/g)].map(
  ([, path = '']) => path,
);

test('the files that the addon reads are those that the page names, and those that src/ asks for', () => {
  for (const path of READABLE) expect(read(PAGE)).toContain(`\`${basename(path)}\``);
  expect(READABLE).toHaveLength(6);
});

test('the addon reads no other file, whoever asks and however it is spelt', () => {
  const { readFile } = createRequire(import.meta.url)(BUILT_ADDON) as { readFile: (path: string) => string | number };
  const before = READABLE.filter((path) => typeof readFile(path) !== 'string');
  // Without IPv6 it is not there.
  expect(before.filter((path) => !path.endsWith('sockstat6'))).toEqual([]);
  const [range = ''] = READABLE;
  const others = [
    ...['/etc/passwd', '/proc/self/environ', 'package.json', '', '/proc/sys/net/ipv4/tcp_rmem', range.toUpperCase()],
    ...[`${range}\0`, `/etc/passwd\0${range}`, `${range}/../../../../../etc/passwd`, `/${range}`, `${range}/`],
  ];
  // A number is a failure: errno and system call in one.
  expect(others.filter((path) => typeof readFile(path) !== 'number')).toEqual([]);
});

interface Locked {
  dev?: boolean;
  devOptional?: boolean;
  integrity?: string;
  hasInstallScript?: boolean;
  dependencies?: Record<string, string>;
}

test('the lockfile has a checksum of everything; what users get is one package, which runs nothing', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
  const { '': own, ...others } = packages;
  expect(Object.entries(others).filter(([, { integrity }]) => !/^sha512-/.test(integrity ?? ''))).toEqual([]);
  const users = Object.entries(others).filter(([, { dev = false, devOptional = false }]) => !dev && !devOptional);
  expect(users.map(([path]) => path)).toEqual(['node_modules/node-gyp-build']);
  expect(users.filter(([, { hasInstallScript, dependencies }]) => hasInstallScript ?? dependencies)).toEqual([]);
  expect(Object.keys(own?.dependencies ?? {})).toEqual(['node-gyp-build']);
});
