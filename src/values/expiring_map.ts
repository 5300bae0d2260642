// What was true a moment ago. A hint, never a verdict: what is forgotten here is asked again.

/** Each entry lives for the same time; beyond the limit the oldest goes. Times are milliseconds of a monotonic clock. */
export class ExpiringMap<V> {
  readonly #lifetime: number;
  readonly #limit: number;
  /** In the order in which they end. */
  readonly #entries = new Map<string, { readonly value: V; readonly until: number }>();

  /** `lifetime` in ms; 0: nothing is kept. */
  constructor(lifetime: number, limit: number) {
    this.#lifetime = lifetime;
    this.#limit = limit;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  get(key: string, now: number): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (now < entry.until) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  has(key: string, now: number): boolean {
    return this.get(key, now) !== undefined;
  }

  /** From now on, for the whole lifetime. */
  set(key: string, value: V, now: number): void {
    if (this.#lifetime === 0) return;
    // Deleted first, so that it goes to the end.
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: now + this.#lifetime });
    for (const [oldest, { until }] of this.#entries) {
      if (until > now && this.#entries.size <= this.#limit) break;
      this.#entries.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  /** How many there are now. */
  count(now: number): number {
    let count = 0;
    for (const { until } of this.#entries.values()) if (until > now) count++;
    return count;
  }
}
