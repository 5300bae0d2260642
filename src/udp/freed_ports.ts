// The ports that sockets of ours have given back. Plain data.

/** The oldest first, so that stray datagrams find nobody. */
export class FreedPorts {
  #ports: number[] = [];
  #from = 0;
  #released = 0;

  get size(): number {
    return this.#ports.length - this.#from;
  }

  /** How often one was given back. */
  get released(): number {
    return this.#released;
  }

  release(port: number): void {
    this.#ports.push(port);
    this.#released++;
  }

  take(): number | undefined {
    if (this.size === 0) return undefined;
    const port = this.#ports[this.#from];
    this.#from++;
    // Not at every step: moving what is left is linear.
    if (this.#from > 1024 && this.#from * 2 > this.#ports.length) {
      this.#ports = this.#ports.slice(this.#from);
      this.#from = 0;
    }
    return port;
  }

  /** Goes through those that were given back before `released` was this number; only those stay of which `keep` says so. */
  filter(released: number, keep: (port: number) => boolean): void {
    const ports = this.#ports.slice(this.#from);
    const before = ports.length - (this.#released - released);
    this.#ports = ports.filter((port, at) => at >= before || keep(port));
    this.#from = 0;
  }
}
