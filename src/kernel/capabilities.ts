import { kernelOf, tcpFeatures } from './kernel';
import { AF_INET, TcpFeature, UdpOffload } from './constants';
import { load } from './load';
import { carries, runtime, type Runtime } from './runtime';
import { udpOffloads } from './udp_offload';
import { ephemeralRange } from './sysctl';
import { udpSharingOf } from './sock_diag';

const IPPROTO_TCP = 6;

/** What this platform, kernel and process can do. */
export interface Capabilities {
  /** The runtime, and its own version: `{ name: 'bun', version: '1.4.5' }`. */
  runtime: Runtime;
  /** Whether `connect`, `Socket`, the agents and `buildConnector` take a source here. False on Bun and Deno, and with a `nativeError`. */
  tcp: boolean;
  /** Whether `connectUdp` works here. False on Deno, and with a `nativeError`. */
  udp: boolean;
  /** Whether `connectUdpSync` works here. False on Bun and Deno, and with a `nativeError`. */
  udpSync: boolean;
  /** Whether the native addon is loaded. False off Linux; then connections behave as with `net.connect`. */
  native: boolean;
  /** Why the addon is not in use on a Linux where it should be. */
  nativeError: Error | undefined;
  /** `process.platform`. */
  platform: NodeJS.Platform;
  /** `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2): a pinned source address shares its ports over destinations. */
  bindAddressNoPort: boolean;
  /** `IP_LOCAL_PORT_RANGE` (Linux 6.3): fast connects above 50 % occupancy, and `localPortRange` without a search. */
  localPortRange: boolean;
  /**
   * The kernel assigns a port that was bound explicitly (`localPort`, TIME-WAIT that is taken over) again as soon as that socket is gone
   * (Linux 6.18). Otherwise, or where it cannot be told, such a port is withheld until every socket on it is gone, whatever the destinations.
   */
  boundPortsReturn: boolean;
  /** `TCP_FASTOPEN_CONNECT` (Linux 4.11): the option `fastOpen`. */
  fastOpen: boolean;
  /** sock_diag(7) answers for UDP: UDP ports are shared over destinations. Otherwise a port is used for one at a time. */
  udpShared: boolean;
  /** `UDP_SEGMENT` (Linux 4.18): the option `segmentSize` of `connectUdp`, and runs that a `UdpBatch` sends with one system call. */
  udpSegment: boolean;
  /** `UDP_GRO` (Linux 5.0): a `UdpBatch` receives datagrams of one sender in runs. */
  udpReceiveOffload: boolean;
  /** sock_diag(7) answers at all: `portUsage`, `PortMonitor` and `listenerConflicts`. */
  portUsage: boolean;
  /** `net.ipv4.ip_local_port_range` as of now, both ends inclusive; undefined when it cannot be read. */
  ephemeralRange:
    | {
        /** The first port. */
        low: number;
        /** The last port. */
        high: number;
      }
    | undefined;
}

/**
 * Finds out what this platform, kernel and process can do. Never throws.
 *
 * @example
 * if (!capabilities().localPortRange) console.warn('connects slow down above 50 % occupancy on this kernel');
 */
export function capabilities(): Capabilities {
  const loaded = load();
  const { native } = loaded;
  const { error } = { error: undefined, ...loaded };
  const nothing = {
    runtime: { ...runtime },
    tcp: error === undefined && carries('tcp'),
    // Without the addon, a socket is bound within the call.
    udp: error === undefined && carries('udp') && (native !== undefined || carries('udpSync')),
    udpSync: error === undefined && carries('udpSync'),
    platform: process.platform,
    bindAddressNoPort: false,
    localPortRange: false,
    boundPortsReturn: false,
    fastOpen: false,
    udpShared: false,
    udpSegment: false,
    udpReceiveOffload: false,
    portUsage: false,
    ephemeralRange: undefined,
  };
  if (native === undefined) return { ...nothing, native: false, nativeError: error };
  // On a runtime without TCP from a source, nothing makes use of what the kernel has for it.
  const features = carries('tcp') ? tcpFeatures(native) : 0;
  const offloads = nothing.udp ? Math.max(udpOffloads(native), 0) : 0;
  return {
    ...nothing,
    native: true,
    nativeError: undefined,
    bindAddressNoPort: (features & TcpFeature.bindAddressNoPort) !== 0,
    localPortRange: (features & TcpFeature.localPortRange) !== 0,
    boundPortsReturn: carries('tcp') && kernelOf(native).returnsPorts(),
    fastOpen: (features & TcpFeature.fastOpenConnect) !== 0,
    udpShared: nothing.udp && udpSharingOf(native).works,
    udpSegment: (offloads & UdpOffload.segment) !== 0,
    udpReceiveOffload: (offloads & UdpOffload.receive) !== 0,
    // Whatever the answer is.
    portUsage: typeof native.diagLookup(IPPROTO_TCP, AF_INET, '127.0.0.1', 0, '127.0.0.1', 0, 0) !== 'number',
    ephemeralRange: ephemeralRange(native),
  };
}
