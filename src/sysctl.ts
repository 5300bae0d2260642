// What the kernel has been told, read when it matters.
import { readFileSync } from 'node:fs';
import type { Native } from './native';
import { type PortRange, parseEphemeralRange, parseReservedPorts } from './range';

const EPHEMERAL_RANGE = '/proc/sys/net/ipv4/ip_local_port_range';
const RESERVED_PORTS = '/proc/sys/net/ipv4/ip_local_reserved_ports';

/** As of now, in the calling thread's network namespace; undefined when it cannot be read. */
export function ephemeralRange(native: Native): PortRange | undefined {
  const text = native.readFile(EPHEMERAL_RANGE);
  return typeof text === 'string' ? parseEphemeralRange(text) : undefined;
}

/** As of now; none when it cannot be read. */
export function reservedPorts(): PortRange[] {
  try {
    return parseReservedPorts(readFileSync(RESERVED_PORTS, 'utf8'));
  } catch {
    // No /proc, no reservations that could be known of: the kernel itself still keeps to them where it assigns.
    return [];
  }
}
