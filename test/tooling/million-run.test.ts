// bench/million, small: everything that it does for a million flows, for a few hundred.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, expect, test } from 'vitest';
import { figuresOf } from '../../bench/lib/figures.mjs';
import { pageOf } from '../../bench/lib/parts.mjs';
import { describeIsolated } from '../helpers/netns.js';
import { need } from '../helpers/needs.js';
import { folderWith } from '../helpers/programs.js';

const program = join(import.meta.dirname, '../../bench/million/run.mjs');

interface Run {
  technique: 'dgram' | 'net' | 'connectUdp' | 'connect';
  open: number;
  errors: Record<string, number>;
  plan: { flows: number; ports: number; destinations: number; clients: number[] };
  checks: { what: string; expected: number; found: number; holds: boolean }[];
  echoes: { answered: number };
}

/** Processes with this in their environment. */
function processesWith(mark: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark);
      } catch {
        // It has ended meanwhile, or is somebody else's.
        return false;
      }
    });
}

/** Ten processes that start one after the other, and a machine that may be busy. */
const PATIENCE = 120_000;

describeIsolated('bench/million', () => {
  beforeEach(() => need('setpriv', 'taskset', 'sysctl'));

  test.each([4, 6])(
    'IPv%i: more flows than ports, all of them checked; core stops at the ports, connectx at those of each destination',
    async (family) => {
      // (source, *, 3 destinations) wanted by 2 --> # 400, all different, each echoed; core: # 200
      const json = join(folderWith(), 'figures.json');
      const options = [
        '--udp',
        '400',
        '--tcp',
        '400',
        '--range',
        '20000-20199',
        '--family',
        `${family}`,
        '--json',
        json,
      ];
      const { stdout } = await promisify(execFile)(process.execPath, [program, ...options]);
      const { runs } = JSON.parse(readFileSync(json, 'utf8')) as { runs: Run[] };
      expect(runs.map(({ technique, open }) => ({ technique, open }))).toEqual([
        { technique: 'dgram', open: 200 },
        { technique: 'connectUdp', open: 400 },
        { technique: 'connectUdp', open: 800 },
        { technique: 'net', open: 200 },
        { technique: 'connect', open: 400 },
        { technique: 'connect', open: 800 },
      ]);
      for (const { plan, open, errors, checks, echoes, technique } of runs) {
        expect(plan.clients).toHaveLength(2);
        expect(checks.filter(({ holds }) => !holds)).toEqual([]);
        expect(checks.find(({ what }) => what.startsWith('different 4-tuples'))).toMatchObject({ found: open });
        expect(echoes.answered).toBe(open);
        const refused = {
          dgram: 'EADDRINUSE',
          net: 'EADDRINUSE',
          connectUdp: 'EAGAIN ports-exhausted',
          connect: 'EADDRNOTAVAIL ports-exhausted',
        };
        expect(Object.keys(errors)).toEqual(plan.flows > open ? [refused[technique]] : []);
      }
      expect(stdout).toContain('400 of 400 wanted');
      // What docs/million.md would say of it.
      const figures = figuresOf(JSON.parse(readFileSync(json, 'utf8')) as object);
      const page: string = pageOf(
        figures,
        '<!-- figures: million -->\n<!-- end -->\n<!-- figures: core -->\n<!-- end -->\n',
      );
      expect(page).toContain('| open at the same time | 400 | 800 | 400 | 800 |');
      expect(page).toContain('| checks that fail | 0 of 14 | 0 of 14 | 0 of 14 | 0 of 14 |');
      expect(page.match(/\| 200 \| 2 \| 200 \|/g)).toHaveLength(2);
    },
  );

  test.each(['SIGINT', 'SIGKILL'] as const)(
    '%s in the middle: nothing is left',
    async (signal) => {
      const mark = `CONNECTX_TEST_MARK=${crypto.randomUUID()}`;
      const [name = '', value] = mark.split('=');
      const options = ['--udp', '20000', '--tcp', '0', '--no-control', '--no-full', '--range', '20000-29999'];
      const child = spawn(process.execPath, [program, ...options], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, [name]: value },
      });
      let output = '';
      child.stdout.on('data', (text) => (output += String(text)));
      while (!output.includes('20,000 flows wanted')) await once(child.stdout, 'data');
      // Coordinator, two servers, two clients, and the one that was started.
      expect(processesWith(mark).length).toBeGreaterThanOrEqual(6);
      child.kill(signal);
      const [code] = (await once(child, 'exit')) as [number | null];
      expect(code).toBe(signal === 'SIGINT' ? 130 : null);
      await expect.poll(() => processesWith(mark)).toEqual([]);
    },
    PATIENCE,
  );
});
