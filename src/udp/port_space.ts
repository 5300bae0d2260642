// Which ports there are to choose from, without a list of them. Plain data.
import type { PortRange } from '../values/port_range';

/** 65,536 bits. */
export type PortBits = Uint32Array;

/** The ports of these ranges as bits; undefined: there are none. */
export function bitsOf(ranges: readonly PortRange[]): PortBits | undefined {
  if (ranges.length === 0) return undefined;
  const bits = new Uint32Array(2048);
  for (const { low, high } of ranges) {
    for (let port = low; port <= high; port++) bits[port >> 5] = (bits[port >> 5] ?? 0) | (1 << (port & 31));
  }
  return bits;
}

/** A range, without the ports that are reserved and without one from which a socket would connect to itself. */
export interface PortSpace {
  readonly low: number;
  readonly high: number;
  /** Shared by all spaces, and never changed. */
  readonly reserved: PortBits | undefined;
  /** 0: none. */
  readonly except: number;
}

export function isUsable({ reserved, except }: PortSpace, port: number): boolean {
  if (port === except) return false;
  return reserved === undefined || ((reserved[port >> 5] ?? 0) & (1 << (port & 31))) === 0;
}
