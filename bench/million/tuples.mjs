// Sets of 4-tuples from one source address: a 4-tuple is a destination and a local port, and so a bit. However many there are,
// a set takes 8 KiB for each destination. Plain data, no I/O.

const BYTES = 65536 / 8;

export class TupleSet {
  /** For the wire, and from there. */
  bytes;
  size = 0;

  constructor(destinations, bytes = new Uint8Array(destinations * BYTES)) {
    if (bytes.length !== destinations * BYTES)
      throw new RangeError(`${bytes.length} bytes are no set of ${destinations}`);
    this.bytes = bytes;
    for (const byte of bytes) this.size += BITS[byte];
  }

  /** False when it is in the set already. */
  add(destination, port) {
    const at = destination * BYTES + (port >> 3);
    const bit = 1 << (port & 7);
    if (this.bytes[at] & bit) return false;
    this.bytes[at] |= bit;
    this.size++;
    return true;
  }

  /** Adds all of `other`, and returns how many of them were in the set already. */
  addAll(other) {
    let twice = 0;
    for (const [at, byte] of other.bytes.entries()) {
      twice += BITS[this.bytes[at] & byte];
      this.bytes[at] |= byte;
    }
    this.size += other.size - twice;
    return twice;
  }

  /** How many are in one of the two sets and not in the other. */
  difference(other) {
    let count = 0;
    for (const [at, byte] of this.bytes.entries()) count += BITS[byte ^ other.bytes[at]];
    return count;
  }

  /** How many local ports are taken towards each destination. */
  counts() {
    const counts = Array.from({ length: this.bytes.length / BYTES }, () => 0);
    for (const [at, byte] of this.bytes.entries()) counts[Math.floor(at / BYTES)] += BITS[byte];
    return counts;
  }
}

const BITS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
});
