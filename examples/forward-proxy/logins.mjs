// Wrong passwords are answered late, and few at a time for each client network, so that guessing takes for ever.

export class FailedLogins {
  #delay;
  #limit;
  /** How many answers wait, by network. */
  #waiting = new Map();

  /** `delay`: ms; `limit`: how many may wait for each network. */
  constructor(delay, limit) {
    this.#delay = delay;
    this.#limit = limit;
  }

  /** Whether no more passwords are to be looked at: more at a time would be more guesses. */
  isFull(network) {
    return (this.#waiting.get(network) ?? 0) >= this.#limit;
  }

  /** Calls `answer` when it is time. */
  delay(network, answer) {
    this.#waiting.set(network, (this.#waiting.get(network) ?? 0) + 1);
    setTimeout(() => {
      const left = this.#waiting.get(network) - 1;
      if (left === 0) this.#waiting.delete(network);
      else this.#waiting.set(network, left);
      answer();
    }, this.#delay).unref();
  }
}
