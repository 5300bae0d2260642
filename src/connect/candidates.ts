// A connection that may have its source from a pool: source after source, until one of them does.
import type { Destination, Family } from '../values/address';
import { attemptError, type ConnectxError, type FailedAttempt, type FailureDetails } from '../errors/connectx_error';
import { isUnreachable, poolExhausted, unreachable } from './explain';
import type { Picker, PoolLease } from '../source/picker';
import { isPool, type SourcePool } from '../source/pool';
import type { Source } from '../source/options';
import { neededFamily, type Resolved, resolveAddress } from '../source/resolve';

/** What another source may do better, beside having a route. */
const GOES_ON: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN', 'EINVAL']);

/**
 * From how many sources a destination is tried that cannot be reached: a few, in case that a rule forbids it to some of them.
 * Mostly none can reach it, and whoever may name destinations could keep the process busy with a large pool.
 */
const UNREACHABLE_TRIES = 4;

/** How many errors are kept for the error of the pool. */
const ERRORS_KEPT = 64;

/** The sources of a pool for one attempt to reach one destination. */
export class Sources {
  readonly #source: Source;
  readonly #destination: Destination;
  readonly #picker: Picker;
  readonly #errors: ConnectxError[] = [];
  #failed = 0;
  #unreachable = 0;

  constructor(source: Source, destination: Destination, pool: SourcePool) {
    this.#source = source;
    this.#destination = destination;
    this.#picker = pool.pick(destination, neededFamily(destination) as Family);
  }

  /** Undefined: there is none, or no other one. Throws what a strategy function throws. */
  next(): Resolved | undefined {
    if (this.#unreachable === UNREACHABLE_TRIES) return undefined;
    const chosen = this.#picker.next();
    return chosen && resolveAddress(chosen, this.#destination);
  }

  /** The source that {@link next} gave has failed with this. Says whether another one may do better. */
  failed(error: ConnectxError): boolean {
    if (isUnreachable(error)) {
      this.#unreachable++;
      this.#picker.failed('unreachable');
    } else if (!GOES_ON.has(error.code)) {
      return false;
    } else if (error.reason === 'address-not-local') {
      this.#picker.failed('not-local');
    } else {
      // With a port or a range of its own, this connection says nothing of others.
      const anyPort = this.#source.port === 0 && this.#source.range === undefined;
      this.#picker.failed(anyPort && error.reason === 'ports-exhausted' ? 'exhausted' : 'other');
    }
    this.#failed++;
    this.#errors.push(error);
    if (this.#errors.length > ERRORS_KEPT) this.#errors.shift();
    return true;
  }

  /** The source that {@link next} gave is in use, until the lease is released. */
  lease(): PoolLease | undefined {
    return this.#picker.lease();
  }

  /** When {@link next} has given none: why all have failed; undefined when none was tried. */
  exhausted(): FailureDetails | undefined {
    const last = this.#errors.at(-1);
    if (last === undefined) return undefined;
    const { errno = 0, syscall = 'connect' } = last;
    const alike = this.#unreachable === this.#failed && this.#errors.every(({ code }) => code === last.code);
    // The destination's fault: more sources would not help.
    if (alike) {
      const { localAddress = null } = last;
      return { errno: -errno, syscall, ...unreachable(-errno, localAddress, this.#failed), errors: this.#errors };
    }
    return { errno: -errno, syscall, ...poolExhausted(this.#failed), errors: this.#errors };
  }

  /** The same as an error. */
  exhaustedError(): ConnectxError | undefined {
    const failure = this.exhausted();
    if (failure === undefined) return undefined;
    const { localAddress = null, localPort = 0 } = this.#errors.at(-1) ?? {};
    const attempt: FailedAttempt = { destination: this.#destination, localAddress, localPort };
    return attemptError(attempt, failure);
  }
}

/** Undefined where the source does not come from a pool. */
export function sourcesFor(source: Source, destination: Destination): Sources | undefined {
  return isPool(source.address) ? new Sources(source, destination, source.address) : undefined;
}
