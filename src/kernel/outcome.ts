// What a number that the addon returns means: an errno, and the system call that failed.
import { errnoName, systemError } from '../errors/connectx_error';
import type { Native } from './addon';
import { Answer } from './constants';

const SYSCALL_UNIT = 4096;

/** The errno of a negative outcome. */
export function errnoOf(outcome: number): number {
  return -outcome % SYSCALL_UNIT;
}

/** The system call of a negative outcome; empty when none was made. */
export function syscallOf(native: Native, outcome: number): string {
  return native.syscalls[Math.floor(-outcome / SYSCALL_UNIT)] ?? '';
}

/** The outcome, or a thrown system error. */
export function unwrap<T>(native: Native, outcome: T | number): T {
  if (typeof outcome === 'number' && outcome < 0) throw systemError(errnoOf(outcome), syscallOf(native, outcome));
  return outcome as T;
}

/** The name of the errno of a negative outcome. */
export function outcomeCode(outcome: number): string {
  return errnoName(errnoOf(outcome));
}

/** What the last call has answered beside its outcome. */
export function answerOf({ answers }: Native, answer: keyof typeof Answer): number {
  return answers[Answer[answer]] as number;
}
