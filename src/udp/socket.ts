// The connected socket: a dgram.Socket that hears its peer only, and gives its port back when it is closed.
import type * as dgram from 'node:dgram';
import { Socket as CoreSocket } from 'node:dgram';
import type { lookup as Lookup } from 'node:dns';
import { isIP } from 'node:net';
import type { Family } from '../values/address';
import { nativeFor } from '../kernel/load';
import { unwrap } from '../kernel/outcome';
import type { PoolLease } from '../source/pooled';
import { ConnectOutcome, isConnected } from './connect_outcome';
import type { Plan } from './options';
import type { DestinationPorts } from './ports';
import { explainSend, type Segmented } from './segments';

const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;

const kPorts = Symbol('connectx.ports');
const kLocalPort = Symbol('connectx.localPort');
const kOutcome = Symbol('connectx.outcome');
const kPeer = Symbol('connectx.peer');
const kSeldom = Symbol('connectx.seldom');
const kGiveBack = Symbol('connectx.giveBack');
const kReleasePort = Symbol('connectx.releasePort');
const kSegmented = Symbol('connectx.segmented');

/** What has two ends, and tells of them as dgram.Socket does. */
export type Ends = Pick<dgram.Socket, 'address' | 'remoteAddress'>;

interface Peer {
  readonly address: string;
  readonly port: number;
}

// The class is public, its constructor is just not typed: dgram.createSocket() is nothing but a call of it.
const DgramSocket = CoreSocket as unknown as new (options: dgram.SocketOptions) => dgram.Socket;

/** The ports of the destination, and which one it is: to be given back when the socket is closed. */
export interface Lease {
  readonly ports: DestinationPorts | undefined;
  readonly localPort: number;
}

/** What core is being given for an address, and need not be looked at again. */
let numeric: string | undefined;

/** The socket that is being bound, and why that has failed: core tells by an event, before bind() returns. */
let binding: { readonly socket: UdpSocket; failure: unknown } | undefined;

/** What most sockets do not need. */
interface Seldom {
  /**
   * Of a socket of type udp6 that was adopted: its descriptor, -1 otherwise. libuv does not look for the family of a descriptor that it
   * adopts, and sets the options of IPv4 (uv__setsockopt).
   */
  readonly fd6: number;
  /** Of a source that came from a pool: in use until the socket is closed. */
  readonly source: PoolLease | undefined;
}

/** There may be very many of them: no object and no function for each, and no field that most of them do not need. */
export class UdpSocket extends DgramSocket {
  /** Where the port is to be given back, once. */
  declare [kPorts]: DestinationPorts | undefined;
  declare [kLocalPort]: number;
  /** While dgram has not told yet. */
  declare [kOutcome]: ConnectOutcome | undefined;
  /** Undefined: not known yet. Null: no peer any more. */
  declare [kPeer]: Peer | null | undefined;
  /** Undefined: there is nothing in it. */
  declare [kSeldom]: Seldom | undefined;

  constructor(options: dgram.SocketOptions) {
    super(options);
    this[kPorts] = undefined;
    this[kLocalPort] = 0;
    this[kOutcome] = undefined;
    this[kPeer] = undefined;
  }

  static {
    this.prototype[kSeldom] = undefined;
  }

  /** Binds without SO_REUSEADDR, at once. Returns what has failed, undefined when nothing has. */
  bindNow(address: string, port: number): unknown {
    const mine = { socket: this, failure: undefined };
    binding = mine;
    numeric = address;
    try {
      this.bind({ address, port, exclusive: true });
      return mine.failure;
    } catch (error) {
      return error;
    } finally {
      binding = undefined;
    }
  }

  /** Connects to a numeric address: connect(2) is made within this call. */
  connectNow(address: string, port: number): ConnectOutcome {
    const outcome = new ConnectOutcome();
    this[kOutcome] = outcome;
    numeric = address;
    // A callback would take a listener, and there may be very many of them.
    this.connect(port, address);
    return outcome;
  }

  /** The port is given back when the socket is closed. `fd6`: of an adopted descriptor of IPv6. */
  settle(lease: Lease, fd6: number): void {
    lease.ports?.lease();
    this[kPorts] = lease.ports;
    this[kLocalPort] = lease.localPort;
    if (fd6 >= 0) this[kSeldom] = { fd6, source: undefined };
  }

  /** The source is in use until the socket is closed. */
  holdSource(lease: PoolLease): void {
    this[kSeldom] = { fd6: fd6Of(this), source: lease };
  }

