// Chance that can be had again: the same seed, the same choices.

/** Numbers from 0 to 1 (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What is chosen with it. */
export class Chance {
  #random;

  constructor(seed) {
    this.#random = randomFrom(seed);
  }

  below(limit) {
    return Math.floor(this.#random() * limit);
  }

  between(low, high) {
    return low + this.below(high - low + 1);
  }

  of(list) {
    return list[this.below(list.length)];
  }

  /** True that often. */
  is(share) {
    return this.#random() < share;
  }

  /** Exponentially distributed. */
  around(mean) {
    return -Math.log(1 - this.#random()) * mean;
  }
}
