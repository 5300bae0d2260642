// The two drivers of work that waits: both get to the same end, and all work together leaves the event loop its turns.
import { performance } from 'node:perf_hooks';
import { expect, test, vi } from 'vitest';
import { ask, inTurns, runNow, takeTurns, TURN, turnIsOver, type Work } from '../../src/connect/steps';

function* everyKind(seen: unknown[]): Work<string> {
  yield TURN;
  yield 0.01;
  yield 2;
  seen.push(yield* ask({ now: () => 'now', later: () => Promise.resolve('later') }));
  return 'done';
}

/** Busy for this long, a little at a time. */
function* busy(ms: number): Work<void> {
  for (let spent = 0; spent < ms;) {
    if (turnIsOver()) yield TURN;
    const before = performance.now();
    while (performance.now() - before < 0.2);
    spent += 0.2;
  }
}

test('work that blocks and work that takes turns get to the same end', async () => {
  const seen: unknown[] = [];
  expect(runNow(everyKind(seen))).toBe('done');
  expect(await inTurns(everyKind(seen))).toBe('done');
  expect(seen).toEqual(['now', 'later']);
});

test('work that need not wait is done at once', () => {
  const done = vi.fn();
  // eslint-disable-next-line require-yield -- that is the point
  const work = (function* (): Work<number> {
    return 7;
  })();
  takeTurns(work, { goesOn: () => true, done, failed: done });
  expect(done).toHaveBeenCalledExactlyOnceWith(7);
});

test('a hundred searches of 5 ms share the budget of a turn', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const searches = Array.from({ length: 100 }, () => inTurns(busy(5)));
  // 500 ms of work in turns of 2 ms: with a budget for each of them there would be one or two turns.
  await Promise.all(searches);
  clearInterval(timer);
  expect(turns).toBeGreaterThan(60);
});

test('what the work throws arrives, and what it asked for may fail', async () => {
  const question = { now: () => 0, later: () => Promise.reject(new Error('no answer')) };
  await expect(inTurns(ask(question))).rejects.toThrow('no answer');
  const throwing = (function* (): Work<void> {
    yield TURN;
    throw new Error('broken');
  })();
  await expect(inTurns(throwing)).rejects.toThrow('broken');
});

test('an abort ends the work while it waits, and its finally runs', async () => {
  const controller = new AbortController();
  const cleanedUp = vi.fn();
  const work = (function* (): Work<void> {
    try {
      for (;;) yield 1;
    } finally {
      cleanedUp();
    }
  })();
  const beforeWait = vi.fn();
  const ended = inTurns(work, controller.signal, beforeWait);
  controller.abort(new Error('enough'));
  await expect(ended).rejects.toThrow('enough');
  await vi.waitUntil(() => cleanedUp.mock.calls.length === 1);
  expect(beforeWait).toHaveBeenCalled();
});

test('work that must not go on is ended, and nobody hears of it', async () => {
  const done = vi.fn();
  const cleanedUp = vi.fn();
  let goesOn = true;
  const work = (function* (): Work<void> {
    try {
      yield TURN;
    } finally {
      cleanedUp();
    }
  })();
  takeTurns(work, { goesOn: () => goesOn, done, failed: done });
  goesOn = false;
  await vi.waitUntil(() => cleanedUp.mock.calls.length === 1);
  expect(done).not.toHaveBeenCalled();
});

test('faked timers and clocks do not hang the work', async () => {
  vi.useFakeTimers();
  try {
    expect(await inTurns(everyKind([]))).toBe('done');
    await inTurns(busy(10));
  } finally {
    vi.useRealTimers();
  }
});
