// docs/reliability.md is made of the runs in docs/reliability.json.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isKnown, kept, pageOf, type Run } from '../../scripts/reliability-page.mjs';

const root = join(import.meta.dirname, '../..');
const read = (path: string): unknown => JSON.parse(readFileSync(join(root, path), 'utf8'));

/** As the `report()` of a run writes it. */
const run = (name: string, rows: Run['rows'], more: Partial<Run> = {}): Run => ({
  name,
  command: `npm run ${name}`,
  date: '2026-01-02T03:04:05.678Z',
  commit: 'abc',
  node: 'v20.1.2',
  kernel: '6.1.0',
  arch: 'x64',
  rows,
  ...more,
});
const page = (...runs: Run[]) => pageOf(runs.map(kept));

test('a row says how often out of how many, and which command repeats it', () => {
  const soak = run('soak', [{ what: 'UDP flows that were overshadowed', tried: 46025, failed: 0, detail: 'a | b' }]);
  expect(page(soak)).toContain('| a UDP flow is overshadowed | 0 of 46,025 flows | `npm run soak` |\n');
  expect(page(soak)).toContain('Nothing failed in the tests below.');
});

test('what failed stands out', () => {
  const text = page(run('fuzz', [{ what: 'links', tried: 5, failed: 2, detail: '' }]));
  expect(text).toContain('| **2 of 5 inputs** | `npm run fuzz` |');
  expect(text).toContain('**1 of the checks failed**');
});

test('a failure of a row that the page does not show is counted all the same', () => {
  expect(page(run('soak', [{ what: 'something new', tried: 1, failed: 1 }]))).toContain('**1 of the checks failed**');
});

test('of looks at one thing the things are counted, and what was not tried is not called a success', () => {
  const rows = ['heap, flat', 'handles, flat'].map((what) => ({ what, tried: 1716, failed: 0 }));
  expect(page(run('soak', rows))).toContain('sockets grow | 0 of 2 measures |');
  const binary = { what: 'linux-arm64-musl', tried: 0, failed: 0 };
  expect(page(run('prebuilds', [binary]))).toContain('| a binary does not load | not tried |');
  const other = { what: 'linux-x64', tried: 1, failed: 0 };
  expect(page(run('prebuilds', [binary, other]))).toContain(
    '| a binary does not load: linux-x64 | 0 of 1 binaries; not tried: linux-arm64-musl |',
  );
});

test('kernels in order, with what each lacks and the sum of its tests', () => {
  const can = { bindAddressNoPort: true, localPortRange: false, fastOpen: true, udpShared: true, portUsage: true };
  const rows = [
    { what: 'a.test.ts', tried: 1000, failed: 0, detail: '' },
    { what: 'b.test.ts', tried: 1, failed: 0, detail: '' },
    { what: 'capabilities()', tried: 1, failed: 0, detail: JSON.stringify(can) },
  ];
  const text = page(run('kernel-6.1', rows, { kernel: '6.1' }), run('kernel-5.10', rows, { kernel: '5.10' }));
  expect(text).toContain('| 5.10, x64 | 0 of 1,001 tests | `IP_LOCAL_PORT_RANGE` |');
  expect(text.indexOf('| 6.1, x64 |')).toBeGreaterThan(text.indexOf('| 5.10, x64 |'));
});

test('other files in reports/ are not for the page', () => {
  expect(['soak', 'node-20', 'kernel-5.10', 'faults-warm', 'summary'].filter(isKnown)).toEqual([
    'soak',
    'node-20',
    'kernel-5.10',
  ]);
});

test('the page is what the file gives', () => {
  execFileSync(process.execPath, ['scripts/reliability.mjs', '--check'], { cwd: root });
});

test('each row can be repeated: its command is one of the scripts', () => {
  const { scripts } = read('package.json') as { scripts: Record<string, string> };
  for (const { command } of read('docs/reliability.json') as Run[]) {
    const script = /^npm (?:run ([\w:]+)|(test))(?: -- .*)?$/.exec(command);
    expect(Object.keys(scripts), command).toContain(script?.[1] ?? script?.[2]);
  }
});
