// Programs of test/fixtures, each in a process of its own, in the network namespace of the calling thread.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

export function fixture(name: string): string {
  return join(import.meta.dirname, '../fixtures', name);
}

/**
 * What a fixture prints (JSON), run without any privilege over the network namespace: as a process of another user namespace
 * it has no capability there, whoever it is.
 */
export async function runUnprivileged(name: string, argument: unknown): Promise<unknown> {
  const args = ['-U', process.execPath, fixture(name), JSON.stringify(argument)];
  const { stdout } = await promisify(execFile)('unshare', args, { timeout: 20_000 });
  return JSON.parse(stdout);
}
