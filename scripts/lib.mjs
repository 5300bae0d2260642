// What the project's scripts share.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
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
