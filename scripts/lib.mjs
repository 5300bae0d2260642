// What the project's scripts share.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs a command in the project folder, its output shown; ends the script when it fails. */
export function run(command, args, options = {}) {
  const { status, error, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) throw error;
  if (status !== 0) {
    console.error(`${command} ${args.join(' ')}: ${signal ?? `exit ${status}`}`);
    process.exit(status ?? 1);
  }
}

/** Whether the command exists and answers to these arguments with exit code 0. */
export function works(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'ignore' });
  return error === undefined && status === 0;
}

/** The newest modification time below these files and folders, in ms; 0 when there is none. */
export function newest(...paths) {
  let time = 0;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const status = statSync(path);
    if (!status.isDirectory()) time = Math.max(time, status.mtimeMs);
    else time = Math.max(time, newest(...readdirSync(path).map((name) => join(path, name))));
  }
  return time;
}

/** The commit that is checked out, with a + when files differ from it; undefined where there is no repository. */
function commit() {
  const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head.status !== 0) return undefined;
  return head.stdout.trim() + (git('status', '--porcelain', '--untracked-files=no').stdout === '' ? '' : '+');
}

/**
 * Keeps what a run of checks has come to in reports/NAME.json. `command` repeats it; each row is
 * `{ what, tried, failed, detail }`: a name, two counts, and a text for what else is worth knowing.
 */
export function report(
  name,
  command,
  rows,
  machine = { node: process.version, kernel: release(), arch: process.arch },
) {
  const folder = join(root, 'reports');
  mkdirSync(folder, { recursive: true });
  const text = JSON.stringify(
    { name, command, date: new Date().toISOString(), commit: commit(), ...machine, rows },
    undefined,
    2,
  );
  writeFileSync(join(folder, `${name}.json`), `${text}\n`);
}

/** The npm script with the arguments that it was given, as a user would type it. */
export const commandOf = (script, given) =>
  [`npm run ${script}`, ...(given.length > 0 ? ['--', ...given] : [])].join(' ');

/** What scripts/test.mjs has left in the file of CONNECTX_TEST_SUMMARY. Without it the tests have not come to their end. */
export function summaryIn(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { passed: 0, failed: 1, skipped: 0 };
}
