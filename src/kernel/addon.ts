// The addon, as TypeScript sees it: one typed interface, and nothing else.
import type { NativeBatch } from './addon_batch';
import type { Endpoint } from './endpoint';
import type { PortBits } from '../values/port_bits';

export type { Endpoint };

/** Options that most connections do not have; passed on to the kernel as they are. */
export interface TcpExtras {
  readonly interface?: string | undefined;
  readonly mark?: number | undefined;
  readonly freeBind?: boolean | undefined;
  readonly transparent?: boolean | undefined;
  readonly fastOpen?: boolean | undefined;
  readonly socketOptions?: readonly SocketOption[] | undefined;
}

/** One `setsockopt(2)`, made before bind. */
export interface SocketOption {
  /** E.g. `SOL_SOCKET` (1), `IPPROTO_IP` (0), `IPPROTO_TCP` (6), `IPPROTO_IPV6` (41). */
  readonly level: number;
  /** E.g. `SO_PRIORITY` (12). */
  readonly name: number;
  /** A number is passed as a C `int`. */
  readonly value: number | Uint8Array;
}

export interface Route {
  /** `RTN_LOCAL`, `RTN_UNICAST` ... of `linux/rtnetlink.h`. */
  type: number;
  interface: number;
  /** Absent when the kernel has no usable source address for this route. */
  source?: string;
}

/** The socket that the kernel found for a 4-tuple. */
export interface SocketOwner {
  /** 1: connected (TCP: established). 7: UDP, bound but not connected. 10: TCP, listening. */
  state: number;
  /** `SO_COOKIE`: tells sockets apart, for as long as the machine runs. */
  cookie: bigint;
  /** The index of the interface that the socket is bound to; 0: none. */
  interface: number;
  /** The inode of the socket, by which `/proc/PID/fd` names it. */
  inode: number;
  /** The user that it was made by. */
  uid: number;
}

/**
 * What the addon exports. Where a number stands for an outcome, a negative one is `-(errno + 4096 * syscall)`;
 * {@link errnoOf} and {@link syscallOf} take it apart.
 */
