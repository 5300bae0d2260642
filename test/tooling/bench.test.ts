// The benchmarks can be run and their page is made of their figures: nothing here is a measurement.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { need } from '../helpers/needs.js';
import { describeIsolated } from '../helpers/netns.js';

const root = join(import.meta.dirname, '../..');
const node = (...args: string[]) => spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
const load = async (path: string): Promise<unknown> => import(pathToFileURL(join(root, path)).href);

interface Summary {
  median: number;
  low: number;
  high: number;
  count: number;
  p99?: number | null;
  p999?: number | null;
}

interface Statistics {
  quantile(values: number[], q: number): number;
  percentiles(values: number[]): Summary;
  pairedRatio(a: (number | null)[], b: (number | null)[]): Summary;
}

describe('statistics', () => {
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

  test('quantiles, in whatever order the values come', async () => {
    const { quantile } = (await load('bench/lib/statistics.mjs')) as Statistics;
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
    expect(quantile([4, 1, 2, 3], 0.5)).toBe(2.5);
    expect(quantile([1, 2, 3, 4, 5], 0.25)).toBe(2);
    expect(quantile([], 0.5)).toBeNaN();
  });

  test('the end of a distribution only where there are values enough', async () => {
    const { percentiles } = (await load('bench/lib/statistics.mjs')) as Statistics;
    expect(percentiles(numbers(99))).toMatchObject({ median: 50, count: 99, p99: null, p999: null });
    expect(percentiles(numbers(101))).toMatchObject({ p99: 100, p999: null });
    expect(percentiles(numbers(1001))).toMatchObject({ p99: 991, p999: 1000 });
  });

  test('ratios are paired by round, and a round that one sat out is none', async () => {
    const { pairedRatio } = (await load('bench/lib/statistics.mjs')) as Statistics;
    // The machine was ten times slower in the second round, for both.
    expect(pairedRatio([2, 20, 4, null], [1, 10, 2, 1])).toMatchObject({ median: 2, low: 2, high: 2, count: 3 });
    expect(pairedRatio([2, 20], [1, null])).toMatchObject({ median: 2, count: 1 });
  });
});

describe('the pages', () => {
  test('their figures and charts are those of docs/figures.json', () => {
    const { status, stdout, stderr } = node('bench/pages.mjs', '--check');
    expect(stdout + stderr).toBe('');
    expect(status).toBe(0);
  });

  interface Kept {
    measured: string;
    figures: unknown;
  }
  interface Figures {
    figuresOf(result: object): Record<string, Kept>;
    textOf(value: unknown): string;
  }
  interface Parts {
    pageOf(figures: object, page: string): string;
  }
  const measured = { time: '2026-01-02T03:04:05.678Z', machine: 'Node v20', commit: 'abc' };

  test('a result gives the parts that it has figures for, and when and where', async () => {
    const { figuresOf } = (await load('bench/lib/figures.mjs')) as Figures;
    const rows = [{ peer: 'connectx, localAddress', settled: { median: 33.5 } }];
    const sections = [0, 90, 100].flatMap((level) => [4, 6].map((family) => ({ family, level, rows })));
    const figures = figuresOf({ ...measured, cases: { occupancy: { sections, targets: [] } } });
    // Of a run of one case nothing is known of the targets of all.
    expect(figures).toEqual({
      occupancy: {
        measured: '2026-01-02 at commit abc, Node v20',
        figures: { levels: [0, 90], microseconds: { 'connectx, localAddress': [33.5, 33.5] } },
      },
    });
    const peers = [{ peer: 'net.connect', steps: [{ open: 7 }, { open: 14 }] }];
    expect(figuresOf({ ...measured, peers }).destinations?.figures).toEqual({ 'net.connect': [7, 14] });
    const udp = [{ peer: 'connectUdp', steps: [{ open: 7 }] }];
    expect(Object.keys(figuresOf({ ...measured, peers: udp }))).toEqual(['udp-destinations']);
  });

  test('a page is made of them, and a missed target is told with enough digits', async () => {
    const { pageOf } = (await load('bench/lib/parts.mjs')) as Parts;
    const missed = [{ case: 'rate', what: 'ours / theirs', value: 1.1952, least: 1.2 }];
    const page = pageOf(
      { targets: { measured: '', figures: { count: 3, missed } } },
      'before\n<!-- figures: targets -->\nold\n<!-- end -->\nafter\n',
    );
    expect(page).toMatch(/^before\n<!-- figures: targets -->\n\n2 of 3 targets are met.*<!-- end -->\nafter\n$/s);
    expect(page).toContain('| rate | ours / theirs | 1.195 | at least 1.2 |');
    expect(page).not.toContain('old');
  });

  test('docs/figures.json is JSON with the same values', async () => {
    const { textOf } = (await load('bench/lib/figures.mjs')) as Figures;
    const value = { a: Array.from({ length: 100 }, (_, index) => ({ index })), b: [], c: 'x'.repeat(200), d: null };
    expect(JSON.parse(textOf(value))).toEqual(value);
    expect(JSON.parse(textOf({ a: 1 / 3, b: 1_000_001, c: undefined }))).toEqual({ a: 0.333333, b: 1_000_001 });
  });
});

