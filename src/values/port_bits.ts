// Ports as bits: whole words of them are compared, joined and counted at once. Plain data.

/** 65,536 bits: port p is bit p & 31 of word p >> 5. */
export type PortBits = Uint32Array;

export function noPorts(): PortBits {
  return new Uint32Array(2048);
}

/** The ports from `low` to `high`. */
export function rangeBits(low: number, high: number): PortBits {
  const bits = noPorts();
  // Whole words, and the ports at both ends.
  const [first, last] = [(low + 31) >> 5, (high + 1) >> 5];
  if (first < last) bits.fill(0xffffffff, first, last);
  for (let port = low; port <= high; port++) {
    if (first < last && port === 32 * first) port = 32 * last;
    if (port <= high) setBit(bits, port);
  }
  return bits;
}

export function setBit(bits: PortBits, port: number): void {
  (bits[port >> 5] as number) |= 1 << (port & 31);
}

export function clearBit(bits: PortBits, port: number): void {
  (bits[port >> 5] as number) &= ~(1 << (port & 31));
}

export function hasBit(bits: PortBits, port: number): boolean {
  return ((bits[port >> 5] ?? 0) & (1 << (port & 31))) !== 0;
}

/** The ports themselves, in ascending order. */
export function portsIn(bits: PortBits): number[] {
  const ports: number[] = [];
  for (let at = 0; at < bits.length; at++) {
    // The lowest bit that is set, each time.
    for (let rest = bits[at] as number; rest !== 0; rest &= rest - 1) {
      ports.push(at * 32 + (31 - Math.clz32(rest & -rest)));
    }
  }
  return ports;
}

/** How many of a word's bits are set. */
export function countBits(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
