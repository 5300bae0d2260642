// Giving up when an AbortSignal says so.
import { takeTurns, type Work } from '../connect/steps';

/** Node's own error of an abort. */
export function abortError(signal: AbortSignal): Error {
  return Object.assign(new Error('The operation was aborted', { cause: signal.reason as unknown }), {
    code: 'ABORT_ERR',
    name: 'AbortError',
  });
}

/** The promise, or a rejection as soon as the signal is aborted. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return signal === undefined ? promise : untilAborted(promise, signal);
}

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let ignore = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    const abort = (): void => {
      reject(abortError(signal));
    };
    // Of one that is aborted already there is no event any more.
    if (signal.aborted) abort();
    else ignore = onAbort(signal, abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    ignore();
  }
}

/** Runs the work in turns with the event loop. An abort ends it. `beforeWait` is called before each turn of the event loop. */
export function inTurnsUntilAborted<T>(
  work: Work<T>,
  signal: AbortSignal | undefined,
  beforeWait: () => void,
): Promise<T> {
  const working = new Promise<T>((resolve, reject) => {
    takeTurns(work, {
      goesOn: () => signal?.aborted !== true,
      beforeWait,
      done: resolve,
      failed: reject,
    });
  });
  return abortable(working, signal);
}

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

// One listener for all calls with a signal: Node warns of more than ten. Returns what takes `callback` back.
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    callbacks = new Set();
    waiting.set(signal, callbacks);
    signal.addEventListener('abort', tellAborted, { once: true });
  }
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0) return;
    waiting.delete(signal);
    signal.removeEventListener('abort', tellAborted);
  };
}

function tellAborted({ target }: Event): void {
  for (const callback of waiting.get(target as AbortSignal) ?? []) callback();
}
