// One attempt where there is no addon: the source is bound as net.connect({ localAddress, localPort }) binds it, with the
// limits that connectx exists to lift.
import { constants } from 'node:os';
import type { Destination } from '../values/address';
import type { TcpHandle } from './core_handle';
import { attemptError, complete } from '../errors/connectx_error';
import type { Failure } from './hunt';
import { explain, familyMismatch, wildcardOf } from '../connect/explain';
import type { PoolLease } from '../source/picker';
import type { Source } from '../source/options';
import { type Resolved, resolveSource } from '../source/resolve';
import { type Sources, sourcesFor } from '../connect/candidates';

const { errno } = constants;

export class FallbackAttempt {
  readonly destination: Destination;
  readonly technique = 'core';
  localAddress: string | null = null;
  localPort: number;
  failure: Failure | undefined;
  thrown: { readonly error: unknown } | undefined;

  readonly #source: Source;
  readonly #handle: TcpHandle;
  #sources: Sources | undefined;
  #lease: PoolLease | undefined;

  constructor(source: Source, handle: TcpHandle, destination: Destination) {
    this.#source = source;
    this.#handle = handle;
    this.destination = destination;
    this.localPort = source.port;
  }

  begin(): void {
    this.#sources = sourcesFor(this.#source, this.destination);
    let status = this.#bind();
    while (status !== 0 && this.#mayTryAnother()) status = this.#bind();
    if (status === 0) {
      this.#lease = this.#sources?.lease();
      return;
    }
    const refuse = () => status;
    if (this.destination.family === 6) this.#handle.connect6 = refuse;
    else this.#handle.connect = refuse;
  }

  isOf(handle: unknown): boolean {
    return handle === this.#handle;
  }

  complete(error: Error): void {
    if (this.failure !== undefined) complete(error, this, this.failure);
  }

  release(): void {
    this.#lease?.release();
    this.#lease = undefined;
  }

  #mayTryAnother(): boolean {
    const { failure } = this;
    if (this.#sources === undefined || failure === undefined) return false;
    return failure.errors === undefined && this.#sources.failed(attemptError(this, failure));
  }

  #bind(): number {
    this.failure = undefined;
    let resolved: Resolved | undefined;
    try {
      resolved = this.#sources === undefined ? resolveSource(this.#source, this.destination) : this.#sources.next();
    } catch (error) {
      this.thrown = { error };
      return -errno.EINVAL;
    }
    if (resolved === undefined) {
      this.failure = this.#sources?.exhausted();
      if (this.failure !== undefined) return -this.failure.errno;
      const explanation = familyMismatch(this.destination.address, this.#source);
      this.failure = { errno: errno.EAFNOSUPPORT, syscall: 'connect', ...explanation };
      return -errno.EAFNOSUPPORT;
    }
    this.localAddress = resolved;
    if (resolved === null && this.localPort === 0) return 0;
    const { family } = this.destination;
    const address = resolved ?? wildcardOf(family, false);
    const status =
      family === 6 ? this.#handle.bind6(address, this.localPort, 0) : this.#handle.bind(address, this.localPort);
    if (status !== 0) this.failure = this.#explain(-status);
    return status;
  }

  #explain(code: number): Failure {
    const explanation = explain({
      errno: code,
      syscall: 'bind',
      localAddress: this.localAddress,
      source: this.#source,
      ephemeral: undefined,
      sourceIsUsable: () => true,
    });
    return { errno: code, syscall: 'bind', ...explanation };
  }
}
