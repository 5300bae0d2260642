// Where a UDP socket is connected: a dgram.Socket of core's whose descriptor is not connected yet. The only file of udp/ that opens
// a descriptor, and it is adopted in the same breath: between the two nothing of the user's runs, where a worker thread could be terminated.
import type { Family } from '../values/address';
import { domainOf } from '../kernel/constants';
import type { Endpoint, Native } from '../kernel/addon';
import type { Plan } from './options';
import { checkSegments, segmentedBy } from './segments';
import { type ConnectOutcome, descriptorOf, type Done, isConnected } from './connect_outcome';
import { closeIfOpen, createSocket, type Lease, SegmentingSocket, type UdpSocket } from './socket';

export type Peer = Pick<Endpoint, 'address' | 'port'>;

/** What `bindExclusive` says where there is no descriptor: somebody is on the port; it did not come to that. */
export const IN_USE = -1;
export const NOT_BOUND = -2;

/** Where the socket is to be connected. */
export interface Target {
  /** A descriptor that is not bound, adopted by core, or a negative outcome of the addon. The same one until `discard()`. */
  adopted(): number;
  /** Another descriptor, bound without `SO_REUSEADDR`, or `IN_USE` or `NOT_BOUND`. To be connected or discarded next. */
  bindExclusive(address: string, port: number): number;
  discard(): void;
  /** The descriptor is connected to this peer, which is another one than it was asked for. */
  redirect(peer: Peer): void;
  /** Has core connect the descriptor of `bindExclusive`. False: it is not connected, or nobody can tell. */
  connectBound(address: string, port: number): boolean;
}

// Where dgram does not tell its descriptor, sockets are adopted, which takes longer.
let isDescriptorKnown = true;

/** A dgram.Socket that is made when it is first needed, and again after discard(). */
export class DgramTarget implements Target {
  private socket: UdpSocket | undefined = undefined;
  private isAdopted = false;
  private fd = -1;
  /** Of {@link connectBound}. */
  private outcome: ConnectOutcome | undefined = undefined;
  private peer: Peer | undefined = undefined;

  constructor(
    private readonly native: Native,
    private readonly plan: Plan,
    private readonly family: Family,
  ) {}

  /**
   * Adopted while it is still unbound, because libuv sets SO_REUSEADDR on what it adopts, which would unlock the port. Only for
   * use within one turn of the event loop: after that, epoll knows the descriptor, and it must not become another socket.
   */
  adopted(): number {
    if (this.socket !== undefined) return this.fd;
    const { native } = this;
    const socket = createSocket(this.plan, this.family);
    const fd = native.udpSocket(domainOf(this.family));
    if (fd < 0) {
      socket.close();
      return fd;
    }
    try {
      socket.bind({ fd, exclusive: true });
    } catch (error) {
      // Where it is a listener of 'listening' that has thrown, or has closed the socket, dgram has the descriptor.
      const opened = descriptorOf(socket);
      if (opened !== null && opened !== fd) native.close(fd);
      closeIfOpen(socket);
      throw error;
    }
    // A listener that closes it ('listening') has closed the descriptor: this throws ERR_SOCKET_DGRAM_NOT_RUNNING.
    if (descriptorOf(socket) === null) socket.address();
    this.fd = fd;
    this.socket = socket;
    this.isAdopted = true;
    return fd;
  }

  /**
   * By core, as for any other socket: that takes half the system calls. Core's code runs while the port is locked then, but
   * nobody else's: nobody has the socket yet. A thread that is terminated in between closes the descriptor, which unlocks it.
   */
  bindExclusive(address: string, port: number): number {
    if (!isDescriptorKnown) return NOT_BOUND;
    const socket = createSocket(this.plan, this.family);
    const error = socket.bindNow(address, port);
    const fd = error === undefined ? descriptorOf(socket) : null;
    if (fd === undefined) isDescriptorKnown = false;
    if (typeof fd !== 'number' || fd < 0) {
      closeIfOpen(socket);
      return (error as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE' ? IN_USE : NOT_BOUND;
    }
    this.socket?.close();
    this.socket = socket;
    this.isAdopted = false;
    this.fd = fd;
    return fd;
  }

  connectBound(address: string, port: number): boolean {
    const socket = this.socket as UdpSocket;
    this.outcome = socket.connectNow(address, port);
    return isConnected(socket);
  }

  discard(): void {
    // An abort closes it, too.
    if (this.socket !== undefined) closeIfOpen(this.socket);
    this.socket = undefined;
    this.outcome = undefined;
  }

  redirect(peer: Peer): void {
    this.peer = peer;
  }

  /** Tells dgram what the kernel knows, unless it does: the descriptor is connected. `done` hears what dgram makes of it. */
  take(lease: Lease, address: string, port: number, done: Done): UdpSocket {
    try {
      return this.connected(lease, this.peer ?? { address, port }, done);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  private connected(lease: Lease, peer: Peer, done: Done): UdpSocket {
    const socket = this.socket as UdpSocket;
    socket.settle(lease, this.family === 6 && this.isAdopted ? this.fd : -1);
    // Where core has not connected it: to the peer that the descriptor has already.
    (this.outcome ?? socket.connectNow(peer.address, peer.port)).whenTold(done);
    const segmented = segmentedBy(this.plan, this.native, this.fd, peer);
    if (segmented !== undefined && socket instanceof SegmentingSocket) {
      checkSegments(segmented, lease.localPort);
      socket.segmentAs(segmented);
    }
    this.socket = undefined;
    return socket;
  }
}
