// Two drivers for work that may have to wait, written as a generator: one blocks until the work is done, one gives way to the event
// loop. All work of a thread that gives way shares one budget for each turn of the event loop, however much of it there is.
//
// The work yields what it waits for:
//
//   if (turnIsOver()) yield TURN;            // after each step that costs something, a question to the kernel before all
//   yield 0.5;                               // milliseconds
//   const seen = yield* ask({ now, later }); // an answer that is read at once (block) or off the event loop (take turns)
//
// A program may have replaced timers and clocks (tests do), so they are taken when this module is loaded.
import { AsyncResource } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import * as timers from 'node:timers';

const { setImmediate, setTimeout } = timers;
const now = performance.now.bind(performance);

/** For this long, in ms, all work of a turn of the event loop may hold it. */
const BUDGET_MS = 2;

/** Waits shorter than this, in ms, are not worth a turn of the event loop. */
const WORTH_A_TURN_MS = 0.3;

/** Who blocks waits no longer than this at a time, in ms: whoever holds a lock may have lost its processor for longer than it asked. */
const LONGEST_BLOCK_MS = 1;

/** Yielded by work that may go on in the next turn of the event loop. */
export const TURN = Symbol('turn');

/** What takes a while to find out. */
export interface Question<T> {
  /** While the caller waits. */
  now(): T;
  /** Off the event loop. */
  later(): Promise<T>;
}

/** What work waits for. A number is a time in ms. */
export type Step = typeof TURN | number | Question<unknown>;

/** Work that may have to wait. */
export type Work<T> = Generator<Step, T, unknown>;

/** The answer to a question; to be called with `yield*`. */
export function* ask<T>(question: Question<T>): Work<T> {
  return (yield question) as T;
}

/** When this turn of the event loop has done enough; undefined: nothing has been done in it yet. */
let deadline: number | undefined;
const waiting: (() => void)[] = [];

/** Whether work is to yield {@link TURN}: all that was done in this turn of the event loop counts. */
export function turnIsOver(): boolean {
  if (deadline === undefined) {
    deadline = now() + BUDGET_MS;
    setImmediate(beginTurn);
  }
  return now() >= deadline;
}

/** The same, but work that has done nothing yet does not begin the budget: mostly one step is all that it takes. */
export function turnWasOver(): boolean {
  return deadline !== undefined && turnIsOver();
}

// The oldest first. Also goes on after a listener has thrown, because turnIsOver() has asked for the next turn by then.
function beginTurn(): void {
  deadline = undefined;
  while (waiting.length > 0 && !turnIsOver()) waiting.shift()?.();
}

// Whoever has asked for that turn, the work goes on in the context of the call that waits (AsyncLocalStorage). AsyncResource.bind() would
// take forty times as long (27 us).
function queue(resume: () => void): void {
  const context = new AsyncResource('connectx.turn');
  waiting.push(() => {
    context.runInAsyncScope(resume);
  });
}

function inLaterTurn(resume: () => void): void {
  queue(resume);
  // Sees to it that there is one.
  turnIsOver();
}

function whenThereIsTime(resume: () => void): void {
  if (turnIsOver()) queue(resume);
  else resume();
}

const cell = new Int32Array(new SharedArrayBuffer(4));

function block(ms: number): void {
  Atomics.wait(cell, 0, 0, ms);
}

/** Runs the work to its end while the caller waits. */
export function runNow<T>(work: Work<T>): T {
  let answer: unknown;
  for (;;) {
    const step = work.next(answer);
    if (step.done === true) return step.value;
    answer = undefined;
    if (typeof step.value === 'object') answer = step.value.now();
    else if (typeof step.value === 'number') block(Math.min(step.value, LONGEST_BLOCK_MS));
  }
}

/** Who waits for work that takes turns. */
export interface Waiter<T> {
  /** Asked whenever the work is to go on. False: it ends there (its `finally` runs), and nothing more is called. */
  goesOn(): boolean;
  /** The event loop is about to have a turn. */
  beforeWait?(): void;
  /** Maybe before {@link takeTurns} has returned. */
  done(value: T): void;
  /** What the work has thrown. */
  failed(error: unknown): void;
}

/** Runs the work up to its first wait, and the rest of it in later turns of the event loop. */
export function takeTurns<T>(work: Work<T>, waiter: Waiter<T>): void {
  resumer(work, waiter)(() => work.next());
}

/** The same for work that has come to its first wait already, and waits for this. */
export function goOnInTurns<T>(work: Work<T>, step: Step, waiter: Waiter<T>): void {
  waiter.beforeWait?.();
  wait(step, resumer(work, waiter), work);
}

type Resume<T> = (next: () => IteratorResult<Step, T>) => void;

function resumer<T>(work: Work<T>, waiter: Waiter<T>): Resume<T> {
  const resume: Resume<T> = (next) => {
    if (!waiter.goesOn()) {
      work.return(undefined as T);
      return;
    }
    const last = advance(work, next);
    if ('thrown' in last) waiter.failed(last.thrown);
    else if (last.step.done === true) waiter.done(last.step.value);
    else {
      waiter.beforeWait?.();
      wait(last.step.value, resume, work);
    }
  };
  return resume;
}

type Last<T> = { readonly step: IteratorResult<Step, T> } | { readonly thrown: unknown };

// Short waits are over before the event loop could have its turn.
function advance<T>(work: Work<T>, next: () => IteratorResult<Step, T>): Last<T> {
  try {
    let step = next();
    while (step.done !== true && typeof step.value === 'number' && step.value < WORTH_A_TURN_MS) {
      block(step.value);
      step = work.next();
    }
    return { step };
  } catch (thrown) {
    return { thrown };
  }
}

function wait<T>(step: Step, resume: Resume<T>, work: Work<T>): void {
  if (step === TURN) {
    inLaterTurn(() => {
      resume(() => work.next());
    });
  } else if (typeof step === 'number') {
    setTimeout(() => {
      whenThereIsTime(() => {
        resume(() => work.next());
      });
    }, step);
  } else {
    const goOn = (next: () => IteratorResult<Step, T>): void => {
      whenThereIsTime(() => {
        resume(next);
      });
    };
    void step.later().then(
      (answer) => goOn(() => work.next(answer)),
      (error: unknown) => goOn(() => work.throw(error)),
    );
  }
}

/**
 * The same as a promise. An abort ends the work, and rejects at once with the signal's reason, even while the work waits for something.
 * `beforeWait` is called before each wait.
 */
export function inTurns<T>(work: Work<T>, signal?: AbortSignal, beforeWait?: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      // A generator that is running (a callback of the user's has aborted) cannot be ended; goesOn() sees to it.
      reject(signal?.reason as Error);
    };
    signal?.addEventListener('abort', aborted, { once: true });
    const settled = (): void => {
      signal?.removeEventListener('abort', aborted);
    };
    takeTurns(work, {
      goesOn: () => {
        if (signal?.aborted !== true) return true;
        aborted();
        return false;
      },
      ...(beforeWait === undefined ? {} : { beforeWait }),
      done: (value) => {
        settled();
        resolve(value);
      },
      failed: (error) => {
        settled();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what the work has thrown
        reject(error);
      },
    });
  });
}
