// One attempt where there is no addon: the source is bound as net.connect({ localAddress, localPort }) binds it, with the
// limits that connectx exists to lift.
import { constants } from 'node:os';
import type { Destination } from '../values/address';
import type { ConnectRequest, HandleOwner, TcpHandle } from './core_handle';
import { attemptError, complete } from '../errors/connectx_error';
import type { Failure } from '../connect/failure';
import { explain, type Explanation, familyMismatch, wildcardOf } from '../connect/explain';
import { holdUntilClosed } from './lease';
import { Racer } from './racer';
import type { Source } from '../source/options';
import { askFunction } from '../source/resolve';
import { type Candidate, nextCandidate, type Sources, sourcesFor } from '../connect/candidates';
import { refuseOnFallback } from '../connect/without_addon';

const { errno } = constants;

export class FallbackAttempt extends Racer {
  readonly technique = { kind: 'core' } as const;
  localAddress: string | null = null;
  localPort: number;
  failure: Failure | undefined;

  readonly handle: TcpHandle;

  constructor(
    /** As it was given, or with what a function of the user's has given for the destination. */
    public source: Source,
    readonly owner: HandleOwner,
    readonly destination: Destination,
  ) {
    super();
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
    const source = this.#asked(() => askFunction(this.source, this.destination));
    if (typeof source === 'number') return source;
    if (source === undefined) return this.#mismatch();
    this.source = source;
    const sources = sourcesFor(source, this.destination);
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
    const candidate = this.#asked(() => this.#next(sources));
    if (typeof candidate === 'number') return candidate;
    if (candidate === undefined) {
      this.failure = sources?.exhausted();
      return this.failure === undefined ? this.#mismatch() : -this.failure.errno;
    }
    const { address: resolved } = candidate;
    this.localAddress = resolved;
    if (resolved === null && this.localPort === 0) return 0;
    const { family } = this.destination;
    const address = resolved ?? wildcardOf(family, false);
    const status =
      family === 6 ? this.handle.bind6(address, this.localPort, 0) : this.handle.bind(address, this.localPort);
    return status === 0 ? 0 : this.#fail(-status, 'bind');
  }

  #next(sources: Sources | undefined): Candidate | undefined {
    const candidate = nextCandidate(this.source, this.destination, sources);
    // Of a slice of a pool.
    if (candidate !== undefined) refuseOnFallback(candidate.source);
    return candidate;
  }

  // What a function of the user's gives; a negative errno where it has thrown, or has destroyed the socket.
  #asked<T extends object>(ask: () => T | undefined): T | number | undefined {
    let answer: T | undefined;
    try {
      answer = ask();
    } catch (error) {
      this.failure = { errno: errno.EINVAL, syscall: 'bind', reason: undefined, advice: '', thrown: { error } };
    }
    if (this.owner._handle !== this.handle) {
      this.owner._aborted = true;
      return -errno.ECANCELED;
    }
    return this.failure === undefined ? answer : -errno.EINVAL;
  }

  #mismatch(): number {
    return this.#fail(errno.EAFNOSUPPORT, 'connect', familyMismatch(this.destination.address, this.source));
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
