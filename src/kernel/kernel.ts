// What the running kernel can do and has been told, asked when it matters. Only what cannot change while the process runs
// is remembered.
import type { Native } from './addon';
import { TcpFeature } from './constants';
import { ParityScan } from './parity_scan';
import type { PortRange } from '../values/port_range';
import { ephemeralRange, reservedPorts } from './sysctl';

const FEATURES_OF_OLD = TcpFeature.bindAddressNoPort | TcpFeature.fastOpenConnect;

/** What a plan depends on beside the source options. */
export interface Kernel {
  /** Whether the kernel knows `IP_LOCAL_PORT_RANGE` (Linux 6.3). */
  readonly hasPortRange: boolean;
  /** Whether the kernel knows `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2; some sandboxes do not). */
  readonly hasNoPort: boolean;
  /** `net.ipv4.ip_local_port_range` as of now; undefined when it cannot be read. */
  ephemeralRange(): PortRange | undefined;
  /** `net.ipv4.ip_local_reserved_ports` as of now. */
  reservedPorts(): PortRange[];
  /** Whether the next connect is not to search for a port by parity; counts as that connect. */
  skipsParity(): boolean;
}

/** With what is seen of it meanwhile. */
export interface RunningKernel extends Kernel {
  readonly parityScan: ParityScan;
}

let known: { readonly native: Native; readonly features: number; readonly kernel: RunningKernel } | undefined;

function describe(native: Native, features: number): RunningKernel {
  const parityScan = new ParityScan();
  return {
    parityScan,
    hasPortRange: (features & TcpFeature.localPortRange) !== 0,
    hasNoPort: (features & TcpFeature.bindAddressNoPort) !== 0,
    ephemeralRange: () => ephemeralRange(native),
    reservedPorts: () => reservedPorts(native),
    skipsParity: () => parityScan.take(),
  };
}

function knownOf(native: Native): NonNullable<typeof known> {
  if (known?.native === native) return known;
  const features = native.tcpFeatures();
  if (features < 0) {
    // Not even a socket could be opened (EMFILE, say), and so none will be connected. What every kernel has that Node runs
    // on is assumed for this call, and the next one asks again.
    return { native, features: FEATURES_OF_OLD, kernel: describe(native, FEATURES_OF_OLD) };
  }
  known = { native, features, kernel: describe(native, features) };
  return known;
}

/** The bits of {@link TcpFeature} that this kernel has. */
export function tcpFeatures(native: Native): number {
  return knownOf(native).features;
}

export function kernelOf(native: Native): RunningKernel {
  return knownOf(native).kernel;
}
