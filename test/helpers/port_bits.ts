// Ports as the addon lists them.
import { noPorts, type PortBits, setBit } from '../../src/values/port_bits.js';

export function bitsOf(ports: Iterable<number>): PortBits {
  const bits = noPorts();
  for (const port of ports) setBit(bits, port);
  return bits;
}
