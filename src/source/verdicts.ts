// What the caller says of sources: paused, or resting for a while. Unlike what a pool finds out by itself, it is no hint: such a source is
// not used. Times are milliseconds of a monotonic clock.
import { canonicalAddress } from '../values/address';

/** How many rests are kept; beyond it those that were said first are forgotten. A client may name the destinations of a proxy. */
const MOST_RESTS = 65_536;

export class Verdicts {
  readonly #paused = new Set<string>();
  /** When each rest ends. */
  readonly #rests = new Map<string, number>();
  /** One for good: a new one would go past all that was deleted. */
  readonly #oldest = this.#rests.keys();

  get isEmpty(): boolean {
    return this.#paused.size === 0 && this.#rests.size === 0;
  }

  pause(source: string): void {
    this.#paused.add(source);
  }

  isPaused(source: string): boolean {
    return this.#paused.has(source);
  }

  /** `where`: towards one destination only; empty: towards all. */
  rest(source: string, where: string, ms: number, now: number): void {
    const key = keyOf(source, where);
    this.#rests.delete(key);
    if (ms <= 0) return;
    this.#rests.set(key, now + ms);
    if (this.#rests.size <= MOST_RESTS) return;
    const oldest = this.#oldest.next();
    if (oldest.done !== true) this.#rests.delete(oldest.value);
  }

  /** Nothing is said any more of these sources. */
  forget(isOne: (source: string) => boolean): void {
    for (const source of this.#paused) if (isOne(source)) this.#paused.delete(source);
    for (const key of this.#rests.keys()) if (isOne(sourceOf(key))) this.#rests.delete(key);
  }

  /** Whether the source is not to be used now, towards this destination (with its port). */
  holds(source: string, where: string, now: number): boolean {
    if (this.#paused.has(source)) return true;
    if (this.#rests.size === 0) return false;
    const anyPort = where.slice(0, where.lastIndexOf(' '));
    return [source, keyOf(source, where), keyOf(source, anyPort)].some((key) => this.#isResting(key, now));
  }

  /** How many rests there are now. */
  count(now: number): number {
    let count = 0;
    for (const until of this.#rests.values()) if (until > now) count++;
    return count;
  }

  #isResting(key: string, now: number): boolean {
    const until = this.#rests.get(key);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#rests.delete(key);
    return false;
  }
}

function keyOf(source: string, where: string): string {
  return where === '' ? source : `${source} ${where}`;
}

function sourceOf(key: string): string {
  const space = key.indexOf(' ');
  return space < 0 ? key : key.slice(0, space);
}

/** A destination as part of a key; without a port: all the ports of the address. */
export function destinationKey(destination: { readonly address: string; readonly port?: number | undefined }): string {
  const { address, port } = destination;
  return `> ${canonicalAddress(address)}${port === undefined ? '' : ` ${port}`}`;
}
