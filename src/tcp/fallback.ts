// One attempt where there is no addon: the source is bound as net.connect({ localAddress, localPort }) binds it, with the
// limits that connectx exists to lift.
import { constants } from 'node:os';
import type { Destination } from '../values/address';
import type { ConnectRequest, HandleOwner, Oncomplete, TcpHandle } from './core_handle';
import { attemptError, complete } from '../errors/connectx_error';
import type { Failure } from '../connect/failure';
import { explain, type Explanation, familyMismatch, wildcardOf } from '../connect/explain';
import { holdUntilClosed } from './lease';
import type { Overtaken, Racer } from './race';
import type { Source } from '../source/options';
import { type Resolved, resolveSource } from '../source/resolve';
import { type Sources, sourcesFor } from '../connect/candidates';

const { errno } = constants;

export class FallbackAttempt implements Racer {
  readonly technique = { kind: 'core' } as const;
  localAddress: string | null = null;
  localPort: number;
  failure: Failure | undefined;
  request: ConnectRequest | undefined;
  oncomplete: Oncomplete | undefined;
  overtaken: Overtaken | null | undefined;

  readonly handle: TcpHandle;

  constructor(
    readonly source: Source,
    readonly owner: HandleOwner,
    readonly destination: Destination,
  ) {
    this.handle = owner._handle as TcpHandle;
    this.localPort = source.port;
  }

  /** As that of fast_path.ts. */
  begin(): void {
    const { handle } = this;
    const name = this.destination.family === 6 ? 'connect6' : 'connect';
    const core = handle[name];
    handle[name] = (request: ConnectRequest, address: string, port: number) => {
      handle[name] = core;
      this.request = request;
      this.oncomplete = request.oncomplete;
      const status = this.#bindOne();
      return status === 0 ? core.call(handle, request, address, port) : status;
    };
  }

  isOf(handle: unknown): boolean {
    return handle === this.handle;
  }

  complete(error: Error): void {
    if (this.failure !== undefined) complete(error, this, this.failure);
  }

  // Source after source, where they come from a pool.
  #bindOne(): number {
    const sources = sourcesFor(this.source, this.destination);
    let status = this.#bind(sources);
    while (status !== 0 && this.#mayTryAnother(sources)) status = this.#bind(sources);
    const lease = status === 0 ? sources?.lease() : undefined;
    if (lease !== undefined) holdUntilClosed(this.handle, lease);
    return status;
  }

  #mayTryAnother(sources: Sources | undefined): boolean {
    const { failure } = this;
    if (sources === undefined || failure?.errors !== undefined || failure === undefined) return false;
    return failure.thrown === undefined && sources.failed(attemptError(this, failure));
  }

  #bind(sources: Sources | undefined): number {
    this.failure = undefined;
    let resolved: Resolved | undefined;
    try {
      resolved = sources === undefined ? resolveSource(this.source, this.destination) : sources.next();
    } catch (error) {
      this.failure = { errno: errno.EINVAL, syscall: 'bind', reason: undefined, advice: '', thrown: { error } };
    }
    if (this.owner._handle !== this.handle) {
      // A function of the user's has destroyed the socket.
      this.owner._aborted = true;
      return -errno.ECANCELED;
    }
    if (this.failure !== undefined) return -errno.EINVAL;
    if (resolved === undefined) {
      this.failure = sources?.exhausted();
      if (this.failure !== undefined) return -this.failure.errno;
      return this.#fail(errno.EAFNOSUPPORT, 'connect', familyMismatch(this.destination.address, this.source));
    }
    this.localAddress = resolved;
    if (resolved === null && this.localPort === 0) return 0;
    const { family } = this.destination;
    const address = resolved ?? wildcardOf(family, false);
    const status =
      family === 6 ? this.handle.bind6(address, this.localPort, 0) : this.handle.bind(address, this.localPort);
    return status === 0 ? 0 : this.#fail(-status, 'bind');
  }

  #fail(code: number, syscall: string, explanation?: Explanation): number {
    const { localAddress, source } = this;
    const circumstances = { errno: code, syscall, localAddress, source, ephemeral: undefined };
    this.failure = {
      errno: code,
      syscall,
      ...(explanation ?? explain({ ...circumstances, sourceIsUsable: () => true })),
    };
    return -code;
  }
}
