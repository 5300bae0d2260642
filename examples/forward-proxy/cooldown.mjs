// Destinations for which one tenant had no port left a moment ago. A connect that fails so has looked through every port, which
// takes a thousand times as long as one that succeeds: a client that asks again and again must not make the proxy do it each time.

export class Cooldown {
  #ms;
  #resting = new Map();

  constructor(ms) {
    this.#ms = ms;
  }

  has(address, port) {
    return this.#resting.has(`${address} ${port}`);
  }

  start(address, port) {
    const key = `${address} ${port}`;
    clearTimeout(this.#resting.get(key));
    const timer = setTimeout(() => this.#resting.delete(key), this.#ms).unref();
    this.#resting.set(key, timer);
  }

  /** A connection there has closed: there may be a port. */
  end(address, port) {
    const key = `${address} ${port}`;
    clearTimeout(this.#resting.get(key));
    this.#resting.delete(key);
  }
}
