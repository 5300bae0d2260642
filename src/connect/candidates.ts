// A connection that may have its source from a pool: source after source, until one of them does.
import { constants } from 'node:os';
import type { Destination, Family } from '../values/address';
import { attemptError, type ConnectxError, type FailedAttempt, type FailureDetails } from '../errors/connectx_error';
import { allHeldBack, isUnreachable, poolExhausted, unreachable } from './explain';
import type { PoolLease } from '../source/pooled';
import { isPool, type Pooled, type SourcePicker } from '../source/pooled';
import type { Source } from '../source/options';
import { askRange } from '../source/range_option';
import { neededFamily, type Resolved, resolveAddress, resolveSource } from '../source/resolve';
import { includesPort, intersect, type PortRange } from '../values/port_range';

/** What another source may do better, beside having a route. */
const GOES_ON: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN', 'EINVAL']);

/**
 * From how many sources a destination is tried that cannot be reached: a few, in case that a rule forbids it to some of them.
 * Mostly none can reach it, and whoever may name destinations could keep the process busy with a large pool.
 */
const UNREACHABLE_TRIES = 4;

/** How many errors are kept for the error of the pool. */
const ERRORS_KEPT = 64;

/** A source to try: its address as it is bound, and the options with the range that its ports have to be from. */
export interface Candidate {
  readonly address: Resolved;
  readonly source: Source;
}

/** The sources of a pool for one attempt to reach one destination. */
export class Sources {
  readonly #source: Source;
  readonly #destination: Destination;
  readonly #picker: SourcePicker;
  readonly #errors: ConnectxError[] = [];
  #failed = 0;
  #unreachable = 0;
  /** Whether a source was passed over because none of its ports was asked for. */
  #isOutOfSlice = false;

  constructor(source: Source, destination: Destination, pool: Pooled) {
    this.#source = source;
    this.#destination = destination;
    this.#picker = pool.pick(destination, neededFamily(destination) as Family);
  }

  /** Undefined: there is none, or no other one. Throws what a function of the user's throws. */
  next(): Candidate | undefined {
    if (this.#unreachable === UNREACHABLE_TRIES) return undefined;
    for (;;) {
      const chosen = this.#picker.next();
      if (chosen === undefined) return undefined;
      const address = resolveAddress(chosen, this.#destination);
      const source = sourceWithPorts(this.#source, this.#destination, address, this.#picker.ports);
      if (source !== undefined) return { address, source };
      this.#isOutOfSlice = true;
    }
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
      const { port, range, chooseRange } = this.#source;
      const anyPort = port === 0 && range === undefined && chooseRange === undefined;
      this.#picker.failed(anyPort && error.reason === 'ports-exhausted' ? 'exhausted' : 'other');
    }
    this.#failed++;
    this.#errors.push(error);
    if (this.#errors.length > ERRORS_KEPT) this.#errors.shift();
    return true;
  }

  /** What counts the sources that had no port once more, when the same answer is given again. */
  countAgain(): () => void {
    return this.#picker.countAgain();
  }

  /** The source that {@link next} gave is in use, until the lease is released. */
  lease(): PoolLease | undefined {
    return this.#picker.lease();
  }

  /** When {@link next} has given none: why all have failed; undefined when none was tried. */
  exhausted(): FailureDetails | undefined {
    const last = this.#errors.at(-1);
    if (last === undefined) return this.#noneUsable();
    const { errno = 0, syscall = 'connect' } = last;
    const alike = this.#unreachable === this.#failed && this.#errors.every(({ code }) => code === last.code);
    // The destination's fault: more sources would not help.
    if (alike) {
      const { localAddress = null } = last;
      return { errno: -errno, syscall, ...unreachable(-errno, localAddress, this.#failed), errors: this.#errors };
    }
    return { errno: -errno, syscall, ...poolExhausted(this.#failed), errors: this.#errors };
  }

  #noneUsable(): FailureDetails | undefined {
    if (!this.#picker.isHeldBack && !this.#isOutOfSlice) return undefined;
    return { errno: constants.errno.EADDRNOTAVAIL, syscall: 'connect', ...allHeldBack(this.#isOutOfSlice), errors: [] };
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

/**
 * The next source to try; `sources`: those of a pool. Undefined: there is none.
 *
 * @throws what a function of the user's throws
 */
export function nextCandidate(
  source: Source,
  destination: Destination,
  sources: Sources | undefined,
): Candidate | undefined {
  if (sources !== undefined) return sources.next();
  const address = resolveSource(source, destination);
  if (address === undefined) return undefined;
  const withPorts = sourceWithPorts(source, destination, address, undefined);
  return withPorts && { address, source: withPorts };
}

/** The source with the range that was asked for, within those ports that there are to be had; undefined: they have none in common. */
function sourceWithPorts(
  source: Source,
  destination: Destination,
  address: Resolved,
  slice: PortRange | undefined,
): Source | undefined {
  const { port, chooseRange } = source;
  const asked = chooseRange === undefined ? source.range : askRange(chooseRange, destination, address);
  if (slice === undefined)
    return chooseRange === undefined ? source : { ...source, range: asked, chooseRange: undefined };
  if (port !== 0) return includesPort(slice, port) ? source : undefined;
  const range = asked === undefined ? slice : intersect(asked, slice);
  return range && { ...source, range, chooseRange: undefined };
}
