// How often the kernel is asked again for ports that it said others have, and who waits for that. No I/O.
import { setTimeout } from '../values/timers';

/** "No port is left" is said only of what the kernel has said at most so long ago, in ms. */
export const BELIEVED_MS = 25;

/** A look takes some ms. Nobody waits longer for one, in ms: the threads of libuv may be busy with something else for long. */
export const STUCK_MS = 500;

/** The looks at the ports towards one destination take at most one part in so many of a processor. */
const SHARE = 20;

/** By so much, in ms of a processor, they may be ahead of that: who fills a range looks two or three times in a row. */
const AHEAD_MS = 20;

/** Nobody rests longer than this, in ms, for what looks have taken. */
const LONGEST_REST_MS = 1000;

/** What a question costs, in ms, and for how many ports the questions cost no more than the refusal itself. */
const QUESTION_MS = 0.003;
const NEXT_TO_NOTHING = 16;

/** So many ports are asked for at once: the more, the fewer of them are free. */
const FEWEST_QUESTIONS = 8;
const MOST_QUESTIONS = 64;

/** The looks at the ports towards one destination. Times are in ms. */
export class Looks {
  /** When the last one began that has come to its end. */
  #confirmed = Number.NEGATIVE_INFINITY;
  /** When all that was taken so far will be no more than the share. */
  #paid = Number.NEGATIVE_INFINITY;
  #questions = FEWEST_QUESTIONS;
  readonly #resting: ((woken: true) => void)[] = [];
  #underWay: { readonly began: number; readonly end: Promise<boolean> } | undefined = undefined;

  /** For how many to ask at once, so that mostly a few of them are found. */
  get questions(): number {
    return this.#questions;
  }

  /** So many of them were. */
  noteFound(found: number, asked: number): void {
    if (4 * found < asked) this.#questions = Math.min(2 * this.#questions, MOST_QUESTIONS);
    else if (2 * found > asked) this.#questions = Math.max(this.#questions / 2, FEWEST_QUESTIONS);
  }

  /** For so many ports the kernel has been asked one by one, from `began` on. */
  asked(count: number, began: number): void {
    this.#confirmed = began;
    if (count > NEXT_TO_NOTHING) this.#take(QUESTION_MS * count, began);
  }

  /** The whole table was read, from `began` on, which has taken so many ms of a processor; `isWhole`: it could be. */
  read(isWhole: boolean, began: number, cost: number): void {
    if (isWhole) this.#confirmed = began;
    this.#take(cost, began);
  }

  /** Whether what the kernel has said of so many ports still holds. */
  isBelieved(count: number, now: number): boolean {
    const life = count > NEXT_TO_NOTHING ? Math.min(BELIEVED_MS, SHARE * QUESTION_MS * count) : 0;
    return now - this.#confirmed < life;
  }

  /** Whether the kernel was asked for all of them since. */
  isSince(time: number): boolean {
    return this.#confirmed >= time;
  }

  /** How long the next look has to wait; 0: not at all. One that is shared never has to. */
  pause(now: number): number {
    if (this.#shared(now) !== undefined) return 0;
    // The end of one that is under way, and began too long ago to be shared, wakes whoever rests.
    const isAwaited = this.#underWay !== undefined && !this.isStuck(now);
    return Math.max(this.#paid - SHARE * AHEAD_MS - now, isAwaited ? BELIEVED_MS : 0);
  }

  /** Whether the look that is under way does not come to its end: then no other one is begun. */
  isStuck(now: number): boolean {
    return this.#underWay !== undefined && now - this.#underWay.began >= STUCK_MS;
  }

  /**
   * Shares the look that is under way, or begins one; only when there is no pause. True: it has come to its end. `read` is the same for
   * all callers, so it does not matter whose is called. `cost`: what reading has taken so far, in ms of a processor.
   */
  join(read: () => Promise<boolean>, now: number, cost: () => number): Promise<boolean> {
    return this.#shared(now) ?? this.#begin(read, now, cost);
  }

  /** Until the pause is over; for the first of those who rest, until a port is given back. */
  rest(pause: number): Promise<true> {
    return new Promise((resolve) => {
      if (this.#resting.length === 0) setTimeout(() => this.#wakeAll(), pause);
      this.#resting.push(resolve);
    });
  }

  /** A port has been given back. */
  wakeOne(): void {
    this.#resting.shift()?.(true);
  }

  #wakeAll(): void {
    for (const wake of this.#resting.splice(0)) wake(true);
  }

  #shared(now: number): Promise<boolean> | undefined {
    if (this.#underWay === undefined || now - this.#underWay.began >= BELIEVED_MS) return undefined;
    return this.#underWay.end;
  }

  #begin(read: () => Promise<boolean>, began: number, cost: () => number): Promise<boolean> {
    const before = cost();
    const end = (async () => {
      let isWhole = false;
      try {
        // In a function of its own: also a synchronous exception comes after it is under way.
        isWhole = await (async () => read())();
      } finally {
        this.#underWay = undefined;
        this.read(isWhole, began, cost() - before);
        this.#wakeAll();
      }
      return isWhole;
    })();
    this.#underWay = { began, end };
    return end;
  }
  #take(cost: number, began: number): void {
    const paid = Math.max(this.#paid, began) + SHARE * cost;
    this.#paid = Math.min(paid, began + SHARE * AHEAD_MS + LONGEST_REST_MS);
  }
}
