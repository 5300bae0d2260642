// What is passed over for a while. A hint, never a verdict: what is forgotten here is merely tried again.

/** Beyond it the oldest are forgotten. */
const LIMIT = 16_384;

/** Keys that are resting, each for the same time. Time is a parameter: milliseconds of a monotonic clock. */
export class CoolDown {
  readonly #ms: number;
  /** In the order in which their rest ends. */
  readonly #until = new Map<string, number>();

  constructor(ms: number) {
    this.#ms = ms;
  }

  get isEmpty(): boolean {
    return this.#until.size === 0;
  }

  start(key: string, now: number): void {
    if (this.#ms === 0) return;
    // Deleted first, so that it goes to the end.
    this.#until.delete(key);
    this.#until.set(key, now + this.#ms);
    for (const [oldest, until] of this.#until) {
      if (until > now && this.#until.size <= LIMIT) break;
      this.#until.delete(oldest);
    }
  }

  has(key: string, now: number): boolean {
    const until = this.#until.get(key);
    if (until === undefined) return false;
    if (until > now) return true;
    this.#until.delete(key);
    return false;
  }

  end(key: string): void {
    this.#until.delete(key);
  }

  /** How many are resting now. */
  count(now: number): number {
    let count = 0;
    for (const until of this.#until.values()) if (until > now) count++;
    return count;
  }
}
