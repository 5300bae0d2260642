// What the kernel has been told, read when it matters.
import { readFileSync } from 'node:fs';
import { unsupported } from '../errors/connectx_error';
import type { Native } from './addon';
import { unwrap } from './outcome';
import { type PortRange, parseEphemeralRange, parseReservedPorts } from '../values/port_range';

const FOLDER = '/proc/sys/net/ipv4';
const EPHEMERAL_RANGE = `${FOLDER}/ip_local_port_range`;
const RESERVED_PORTS = `${FOLDER}/ip_local_reserved_ports`;

/** `net.ipv4.<name>` as of now, in the calling thread's network namespace; undefined when it cannot be read. */
export function sysctl(native: Native, name: string): string | undefined {
  const text = native.readFile(`${FOLDER}/${name}`);
  return typeof text === 'string' ? text.trim() : undefined;
}

/** As of now, in the calling thread's network namespace; undefined when it cannot be read. */
export function ephemeralRange(native: Native): PortRange | undefined {
  const text = native.readFile(EPHEMERAL_RANGE);
  return typeof text === 'string' ? parseEphemeralRange(text) : undefined;
}

/** As of now; none when it cannot be read. */
export function reservedPorts(native: Native): PortRange[] {
  const text = native.readFile(RESERVED_PORTS);
  try {
    if (typeof text === 'string')
      return parseReservedPorts(text.endsWith('\n') ? text : readFileSync(RESERVED_PORTS, 'utf8'));
  } catch {
    // The rest of a long list: no descriptor for it (EMFILE, say), and a part of a list is none.
  }
  // No /proc, no reservations that could be known of: the kernel itself still keeps to them where it assigns.
  return [];
}

/** The range and what is reserved in it, as of now, for those to whom a guess is of no use: throws when it cannot be read. */
export function assignablePorts(native: Native): { range: PortRange; reserved: PortRange[] } {
  const range = parseEphemeralRange(unwrap<string>(native, native.readFile(EPHEMERAL_RANGE)));
  if (range === undefined) throw unsupported('port-usage', `${EPHEMERAL_RANGE} is not understood`);
  return { range, reserved: parseReservedPorts(readFileSync(RESERVED_PORTS, 'utf8')) };
}

/** `net.ipv4.tcp_timestamps` as of now, of the calling thread's network namespace; true, as is the default, when it cannot be read. */
export function hasTimestamps(native: Native): boolean {
  return sysctl(native, 'tcp_timestamps') !== '0';
}
