// Ports that rest. The socket of a flow that is over stays open for a while, and hears what the upstream still sends to it: with
// the port in other hands a late answer would reach the next client.

export class Resting {
  #rest;
  #limit;
  #hub;
  /** Socket to { upstream, timer }, the one that has rested longest first. */
  #sockets = new Map();

  /** `rest`: ms; `limit`: how many sockets. */
  constructor(rest, limit, hub) {
    this.#rest = rest;
    this.#limit = limit;
    this.#hub = hub;
  }

  get size() {
    return this.#sockets.size;
  }

  add(socket, upstream) {
    if (this.#sockets.size >= this.#limit) this.#end(this.#sockets.keys().next().value);
    // What it hears is read, and dropped.
    this.#hub.listen(socket, undefined);
    const timer = setTimeout(() => this.#end(socket), this.#rest);
    this.#sockets.set(socket, { upstream, timer });
  }

  /** No other port is left: ends the rest of the one that has rested longest. False if there is none. */
  yieldPort(upstream) {
    for (const [socket, each] of this.#sockets) {
      if (each.upstream.host !== upstream.host || each.upstream.port !== upstream.port) continue;
      this.#end(socket);
      return true;
    }
    return false;
  }

  #end(socket) {
    clearTimeout(this.#sockets.get(socket).timer);
    this.#sockets.delete(socket);
    this.#hub.closeSocket(socket);
  }

  close() {
    for (const socket of this.#sockets.keys()) this.#end(socket);
  }
}
