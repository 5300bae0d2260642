// What the running kernel can do and has been told, asked when it matters. Only what cannot change while the process runs
// is remembered.
import { release } from 'node:os';
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
  /** Whether the kernel searches by parity also where `IP_LOCAL_PORT_RANGE` is set (before Linux 6.8). */
  readonly searchesRangesByParity: boolean;
  /** Whether the next connect is not to search for a port by parity; counts as that connect. */
  skipsParity(): boolean;
}

/** With what is seen of it meanwhile. */
export interface RunningKernel extends Kernel {
  readonly parityScan: ParityScan;
  /** Whether the kernel assigns a port again as soon as a socket that has bound it explicitly is gone. */
  returnsPorts(): boolean;
}

let known: { readonly native: Native; readonly features: number; readonly kernel: RunningKernel } | undefined;

function describe(native: Native, features: number): RunningKernel {
  const parityScan = new ParityScan();
  let returned: boolean | undefined;
  return {
    parityScan,
    searchesRangesByParity: !isAtLeast(release(), 6, 8),
    hasPortRange: (features & TcpFeature.localPortRange) !== 0,
    hasNoPort: (features & TcpFeature.bindAddressNoPort) !== 0,
    ephemeralRange: () => ephemeralRange(native),
    reservedPorts: () => reservedPorts(native),
    skipsParity: () => parityScan.take(),
    returnsPorts: () => (returned ??= tryReturn(native)) ?? false,
  };
}

// The kernel tells nobody how it searches. Where this one has more, or less, than its number says, a connect is slower, and no more.
function isAtLeast(kernel: string, major: number, minor: number): boolean {
  const [ours = 0, ourMinor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return ours > major || (ours === major && ourMinor >= minor);
}

// Undefined: it cannot be told now, but maybe later (a loopback interface that is down, no descriptor left).
function tryReturn(native: Native): boolean | undefined {
  const range = ephemeralRange(native);
  const outcome = range === undefined ? -1 : native.tcpReturnsPorts(range.low, range.high);
  return outcome < 0 ? undefined : outcome === 1;
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
