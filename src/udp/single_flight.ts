// One look for all who wait for one at the same time. What there is to see is others' business: no I/O of its own.

/** Looks that are shared: one at a time, and nobody gets one that had begun before they asked. */
export class Survey<T> {
  #underWay: Promise<T> | undefined;

  /**
   * Shares the look that begins next: at once, unless one is under way, whose end is then waited for.
   *
   * `look` is the same for all callers, so that it does not matter whose is taken. Whoever has aborted `signal` by then begins none
   * and gets undefined.
   */
  async join(look: () => Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    const before = this.#underWay;
    if (before !== undefined) {
      // How it ends is told to those who share it.
      await before.catch(() => undefined);
      if (signal?.aborted === true) return undefined;
    }
    // All who waited go on in one turn: the first of them begins, the others find it under way.
    this.#underWay ??= this.#begin(look);
    return this.#underWay;
  }

  async #begin(look: () => Promise<T>): Promise<T> {
    try {
      // In a function of its own, so that one that throws at once, too, ends after it is under way.
      return await (async () => look())();
    } finally {
      this.#underWay = undefined;
    }
  }
}
