// Every system call that the addon makes fails in turn with each errno that it can fail with, and every answer of the kernel over
// netlink is spoilt in each way that a decoder may meet (test/native/faults.cc does it, errnos.mjs says which). After each of them:
// an error that says what happened, or success by a fallback that keeps what was promised; no crash, no end that does not come,
// no descriptor and no socket that stays, no port that stays locked; and the next call works.
//
// `npm test` takes a fixed part of it, `npm run test:faults` all.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { preloading } from '../helpers/environment.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { scenarios } from './scenarios.mjs';

interface Report {
  scenario: string;
  cold: boolean;
  calls: string[];
  /** Faults that came about. */
  tried: number;
  /** Faults that did not: this time the call was not made. */
  missed: string[];
  outcomes: Record<string, string[]>;
  wrong: string[];
}

/** A folder for all that was found; it asks for all faults. */
const { CONNECTX_TEST_FAULTS: folder } = process.env;
const all = folder !== undefined;

const preload = join(import.meta.dirname, '../native/build/Release/faults.node');

async function run(scenario: string, cold: boolean, part: readonly [number, number]): Promise<Report> {
  const argument = JSON.stringify({ scenario, cold, part });
  const program = join(import.meta.dirname, 'program.mjs');
  const env = {
    ...process.env,
    ...preloading(preload),
    // One after the other, so that the n-th call is the same one each time.
    UV_THREADPOOL_SIZE: '1',
    // What a refusal leads to is warned of; that is tested elsewhere.
    NODE_NO_WARNINGS: '1',
  };
  const { stdout } = await promisify(execFile)(process.execPath, [program, argument], {
    env,
    timeout: all ? 1_700_000 : 28_000,
    maxBuffer: 64 * 2 ** 20,
  });
  return JSON.parse(stdout) as Report;
}

/** One of so many faults, for `npm test`; programs and threads take their time. */
function partOf(name: string, cold: boolean): [number, number] {
  if (all) return [0, 1];
  if (scenarios[name]?.isProgram) return [0, 131];
  return cold ? [1, 97] : [2, 19];
}

/** The tests of one file: every scenario, in a process of its own. */
export function faultTests(when: string, cold: boolean): void {
  const reports: Report[] = [];
  const unfinished = new Set<string>();
  // A program of its own is cold anyway.
  const possible = Object.entries(scenarios)
    .filter(([, { isProgram = false, onlyWarm = false }]) => !cold || !(isProgram || onlyWarm))
    .map(([name]) => name);
  // A thread for each fault takes its time.
  const names = possible.filter((_, index) => all || !cold || index % 3 === 2);

  describeIsolated(`every fault, one at a time, ${when}`, () => {
    useNetwork({
      range: [20000, 20003],
      addresses: [1, 14, 2, 3].flatMap((end) => [`192.0.2.${end}`, `2001:db8::${end}`]),
    });

    test.each(names)(
      '%s',
      async (name) => {
        unfinished.add(name);
        const report = await run(name, cold, partOf(name, cold));
        unfinished.delete(name);
        reports.push(report);
        expect(report.wrong).toEqual([]);
        if (all) expect(report.tried).toBeGreaterThan(0);
        // Some of the calls depend on chance (which port first?): then the fault may come too late.
        expect(report.missed.length).toBeLessThan(Math.max(5, report.tried / 3));
      },
      all ? 1_800_000 : 30_000,
    );

    afterAll(() => {
      const sum = (of: (report: Report) => number) => reports.reduce((total, report) => total + of(report), 0);
      const tried = sum((report) => report.tried);
      const survived = tried - sum((report) => report.wrong.length);
      const missed = sum((report) => report.missed.length);
      console.log(`faults, ${when}: ${tried} tried, ${survived} survived; ${missed} did not come about`);
      if (folder === undefined) return;
      mkdirSync(folder, { recursive: true });
      const summary = { when, tried, survived, missed, unfinished: [...unfinished], scenarios: reports };
      writeFileSync(
        join(folder, cold ? 'faults-cold.json' : 'faults-warm.json'),
        `${JSON.stringify(summary, undefined, 2)}\n`,
      );
    });
  });
}
