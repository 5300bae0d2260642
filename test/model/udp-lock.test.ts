// The lock of native/udp/lock.cc, checked by exhaustion: model/README.md says what the model stands for.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const model = join(import.meta.dirname, '../../model/udp-lock.pml');
const run = promisify(execFile);
const missing = [
  ['spin', '-V'],
  ['gcc', '--version'],
].flatMap(([command = '', argument = '']) => (spawnSync(command, [argument]).error ? [command] : []));

interface Search {
  /** What makes the model another one: see its first comment. */
  define?: string[];
  /** Options of the verifier's compilation, and of the verifier. */
  compile?: string[];
  verify?: string[];
}
const assertions = { compile: ['-DSAFETY'] };
const livelock = { compile: ['-DNP', '-DNFAIR=3'], verify: ['-l'] };
// Only cycles in which every contender gets its turn.
const fairLivelock = { ...livelock, verify: ['-l', '-f'] };

/** Runs the verifier over every reachable state, up to the first error, and returns its report. */
async function search({ define = [], compile = [], verify = [] }: Search): Promise<string> {
  const cwd = mkdtempSync(join(tmpdir(), 'connectx-model-'));
  try {
    await run('spin', ['-a', ...define.map((name) => `-D${name}`), model], { cwd });
    // -DNOREDUCE: no state is left out for being like another.
    await run('gcc', ['-w', '-DNOREDUCE', ...compile, '-o', 'pan', 'pan.c'], { cwd });
    return (await run('./pan', ['-m500000', '-w21', ...verify], { cwd })).stdout;
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

const OWNERS = 'assertion violated (owners[dst]<=1)';
const GIVEN_TWICE = /assertion violated .*given\[0\]&&given\[1\]/;
const ENDS_UNLOCKED = /assertion violated .*hashed\[0\].*established\[0\]&&reuse\[0\]/;
const REFUSED_RIGHTLY = 'assertion violated (peer[best[me]]==dst)';
const LIVELOCK = 'non-progress cycle (at depth';

const title = 'the lock of UDP 4-tuples: 3 contenders, 2 destinations';
describe.concurrent(missing.length === 0 ? title : `${title} [left out: ${missing.join(', ')} not installed]`, () => {
  const check = missing.length === 0 ? test : test.skip;

  check.each([
    { asked: 'never two owners, never locked for good', ...assertions },
    { asked: 'the same with one of them bound to a device', ...assertions, define: ['DEVICE'] },
    { asked: 'the same where connect(2) may lead elsewhere', ...assertions, define: ['REWRITE'] },
    { asked: 'no livelock when losers outwait winners', ...livelock, define: ['SETTLE'] },
  ])('holds in every state: $asked', { timeout: 400_000 }, async (given) => {
    const report = await search({ ...given, compile: ['-O1', ...given.compile] });
    expect(report).toContain('Full statespace search for:');
    expect(report).toMatch(/errors: 0\n/);
    expect(report).toMatch(/\d{6,} states, stored/);
    expect(report).not.toMatch(/max search depth too small|Search not completed|hash-compact|Bit statespace/i);
    // Every statement of the model was executed: no question was answered by never being asked.
    const unreached = [...report.matchAll(/unreached in .*\n(?:\t.*\n)*?\t\((\d+) of \d+ states\)/g)];
    expect(unreached.map(([, count]) => count)).toEqual(['0', '0', '0']);
  });

  check.each([
    { define: ['UNLOCK_BEFORE_CONNECT'], violated: OWNERS, ...assertions },
    { define: ['LOOKUP_BEFORE_LOCK'], violated: OWNERS, ...assertions },
    { define: ['NO_LOCK'], violated: OWNERS, ...assertions },
    { define: ['NO_COOKIE'], violated: OWNERS, ...assertions },
    { define: ['NO_BARRIER'], violated: OWNERS, ...assertions },
    { define: ['TIES_VARY'], violated: OWNERS, ...assertions },
    { define: ['DEVICE', 'DEVICE_BLIND'], violated: OWNERS, ...assertions },
    { define: ['ALONE_SHARES'], violated: OWNERS, ...assertions },
    { define: ['ALONE_UNLOCKS'], violated: OWNERS, ...assertions },
    { define: ['NO_UNLOCK'], violated: ENDS_UNLOCKED, ...assertions },
    { define: ['REWRITE', 'NO_VERIFY'], violated: GIVEN_TWICE, ...assertions },
    { define: ['TRUST_STATE'], violated: REFUSED_RIGHTLY, ...assertions },
    { define: ['SETTLE', 'IMPATIENT'], violated: LIVELOCK, ...fairLivelock },
  ])('is found wrong with $define', { timeout: 120_000 }, async ({ violated, ...given }) => {
    const report = await search(given);
    expect(report).toMatch(/errors: [1-9]/);
    if (typeof violated === 'string') expect(report).toContain(violated);
    else expect(report).toMatch(violated);
  });
});
