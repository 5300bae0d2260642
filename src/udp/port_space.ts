// Which ports there are to choose from, without a list of them. Plain data.
import { clearBit, hasBit, noPorts, type PortBits, rangeBits, setBit } from '../values/port_bits';
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
  const ports = rangeBits(low, high);
  if (reserved !== undefined)
    for (let at = 0; at < ports.length; at++) (ports[at] as number) &= ~(reserved[at] as number);
  if (except !== 0) clearBit(ports, except);
  return ports;
}
