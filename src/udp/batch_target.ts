// A flow of a batch, on its way to be connected. Its descriptor is the addon's from birth: whenever the thread ends, it is closed with the
// batch. Until it is connected, epoll does not know it, so it may become another socket at any time.
import { constants } from 'node:os';
import { attemptError } from '../errors/connectx_error';
import { domainOf } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import type { Endpoint, Native } from '../kernel/addon';
import type { Family } from '../values/address';
import { NOT_BOUND, type Peer, type Target } from './adopt';
import type { Lease } from './socket';

export class BatchTarget implements Target {
  #fd = -1;
  #peer: Peer | undefined;
  readonly #native: Native;
  readonly #batch: number;
  readonly #domain: number;

  constructor(native: Native, batch: number, family: Family) {
    this.#native = native;
    this.#batch = batch;
    this.#domain = domainOf(family);
  }

  adopted(): number {
    if (this.#fd >= 0) return this.#fd;
    const fd = this.#native.batchSocket(this.#batch, this.#domain);
    if (fd >= 0) this.#fd = fd;
    return fd;
  }

  /** There is nothing that core could bind: the addon does it, within the one call that connects. */
  bindExclusive(): number {
    return NOT_BOUND;
  }

  discard(): void {
    if (this.#fd >= 0) this.#native.batchDiscard(this.#batch, this.#fd);
    this.#fd = -1;
  }

  redirect(peer: Peer & Pick<Endpoint, 'scope'>): void {
    this.#peer = {
      port: peer.port,
      address: peer.scope === undefined ? peer.address : `${peer.address}%${peer.scope}`,
    };
  }

  /** bindExclusive() binds nothing. */
  connectBound(): boolean {
    return false;
  }

  /** The connected socket is one of the batch. Returns its number. */
  take(lease: Lease, address: string, port: number): number {
    const peer = this.#peer ?? { address, port };
    const socket = this.#native.batchAdopt(this.#batch, this.#fd, this.#domain, peer.address, peer.port);
    // It is closed, whatever has failed.
    this.#fd = -1;
    if (socket >= 0) return socket;
    lease.ports?.release(lease.localPort);
    const failed = { destination: peer, localAddress: null, localPort: lease.localPort };
    const errno = errnoOf(socket) || constants.errno.EBADF;
    const syscall = syscallOf(this.#native, socket) || 'connect';
    throw attemptError(failed, { errno, syscall, reason: undefined, advice: '' });
  }
}
