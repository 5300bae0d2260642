// The flows of all clients: how many there may be, how long, and which of them make room for newcomers.

export class Flows {
  #limits;
  #stats;
  #flows = new Map();
  /** Those whose client has sent a single datagram, the oldest first. A flood of spoofed addresses leaves nothing else. */
  #unproven = new Set();
  #byNetwork = new Map();
  #opening = 0;

  constructor(limits, stats) {
    this.#limits = limits;
    this.#stats = stats;
  }

  get size() {
    return this.#flows.size;
  }

  /** Those that have no socket yet. */
  get opening() {
    return this.#opening;
  }

  get(key) {
    return this.#flows.get(key);
  }

  /** Makes room for one more flow of this network; returns the reason why there is none, or undefined. */
  refusal(network) {
    const { flows, flowsPerClient, opening } = this.#limits;
    // What waits for a name that does not resolve is bounded for all of them together.
    if (this.#opening >= opening) return 'opening';
    const own = this.#byNetwork.get(network) ?? new Set();
    if (own.size >= flowsPerClient && !this.#replace(own)) return 'client';
    if (this.#flows.size >= flows && !this.#replace(this.#unproven)) return 'flows';
    return undefined;
  }

  /** Whether this network has as many flows as it may. */
  isFull(network) {
    return (this.#byNetwork.get(network)?.size ?? 0) >= this.#limits.flowsPerClient;
  }

  /** Its client is another peer from now on. False if that one has a flow of its own, or this one is closed. */
  move(flow, { peer, network }) {
    if (this.#flows.has(peer) || this.#flows.get(flow.key) !== flow) return false;
    this.#flows.delete(flow.key);
    this.#leave(flow);
    flow.key = peer;
    flow.network = network;
    this.#flows.set(peer, flow);
    this.#join(flow);
    this.#stats.flows.moved++;
    return true;
  }

  #join(flow) {
    const own = this.#byNetwork.get(flow.network) ?? new Set();
    this.#byNetwork.set(flow.network, own.add(flow));
  }

  #leave(flow) {
    const own = this.#byNetwork.get(flow.network);
    own.delete(flow);
    if (own.size === 0) this.#byNetwork.delete(flow.network);
  }

  /** Closes the oldest of these flows that is unproven; false if there is none. Those being opened end by themselves. */
  #replace(flows, rests = true) {
    for (const flow of flows) {
      if (flow.isProven || !flow.isOpen) continue;
      this.#stats.flows.replaced++;
      this.remove(flow, rests);
      return true;
    }
    return false;
  }

  /** No other port is left towards this upstream: closes the oldest unproven flow that has one. False if there is none. */
  yieldPort({ host, port }) {
    const towards = [...this.#unproven].filter(({ upstream }) => upstream.host === host && upstream.port === port);
    return this.#replace(towards, false);
  }

  /** Resolves when it is open; rejects as flow.open() does. */
  async add(flow, yieldPort) {
    this.#flows.set(flow.key, flow);
    this.#unproven.add(flow);
    this.#join(flow);
    this.#opening++;
    try {
      await flow.open(yieldPort);
    } finally {
      this.#opening--;
    }
  }

  /** To be called when its client has sent a datagram. */
  heard(flow) {
    if (flow.isProven) this.#unproven.delete(flow);
  }

  /** Closes it, unless that was done before. Returns how many datagrams were lost with it. */
  remove(flow, rests = true) {
    if (this.#flows.get(flow.key) !== flow) return 0;
    this.#flows.delete(flow.key);
    this.#unproven.delete(flow);
    this.#leave(flow);
    return flow.close(rests);
  }

  /** Closes those whose client has sent nothing for so many ms. */
  evict(idle) {
    const oldest = performance.now() - idle;
    for (const flow of this.#flows.values()) {
      if (!flow.isOpen || flow.lastHeard > oldest) continue;
      this.#stats.flows.evicted++;
      this.remove(flow);
    }
  }

  close() {
    for (const flow of this.#flows.values()) this.#stats.dropped.failed += this.remove(flow, false);
  }
}
