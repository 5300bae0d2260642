// The flows of all clients: how many there may be, and how long.

export class Flows {
  #limits;
  #stats;
  #flows = new Map();
  #byAddress = new Map();

  constructor(limits, stats) {
    this.#limits = limits;
    this.#stats = stats;
  }

  get size() {
    return this.#flows.size;
  }

  /** Those that have no socket yet. */
  get opening() {
    let count = 0;
    for (const { flow } of this.#flows.values()) if (!flow.isOpen) count++;
    return count;
  }

  get(key) {
    return this.#flows.get(key)?.flow;
  }

  /** The reason why there may be no more for this client; undefined if there may. */
  refusal(address) {
    if (this.#flows.size >= this.#limits.flows) return 'flows';
    if ((this.#byAddress.get(address) ?? 0) >= this.#limits.flowsPerClient) return 'client';
    return undefined;
  }

  add(key, address, flow, onRemoved) {
    this.#flows.set(key, { flow, address, onRemoved });
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
  }

  /** Closes it, unless another one has taken its place. Returns how many datagrams were lost with it. */
  remove(key, flow) {
    const entry = this.#flows.get(key);
    if (entry?.flow !== flow) return 0;
    this.#flows.delete(key);
    const count = this.#byAddress.get(entry.address) - 1;
    if (count === 0) this.#byAddress.delete(entry.address);
    else this.#byAddress.set(entry.address, count);
    const lost = flow.close();
    entry.onRemoved();
    return lost;
  }

  /** Closes those in which nothing has come or gone for so many ms. */
  evict(idle) {
    const oldest = performance.now() - idle;
    for (const [key, { flow }] of this.#flows) {
      if (flow.lastActive > oldest) continue;
      this.#stats.flows.evicted++;
      this.#stats.dropped.failed += this.remove(key, flow);
    }
  }

  close() {
    for (const [key, { flow }] of this.#flows) this.remove(key, flow);
  }
}
