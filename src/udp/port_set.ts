// Distinct ports. Plain data.

/** So many ports take as much memory in a Set as 65,536 bits do. */
const FEW = 128;

/** Few ports are in a Set, many in 8 KB of bits: a destination that has met one foreign port costs no 8 KB. */
export class PortSet {
  #few: Set<number> | undefined = new Set();
  #bits: Uint32Array | undefined = undefined;
  #many = 0;

  get size(): number {
    return this.#few?.size ?? this.#many;
  }

  has(port: number): boolean {
    if (this.#bits === undefined) return this.#few?.has(port) ?? false;
    return ((this.#bits[port >> 5] ?? 0) & (1 << (port & 31))) !== 0;
  }

  add(port: number): void {
    if (this.#few !== undefined) {
      this.#few.add(port);
      if (this.#few.size > FEW) this.#becomeMany(this.#few);
    } else if (!this.has(port)) {
      this.#flip(port);
      this.#many++;
    }
  }

  delete(port: number): void {
    if (this.#few !== undefined) this.#few.delete(port);
    else if (this.has(port)) {
      this.#flip(port);
      this.#many--;
    }
  }

  /** As they are now, few in the order in which they came, many in ascending order. */
  values(): Uint16Array {
    if (this.#few !== undefined) return Uint16Array.from(this.#few);
    const ports = new Uint16Array(this.#many);
    let at = 0;
    for (const [index, word] of (this.#bits ?? []).entries()) {
      // The lowest bit that is set, each time.
      for (let rest = word; rest !== 0; rest &= rest - 1) ports[at++] = index * 32 + (31 - Math.clz32(rest & -rest));
    }
    return ports;
  }

  #becomeMany(few: Set<number>): void {
    this.#bits = new Uint32Array(2048);
    this.#few = undefined;
    this.#many = few.size;
    for (const port of few) this.#flip(port);
  }

  #flip(port: number): void {
    if (this.#bits !== undefined) this.#bits[port >> 5] = (this.#bits[port >> 5] ?? 0) ^ (1 << (port & 31));
  }
}
