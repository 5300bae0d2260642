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

/** As of now, in the words of the kernel; empty when it cannot be read. */
export function reservedPortsText(native: Native): string {
  const text = native.readFile(RESERVED_PORTS);
  try {
    if (typeof text === 'string') return text.endsWith('\n') ? text : readFileSync(RESERVED_PORTS, 'utf8');
  } catch {
    // The rest of a long list: no descriptor for it (EMFILE, say), and a part of a list is none.
  }
  // No /proc, no reservations that could be known of: the kernel itself still keeps to them where it assigns.
  return '';
}

/** As of now; none when it cannot be read. */
export function reservedPorts(native: Native): PortRange[] {
  return parseReservedPorts(reservedPortsText(native));
}

function readable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    // All others (EMFILE) are no matter of this file.
    if (!['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(code)) throw cause;
    throw unsupported('port-usage', `${path} cannot be read: ${code}`, cause);
  }
}

/** The range and what is reserved in it, as of now, for those to whom a guess is of no use: throws when it cannot be read. */
export function assignablePorts(native: Native): { range: PortRange; reserved: PortRange[] } {
  const text = readable(EPHEMERAL_RANGE, () => unwrap<string>(native, native.readFile(EPHEMERAL_RANGE)));
  const range = parseEphemeralRange(text);
  if (range === undefined) throw unsupported('port-usage', `${EPHEMERAL_RANGE} is not understood`);
  const reserved = readable(RESERVED_PORTS, () => readFileSync(RESERVED_PORTS, 'utf8'));
  return { range, reserved: parseReservedPorts(reserved) };
}

/** `net.ipv4.tcp_timestamps` as of now, of the calling thread's network namespace; true, as is the default, when it cannot be read. */
export function hasTimestamps(native: Native): boolean {
  return sysctl(native, 'tcp_timestamps') !== '0';
}
