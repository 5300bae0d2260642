// What the running kernel can do and has been told, asked when it matters. Only what cannot change while the process runs
// is remembered.
import { readFileSync } from 'node:fs';
import { type Native, TcpFeature, unwrap } from './native';
import type { Kernel } from './ports';
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

let known: { readonly native: Native; readonly features: number; readonly kernel: Kernel } | undefined;

function knownOf(native: Native): NonNullable<typeof known> {
  if (known?.native === native) return known;
  // A failure (EMFILE, say) is thrown, and asked again next time.
  const features = unwrap<number>(native, native.tcpFeatures());
  const kernel: Kernel = {
    hasPortRange: (features & TcpFeature.localPortRange) !== 0,
    hasNoPort: (features & TcpFeature.bindAddressNoPort) !== 0,
    ephemeralRange: () => ephemeralRange(native),
    reservedPorts,
  };
  known = { native, features, kernel };
  return known;
}

/** The bits of {@link TcpFeature} that this kernel has. */
export function tcpFeatures(native: Native): number {
  return knownOf(native).features;
}

/** The kernel as the port policy sees it. */
export function kernelOf(native: Native): Kernel {
  return knownOf(native).kernel;
}
