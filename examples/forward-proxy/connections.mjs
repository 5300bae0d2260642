// Every socket of the proxy, so that none outlives its time: whatever the other side sends, leaves unread, or never ends.

/** With a reset, which leaves no TIME-WAIT that would keep a port of the source from being used again. */
export function breakOff(socket) {
  // A reset would wait for the connection.
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

export class Connections {
  /** Socket to the timer that will break it off, or undefined. */
  #open = new Map();
  #onEmpty = () => {};

  add(socket) {
    this.#open.set(socket, undefined);
    socket.once('close', () => {
      clearTimeout(this.#open.get(socket));
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#onEmpty();
    });
  }

  /** A deadline, which no byte puts off. */
  closeWithin(socket, ms) {
    if (!this.#open.has(socket) || this.#open.get(socket) !== undefined) return;
    this.#open.set(
      socket,
      setTimeout(() => breakOff(socket), ms),
    );
  }

  breakOff() {
    for (const socket of this.#open.keys()) breakOff(socket);
  }

  /** Resolves when none is open. */
  async closed() {
    if (this.#open.size > 0) await new Promise((resolve) => (this.#onEmpty = resolve));
  }
}