// A compiler is there wherever the addon was built.
test(
  'the C++ of the instruction counts fits the addon, and the floor is C without warnings',
  { timeout: 120_000 },
  () => {
    const check = ['-fsyntax-only', '-Wall', '-Wextra', '-Werror'];
    execFileSync('g++', ['-std=c++17', ...check, '-Inative', 'bench/native/instructions.cc'], { cwd: root });
    execFileSync('g++', ['-x', 'c', '-std=gnu11', ...check, 'bench/native/floor.c'], { cwd: root });
  },
);

describeIsolated('one source address, several destinations', () => {
  test('core has its ports once, connectx for each destination', { timeout: 60_000 }, () => {
    const { stdout, stderr, status } = node('bench/destinations/run.mjs', '--quick');
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
    const { peers } = JSON.parse(stdout) as { peers: { peer: string; steps: { open: number; code: string }[] }[] };
    const opened = Object.fromEntries(peers.map(({ peer, steps }) => [peer, steps.map(({ open }) => open)]));
    expect(opened).toEqual({
      'net.connect, localAddress': [40, 40, 40, 40],
      'net.connect': [40, 80, 120, 160],
      'connectx, localAddress': [40, 80, 120, 160],
      'dgram, bind + connect': [40, 40, 40, 40],
      connectUdp: [40, 80, 120, 160],
    });
  });
});

describeIsolated('a run', () => {
  let directory = '';
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'connectx-bench-test-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  interface Figures {
    cases: Record<string, { sections: { rows: { peer: string; rate: Summary }[] }[]; targets: { met: boolean }[] }>;
  }

  test('has a figure for every peer, and ends with 1 when a target is missed', { timeout: 120_000 }, () => {
    need('taskset', 'setpriv', 'cc');
    const json = join(directory, 'results.json');
    const plan = ['--quick', '--rounds', '1', '--family', '4', '--only', 'udp-rate', '--check', '--json', json];
    const { status, stderr } = node('bench/run.mjs', ...plan);
    expect(stderr).toBe('');
    const figures = JSON.parse(readFileSync(json, 'utf8')) as Figures;
    const { sections, targets } = figures.cases['udp-rate'] ?? { sections: [], targets: [] };
    const peers = [
      'dgram, bind + connect',
      'connectUdp',
      'connectUdpSync',
      "the article's algorithm",
      'C, bind + connect',
      'C, lock + connect',
    ];
    expect(sections).toHaveLength(2);
    for (const { rows } of sections) {
      expect(rows.map(({ peer }) => peer)).toEqual(peers);
      for (const { rate } of rows) expect(rate.median).toBeGreaterThan(0);
    }
    expect(targets).toHaveLength(4);
    expect(status).toBe(targets.every(({ met }) => met) ? 0 : 1);
  });

  test('does not begin with an option that it does not know', () => {
    expect(node('bench/run.mjs', '--only', 'nothing').status).toBe(2);
    expect(node('bench/run.mjs', '--rounds', '0').status).toBe(2);
    expect(node('bench/run.mjs', '--family', '5').status).toBe(2);
  });
});
