// Distinct ports. Plain data.
import { clearBit, countBits, hasBit, noPorts, type PortBits, portsIn, setBit } from '../values/port_bits';

/** So many ports take as much memory in a Set as 65,536 bits do. */
const FEW = 128;

/** Few ports are in a Set, many in 8 KB of bits: a destination that has met one foreign port costs no 8 KB. */
export class PortSet {
  #few: Set<number> | undefined = new Set();
  #bits: PortBits | undefined = undefined;
  #many = 0;

  get size(): number {
    return this.#few?.size ?? this.#many;
  }

  has(port: number): boolean {
    return this.#bits === undefined ? (this.#few?.has(port) ?? false) : hasBit(this.#bits, port);
  }

  add(port: number): void {
    if (this.#few !== undefined) {
      this.#few.add(port);
      if (this.#few.size > FEW) this.#becomeMany(this.#few);
    } else if (this.#bits !== undefined && !hasBit(this.#bits, port)) {
      setBit(this.#bits, port);
      this.#many++;
    }
  }

  delete(port: number): void {
    if (this.#few !== undefined) this.#few.delete(port);
    else if (this.#bits !== undefined && hasBit(this.#bits, port)) {
      clearBit(this.#bits, port);
      this.#many--;
    }
  }

  /** As they are now, few in the order in which they came, many in ascending order. */
  values(): Uint16Array {
    return Uint16Array.from(this.#few ?? portsIn(this.#bits ?? noPorts()));
  }

  /** Of these and of `more` those stay that are `among` others; the rest of them is returned. Word by word, for there may be very many. */
  keep(more: PortBits, among: PortBits): PortBits {
    const bits = this.#bits ?? this.#becomeMany(this.#few ?? []);
    const rest = noPorts();
    this.#many = 0;
    for (let at = 0; at < bits.length; at++) {
      const all = (bits[at] as number) | (more[at] as number);
      if (all === 0) continue;
      bits[at] = all & (among[at] as number);
      rest[at] = all & ~(among[at] as number);
      this.#many += countBits(bits[at] as number);
    }
    if (this.#many <= FEW) {
      this.#few = new Set(this.values());
      this.#bits = undefined;
    }
    return rest;
  }

  #becomeMany(few: Iterable<number>): PortBits {
    this.#bits = noPorts();
    this.#few = undefined;
    this.#many = 0;
    for (const port of few) this.add(port);
    return this.#bits;
  }
}
