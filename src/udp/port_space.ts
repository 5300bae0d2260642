// Which ports there are to choose from, without a list of them. Plain data.
import { clearBit, hasBit, noPorts, type PortBits, setBit } from '../values/port_bits';
import { eachReserved } from '../values/port_range';

/** The ports of `net.ipv4.ip_local_reserved_ports` as bits; undefined: there are none. */
export function reservedBits(text: string): PortBits | undefined {
  let bits: PortBits | undefined;
  eachReserved(text, (low, high) => {
    bits ??= noPorts();
    for (let port = low; port <= high; port++) setBit(bits, port);
  });
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
  return reserved === undefined || !hasBit(reserved, port);
}

/** All that {@link isUsable} says yes to. */
export function usablePorts({ low, high, reserved, except }: PortSpace): PortBits {
  const ports = noPorts();
  // Whole words, and the ports at both ends.
  const [first, last] = [(low + 31) >> 5, (high + 1) >> 5];
  if (first < last) ports.fill(0xffffffff, first, last);
  for (let port = low; port <= high; port++) {
    if (first < last && port === 32 * first) port = 32 * last;
    if (port <= high) setBit(ports, port);
  }
  if (reserved !== undefined)
    for (let at = 0; at < ports.length; at++) (ports[at] as number) &= ~(reserved[at] as number);
  if (except !== 0) clearBit(ports, except);
  return ports;
}
