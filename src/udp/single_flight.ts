// Concurrent callers share one dump. This file does no I/O of its own.

/** One flight at a time. Nobody gets the result of a flight that began before they joined. */
export class SingleFlight<T> {
  #underWay: Promise<T> | undefined;

  /**
   * Shares the flight that begins next: at once, unless one is under way, whose end is then waited for.
   *
   * `fly` is the same for all callers, so it does not matter whose is called. A caller whose `signal` is aborted by then begins no
   * flight and gets undefined.
   */
  async join(fly: () => Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    const before = this.#underWay;
    if (before !== undefined) {
      // Its outcome is for those who share it.
      await before.catch(() => undefined);
      if (signal?.aborted === true) return undefined;
    }
    // All who waited go on in one turn: the first of them begins the flight, the others find it under way.
    this.#underWay ??= this.#begin(fly);
    return this.#underWay;
  }

  async #begin(fly: () => Promise<T>): Promise<T> {
    try {
      // In a function of its own, so that a synchronous exception, too, comes after the flight is under way.
      return await (async () => fly())();
    } finally {
      this.#underWay = undefined;
    }
  }
}
