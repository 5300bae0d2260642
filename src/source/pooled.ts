// What `localAddress` may be beside a pool itself: whatever gives out sources one after the other. Plain data.
import type { Destination, Family, ParsedAddress } from '../values/address';
import type { PortRange } from '../values/port_range';

// It may come from another copy of connectx in the process (a bundle, or a vm context as Jest makes it), whose classes are others. The
// number is that of the methods below.
const BRAND = Symbol.for('connectx.SourcePool');
const PROTOCOL = 3;

/** Why a source that was tried is not used. `unreachable`: connect(2) finds no route to the destination from it. */
export type Fault = 'exhausted' | 'unreachable' | 'not-local' | 'other';

/** A connection's hold on its source. */
export interface PoolLease {
  /** Once is enough; more often does no harm. */
  release(): void;
}

/** Gives out the sources for one attempt, each once. */
export interface SourcePicker {
  /** Of the source that was given last: the ports that there are to be had of it; undefined: all. */
  readonly ports: PortRange | undefined;
  /** Whether a source was passed over because it is paused or rests. */
  readonly isHeldBack: boolean;
  next(): ParsedAddress | undefined;
  failed(fault: Fault): void;
  lease(): PoolLease | undefined;
  /** What counts the sources that had no port once more. */
  countAgain(): () => void;
}

/** Sources of which the next one is tried when one fails. */
export interface Pooled {
  /** @internal Whether it has a source of this family. */
  serves(family: Family): boolean;
  /** @internal Another one when the sources are others. Undefined: a function of the user's decides, each time. */
  version(): number | undefined;
  /** @internal The sources for one attempt, `family` being that of the source. */
  pick(destination: Destination, family: Family): SourcePicker;
}

/** The objects of this class are sources. */
export function brand(of: { readonly prototype: Pooled }): void {
  Object.defineProperty(of.prototype, BRAND, { value: PROTOCOL });
}

/** Whether it is one, of this copy of connectx or of another one with the same methods. */
export function isPool(value: unknown): value is Pooled {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === PROTOCOL;
}

/** Whether it is one of a copy of connectx that has other methods. */
export function isForeignPool(value: object): boolean {
  return BRAND in value && !isPool(value);
}
