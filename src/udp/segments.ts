// Segments that the route does not take: the kernel sends a run only where each datagram of it fits the route's MTU, fragmenting none.
import { constants } from 'node:os';
import { parseAddress } from '../values/address';
import { attemptError, complete } from '../errors/connectx_error';
import type { Endpoint, Native } from '../kernel/addon';
import type { Plan } from './options';

const { errno } = constants;

const IPPROTO_IP = 0;
const IP_MTU = 14;
const IPPROTO_IPV6 = 41;
const IPV6_MTU = 24;

const UDP_HEADER = 8;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;

/** What the kernel says of a send that it does not cut into segments. */
const REFUSALS: ReadonlySet<number> = new Set([errno.EMSGSIZE, errno.EINVAL, errno.EIO]);

type Peer = Pick<Endpoint, 'address' | 'port'>;

/** Such a socket: connected, with `UDP_SEGMENT` set. */
export interface Segmented {
  readonly native: Native;
  readonly fd: number;
  readonly peer: Peer;
  readonly segmentSize: number;
}

/** The MTU of the route to the peer; undefined where the kernel does not say. */
function mtuOf({ native, fd, peer }: Segmented): number | undefined {
  const [level, name] = peer.address.includes(':') ? [IPPROTO_IPV6, IPV6_MTU] : [IPPROTO_IP, IP_MTU];
  const answer = native.getsockopt(fd, level, name, 4);
  return typeof answer === 'number' || answer.length !== 4 ? undefined : answer.readInt32LE();
}

/** One clause; undefined where the route takes segments of this size. */
function adviceFor(segmented: Segmented): string | undefined {
  const mtu = mtuOf(segmented);
  if (mtu === undefined) return undefined;
  // An IPv4-mapped address travels as IPv4.
  const header = parseAddress(segmented.peer.address)?.family === 6 ? IPV6_HEADER : IPV4_HEADER;
  const most = mtu - header - UDP_HEADER;
  if (segmented.segmentSize <= most) return undefined;
  return (
    `the route has an MTU of ${mtu} bytes, which segments of ${segmented.segmentSize} do not fit: set segmentSize to ${most} or less, ` +
    'or leave it out and send each datagram by itself'
  );
}

/** Throws where the route does not take segments of this size, so that not every send has to fail. */
export function checkSegments(segmented: Segmented, localPort: number): void {
  const advice = adviceFor(segmented);
  if (advice === undefined) return;
  const attempt = { destination: segmented.peer, localAddress: null, localPort };
  throw attemptError(attempt, { errno: errno.EMSGSIZE, syscall: 'connect', reason: undefined, advice });
}

const LIMITS = 'one send holds at most 64 segments and 65,000 bytes';
const NO_OFFLOAD =
  'this route has no segmentation offload (IPsec, or a device without checksums): leave segmentSize out and send each datagram by itself';

// A connected IPv4-mapped socket goes on with the route, and the MTU, that it was connected with, while its sends take the route of now.
function adviceOf(code: number, { peer, segmentSize }: Segmented): string {
  if (code === errno.EIO) return NO_OFFLOAD;
  if (code !== errno.EMSGSIZE) return LIMITS;
  return (
    `segments of ${segmentSize} bytes do not fit the MTU of the route (see \`ip route get ${parseAddress(peer.address)?.ip ?? ''}\`): ` +
    'set a smaller segmentSize, or leave it out and send each datagram by itself'
  );
}

/** Says in core's error of a send what segments have to do with it. */
export function explainSend(error: Error, segmented: Segmented): void {
  const code = -((error as NodeJS.ErrnoException).errno ?? 0);
  if (!REFUSALS.has(code)) return;
  const advice = adviceFor(segmented) ?? adviceOf(code, segmented);
  const { address, port } = segmented.peer;
  const attempt = { destination: { address, port }, localAddress: null, localPort: 0 };
  // Core does not know the peer of a connected socket.
  Object.assign(error, attempt.destination);
  complete(error, attempt, { syscall: 'send', reason: undefined, advice });
}

/** The socket of the plan, if it has segments. */
export function segmentedBy(plan: Plan, native: Native, fd: number, peer: Peer): Segmented | undefined {
  return plan.segmentSize === undefined ? undefined : { native, fd, peer, segmentSize: plan.segmentSize };
}
