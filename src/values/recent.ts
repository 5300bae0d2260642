// What was true a moment ago: a hint that is looked at again soon.

/** Milliseconds. */
const LIFETIME = 1000;
const MOST = 256;

/** Never more than 256 keys, each for a second. Times are those of `performance.now()`. */
export class Recent<T> {
  readonly #entries = new Map<string, { readonly value: T; readonly until: number }>();

  get(key: string, now: number): T | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && now < entry.until ? entry.value : undefined;
  }

  set(key: string, value: T, now: number): void {
    if (this.#entries.size === MOST && !this.#entries.has(key)) this.#entries.clear();
    this.#entries.set(key, { value, until: now + LIFETIME });
  }
}
