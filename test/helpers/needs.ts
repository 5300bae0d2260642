// Programs of the machine that a test needs, beyond those that README.md asks for.
import { spawnSync } from 'node:child_process';
import { TestRunner } from 'vitest';
import { plainEnvironment } from './environment.js';

const known = new Map<string, boolean>();

/** Whether a program of this name can be run. */
export function has(command: string): boolean {
  const before = known.get(command);
  if (before !== undefined) return before;
  const found = spawnSync(command, ['--help'], { stdio: 'ignore', env: plainEnvironment() }).error === undefined;
  known.set(command, found);
  return found;
}

/** Where one of these programs is missing, the test that is running ends here, and is named as left out. */
export function need(...commands: string[]): void {
  const missing = commands.filter((command) => !has(command));
  if (missing.length === 0) return;
  const why = `${missing.join(' and ')} is not installed`;
  const running = TestRunner.getCurrentTest();
  if (running === undefined) throw new Error(why);
  running.context.skip(why);
}
