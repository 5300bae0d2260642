// docs/reliability.md is made of the files beside it.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pageOf, type Run } from '../../scripts/reliability-page.mjs';

const root = join(import.meta.dirname, '../..');
const kept = join(root, 'docs/reliability');

const run = (name: string, more: Partial<Run> = {}): Run => ({
  name,
  command: `npm run ${name}`,
  date: '2026-01-02T03:04:05.678Z',
  commit: 'abc',
  node: 'v20.1.2',
  kernel: '6.1.0',
  arch: 'x64',
  rows: [{ what: `what ${name} does`, tried: 1234567, failed: 0, detail: 'a | b' }],
  ...more,
});

test('a row has what was tried, the counts, and the command that repeats it', () => {
  const page = pageOf([run('soak')]);
  expect(page).toContain('| what soak does | 1,234,567 | 0 | `npm run soak` |\n');
  expect(page).toContain('soak: 2026-01-02, Node 20.1.2, Linux 6.1.0, x64, abc.\n\n- what soak does: a | b');
  expect(page).toContain('Nothing failed.');
});

test('what failed is said', () => {
  const page = pageOf([run('fuzz', { rows: [{ what: 'links', tried: 5, failed: 2, detail: '' }] })]);
  expect(page).toContain('| links | 5 | 2 |');
  expect(page).toContain('1 of these rows have failures.');
});

test('kernels in order, with what each has', () => {
  const rows = [{ what: 'capabilities()', tried: 1, failed: 0, detail: '{"bindAddressNoPort":true,"udpShared":true}' }];
  const page = pageOf([run('kernel-6.1', { rows, kernel: '6.1' }), run('kernel-5.10', { rows, kernel: '5.10' })]);
  expect(page.indexOf('| 5.10, x64 | yes | no | no | yes | no |')).toBeGreaterThan(0);
  expect(page.indexOf('| 6.1, x64 |')).toBeGreaterThan(page.indexOf('| 5.10, x64 |'));
});

test('the page is what the files give', () => {
  execFileSync(process.execPath, ['scripts/reliability.mjs', '--check'], { cwd: root });
});

test('each row can be repeated: its command is one of the scripts', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const name of readdirSync(kept)) {
    const { command } = JSON.parse(readFileSync(join(kept, name), 'utf8')) as Run;
    const script = /^npm (?:run ([\w:]+)|(test))(?: -- .*)?$/.exec(command);
    expect(Object.keys(scripts), command).toContain(script?.[1] ?? script?.[2]);
  }
});
