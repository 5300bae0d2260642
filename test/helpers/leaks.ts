// Calls that must leave the process as it was, very many of them.
import type * as net from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { closed, descriptorCount } from './sockets.js';

/** `npm run nightly` makes ten times as many. */
export const CALLS = 1000 * Number(process.env.CONNECTX_TEST_REPEAT ?? 1);
export const AT_ONCE = 100;

/** Handles and requests that connections stand on, of this whole process. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) {
    if (/^(TCP|Pipe|Connect|GetAddrInfo)/.test(name)) counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** Does it `CALLS` times, `AT_ONCE` at a time, and compares before and after. */
export async function leavesNothing(act: (index: number) => unknown): Promise<void> {
  // What is opened once and for all, at the first call.
  await act(0);
  const now = () => ({ descriptors: descriptorCount(), resources: resources() });
  // libuv closes a handle at the end of a turn, when core may have said 'close' already; a server hears later still.
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  const before = now();
  for (let done = 0; done < CALLS; done += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) => act(done + index)));
    await new Promise(setImmediate);
  }
  for (let turn = 0; turn < 1000 && !isDeepStrictEqual(now(), before); turn++) await new Promise(setImmediate);
  expect(now()).toEqual(before);
}

export interface Expected {
  code: string;
  reason?: string;
  syscall?: string;
}

/** Waits for the end of a socket that must not connect. */
export async function fails(socket: net.Socket, expected: Expected | undefined): Promise<void> {
  let error: unknown;
  socket.on('error', (reported) => (error = reported));
  socket.on('connect', () => (error = new Error('connected')));
  await closed(socket);
  // Quickly, for it is done so often; vitest is asked to tell the difference.
  if (expected === undefined ? error === undefined : error instanceof Error && agrees(error, expected)) return;
  expect(error).toEqual(expected === undefined ? undefined : expect.objectContaining({ ...expected }));
}

const agrees = (error: object, expected: object): boolean =>
  Object.entries(expected).every(([key, value]) => (error as Record<string, unknown>)[key] === value);