  /** @internal */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    // The kernel may queue a datagram behind connect(2) for which it had found this socket before. Only in that instant, but
    // such a datagram is a stranger's.
    if (event === 'message' && this[kPeer] !== null && isStranger((this[kPeer] ??= peerOf(this)), args[1]))
      return false;
    if (event === 'error' && binding?.socket === this) {
      binding.failure = args[0];
      return true;
    }
    const outcome = this[kOutcome];
    // Of a socket that is connected, an error is somebody else's.
    if (outcome !== undefined && (event === 'connect' || (event === 'error' && !isConnected(this)))) {
      this[kOutcome] = undefined;
      outcome.tell(event === 'error' ? (args[0] as Error) : undefined);
      if (event === 'error') return true;
    }
    // However it was closed, and whoever listens: not by close() of this class, if by core's own.
    if (event === 'close') this[kGiveBack]();
    // dgram.Socket has no emit() of its own to be typed by.
    return super.emit(event as 'message', ...(args as [Buffer, dgram.RemoteInfo]));
  }

  [kGiveBack](): void {
    this[kReleasePort]();
    const source = this[kSeldom]?.source;
    if (source === undefined) return;
    this[kSeldom] = { fd6: fd6Of(this), source: undefined };
    source.release();
  }

  [kReleasePort](): void {
    this[kPorts]?.giveBack(this[kLocalPort]);
    this[kPorts] = undefined;
  }

  override setTTL(ttl: number): number {
    const set = super.setTTL(ttl);
    setOption6(fd6Of(this), IPV6_UNICAST_HOPS, ttl);
    return set;
  }

  override setMulticastTTL(ttl: number): number {
    const set = super.setMulticastTTL(ttl);
    setOption6(fd6Of(this), IPV6_MULTICAST_HOPS, ttl);
    return set;
  }

  override setMulticastLoopback(flag: boolean): boolean {
    const set = super.setMulticastLoopback(flag);
    setOption6(fd6Of(this), IPV6_MULTICAST_LOOP, flag ? 1 : 0);
    return set;
  }

  override disconnect(): void {
    super.disconnect();
    this[kPeer] = null;
    // The 4-tuple is free, and the socket may be connected elsewhere next. While it is not, the kernel tells that the port is held.
    this[kReleasePort]();
  }

  override close(callback?: () => void): this {
    super.close(callback);
    this[kGiveBack]();
    return this;
  }
}

/** One whose sends leave as several datagrams: their errors say what that has to do with it. */
export class SegmentingSocket extends UdpSocket {
  /** Undefined while it is not connected. */
  declare [kSegmented]: Segmented | undefined;

  segmentAs(segmented: Segmented): void {
    this[kSegmented] = segmented;
  }

  override send(...args: unknown[]): void {
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      args[args.length - 1] = (error: Error | null, bytes: number): void => {
        const segmented = this[kSegmented];
        // The descriptor may be somebody else's by now.
        if (error !== null && segmented !== undefined && peerOf(this) !== null) explainSend(error, segmented);
        Reflect.apply(callback, this, [error, bytes]);
      };
    }
    // dgram.Socket has no rest parameter to be typed by.
    super.send(...(args as Parameters<dgram.Socket['send']>));
  }
}

/** Whether a datagram came from somebody else than the peer. A program may emit whatever it likes. */
function isStranger(peer: Peer | null, sender: unknown): boolean {
  if (peer === null || typeof sender !== 'object' || sender === null) return false;
  const { address, port } = sender as Partial<dgram.RemoteInfo>;
  return peer.port !== port || peer.address !== address;
}

function fd6Of(socket: UdpSocket): number {
  return socket[kSeldom]?.fd6 ?? -1;
}

function setOption6(fd: number, name: number, value: number): void {
  if (fd < 0) return;
  const native = nativeFor('udp6');
  unwrap(native, native.setsockopt(fd, IPPROTO_IPV6, name, value));
}

/** Somebody may have closed it before dgram calls back. */
export function closeIfOpen(socket: dgram.Socket): void {
  try {
    socket.close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SOCKET_DGRAM_NOT_RUNNING') throw error;
  }
}

/** Null where dgram knows of none. */
export function peerOf(socket: Pick<Ends, 'remoteAddress'>): Peer | null {
  try {
    return socket.remoteAddress();
  } catch {
    // Not connected: there is no stranger either.
    return null;
  }
}

/** A socket of this family whose lookup answers at once. */
export function createSocket(plan: Plan, family: Family): UdpSocket {
  const Socket = plan.segmentSize === undefined ? UdpSocket : SegmentingSocket;
  return new Socket({
    ...plan.dgramOptions,
    type: family === 6 ? 'udp6' : 'udp4',
    lookup: lookupAtOnce(plan.lookup) as NonNullable<dgram.SocketOptions['lookup']>,
  });
}

type Callback = (error: NodeJS.ErrnoException | null, address: string, family: number) => void;

type LookupAtOnce = (host: string, family: number, callback: Callback) => void;

const atOnce = new WeakMap<typeof Lookup, LookupAtOnce>();

/** A numeric address is its own answer, at once. The same function for the same lookup: there may be very many sockets. */
function lookupAtOnce(lookup: typeof Lookup): LookupAtOnce {
  let answer = atOnce.get(lookup);
  if (answer === undefined) {
    answer = (host, family, callback) => {
      const found = host === numeric ? family : isIP(host);
      if (found === 0) lookup(host, family, callback);
      else callback(null, host, found);
    };
    atOnce.set(lookup, answer);
  }
  return answer;
}