export interface Native extends NativeBatch {
  /** Indexed by the syscall part of an outcome. */
  readonly syscalls: readonly string[];
  /** What the last call has answered beside its outcome: {@link Answer} names the slots, each call says which it fills. */
  readonly answers: Int32Array;
  /** A descriptor; with `over` the socket takes the place of that one. Only `tcp/adopt.ts` calls it. */
  tcpPrepare(
    family: number,
    source: string | null,
    port?: number,
    low?: number,
    high?: number,
    extras?: TcpExtras | null,
    over?: number,
  ): number;
  /**
   * As tcpPrepare, for a port that the kernel is to assign if it lies in the ephemeral range; otherwise nothing is bound. `answers.assigned`: 1
   * where the kernel will assign the port. Afterwards `tcpHeldWithOtherDevice` asks in the thread's network namespace.
   * `over` is -1 where the socket is to have a descriptor of its own.
   */
  tcpPin(family: number, source: string | null, port: number, extras: TcpExtras | null, over: number): number;
  /** A {@link Verdict}; `answers.port`: the local port. `peer`: whether to ask if the destination was rewritten. */
  tcpCheck(
    fd: number,
    family: number,
    source: string | null,
    low: number,
    high: number,
    remote: string,
    port: number,
    peer: boolean,
  ): number;
  /** A bit set, see {@link TcpFeature}. */
  tcpFeatures(): number;
  /** 1 or 0, tried out on loopback with a port of this range, which is the ephemeral one; see `native/tcp/port_release.h`. */
  tcpReturnsPorts(low: number, high: number): number;
  /**
   * 1: a socket with another device than `interfaceIndex` has the 4-tuple that `fd` is about to have. `isKnown`: the call before has asked in
   * the network namespace of `fd`.
   */
  tcpHeldWithOtherDevice(
    fd: number,
    family: number,
    local: string,
    localPort: number,
    remote: string,
    remotePort: number,
    interfaceIndex: number,
    isKnown: boolean,
  ): number;
  /** How many ports of `answers.looked` that were looked at are in TIME-WAIT; see `native/tcp/time_wait.h`. */
  countTimeWait(
    fd: number,
    family: number,
    local: string,
    remote: string,
    remotePort: number,
    low: number,
    high: number,
    start: number,
  ): number;
  /**
   * Binds a socket of `SO_REUSEADDR` to the first of `count` ports, in a circle from place `start` on, that is to be had: how many were
   * passed over. `answers.denied`: 1 where one of them takes a privilege.
   */
  tcpBindFirst(fd: number, family: number, local: string, ports: Uint16Array, start: number, count: number): number;
  /** The {@link SocketState} of who has this 4-tuple, 0: nobody. In the namespace that {@link tcpNamespace} has told last. */
  tcpTupleState(family: number, local: string, localPort: number, remote: string, remotePort: number): number;
  /** 1: the connection in TIME-WAIT was ended (`SOCK_DESTROY`). 0: there is none. Negative: that is not done here, or not for us. */
  tcpEndTimeWait(family: number, local: string, localPort: number, remote: string, remotePort: number): number;
  /** Tells the thread's network namespace from others; 0: unknown. Negative: it could not be asked. */
  tcpNamespace(): number;
  /** A descriptor to be adopted at once: it is closed with the environment if nobody else has closed it. */
  udpSocket(family: number): number;
  /** A {@link UdpVerdict}; see `native/udp/lock.h`. */
  udpConnect(
    fd: number,
    family: number,
    source: string,
    sourcePort: number,
    remote: string,
    remotePort: number,
    flags: number,
    extras: TcpExtras | null,
  ): number;
  /** The same with port after port, in turn, as long as they are locked: the last verdict; `answers.place`: that of its port. */
  udpConnectFirst(
    fd: number,
    family: number,
    source: string,
    sourcePorts: Uint16Array,
    remote: string,
    remotePort: number,
    flags: number,
    extras: TcpExtras | null,
  ): number;
  /** Of a descriptor that core has bound without SO_REUSEADDR, and is connected: a {@link UdpVerdict}, connectedAlone or moved. */
  udpSettle(fd: number, unlock: boolean): number;
  /** The true peer of the descriptor that udpConnect or udpConnectFirst connected last. */
  udpPeer(): Endpoint;
  /** The state of the socket that gets datagrams of this 4-tuple, 0 when nobody does. */
  udpOwner(
    family: number,
    source: string,
    sourcePort: number,
    remote: string,
    remotePort: number,
    flags: number,
    extras: TcpExtras | null,
  ): number;
  /** The same for each of these ports, into `states`. 0, or negative. */
  udpOwners(
    family: number,
    source: string,
    sourcePorts: Uint16Array,
    remote: string,
    remotePort: number,
    states: Uint8Array,
    extras: TcpExtras | null,
  ): number;
  /** 1: the thread has changed its network namespace since the last UDP call. Negative: it could not be asked. */
  udpMoved(): number;
  /** 1: sock_diag sees a UDP socket of ours. 0: it does not. Negative: it could not be tried. */
  udpProbe(): number;
  /** A bit set, see {@link UdpOffload}. */
  udpOffloads(): number;
  diagLookup(
    protocol: number,
    family: number,
    local: string,
    localPort: number,
    remote: string,
    remotePort: number,
    interfaceIndex: number,
  ): SocketOwner | null | number;
  /**
   * The local ports of the sockets in this {@link SocketState} (0: in any that holds a 4-tuple, but TIME-WAIT) on exactly this source
   * and destination, in the network namespace of the calling thread. An IPv4 question finds IPv4-mapped sockets too. TCP: a zone of `remote` must be the socket's
   * device. UDP: the device of a socket, if it has one, must be one on which the destination's packets can arrive, as for
   * `udpOwner`.
   */
  portsInState(...question: PortsQuestion): Dumped<PortBits>;
  /** The same, read while the caller waits. */
  portsInStateNow(...question: PortsQuestion): PortBits | number;
  /** What the lists of sockets have taken in this thread so far, in ms of a processor. */
  listingCost(): number;
  /** Records (see `src/kernel/socket_table.ts`) of the sockets that listen or are only bound, on these local ports. */
  socketHolders(protocol: number, low: number, high: number): Dumped<Uint8Array>;
  /**
   * Records (see `src/kernel/socket_table.ts`) of how many local ports are taken for each source and destination. `ports`:
   * 65536 bits, those that count; `except`: endpoints out of records of `socketHolders` that do not (one with a wildcard
   * address: on every address of its family); `remotePort`: -1 for any.
   */
  socketGroups(
    protocol: number,
    local: string | null,
    remote: string | null,
    remotePort: number,
    ports: Uint8Array,
    except: Uint8Array,
  ): Dumped<Uint8Array>;
  /**
   * The route of a socket with these settings, and with the device that sockets of this process are born bound to. What is not known is 0.
   * `protocol`: IPPROTO_TCP or IPPROTO_UDP. `remembered`: on a socket that is kept, and so of the namespace that the thread was in when it was
   * opened.
   */
  routeLookup(
    family: number,
    destination: string,
    interfaceIndex: number,
    mark: number,
    remembered: boolean,
    protocol?: number,
    remotePort?: number,
    localPort?: number,
    tos?: number,
  ): Route | number;
  /** The first 4,096 bytes of one of the files of /proc that the addon has a list of; EACCES for any other. */
  readFile(path: string): string | number;
  interfaceIndex(name: string): number;
  replace(from: number, to: number): number;
  socket(domain: number, type: number, protocol: number): number;
  close(fd: number): number;
  setsockopt(fd: number, level: number, name: number, value: number | Uint8Array): number;
  getsockopt(fd: number, level: number, name: number, capacity: number): Buffer | number;
  bind(fd: number, family: number, address: string, port: number): number;
  connect(fd: number, family: number, address: string, port: number): number;
  getsockname(fd: number): Endpoint | number;
  getpeername(fd: number): Endpoint | number;
}

/** Made off the event loop. A number, negative, where it could not be begun (`EMFILE`) or has failed. */
export type Dumped<T> = Promise<T | number> | number;

/** What `portsInState` is asked. */
export type PortsQuestion = readonly [
  protocol: number,
  state: number,
  family: number,
  local: string,
  remote: string,
  remotePort: number,
  /** Local ports; default: all. */
  low?: number,
  high?: number,
];
