// What `watch` makes of samples: how fast each group grows, and when it will be full. No I/O.
import type { Row } from './table';
import { type PortUsage, usageKey } from '../usage/usage';

/** Seconds over which growth is averaged. */
const SMOOTH = 5;
/** Ports a second below which a group counts as standing still. */
const STILL = 0.05;

interface Known {
  readonly used: number;
  readonly growth: number | undefined;
}

/** Keeps the last sample of each group. */
export class Growth {
  #known: ReadonlyMap<string, Known> | undefined;
  #at = 0;

  /** `now` in milliseconds. The first sample has no growth. */
  rowsOf(usage: readonly PortUsage[], now: number): Row[] {
    const before = this.#known;
    const seconds = Math.max((now - this.#at) / 1000, 0.001);
    const weight = 1 - Math.exp(-seconds / SMOOTH);
    const next = new Map<string, Known>();
    const rows = usage.map((one) => {
      const key = usageKey(one);
      const growth = before && growthOf(one.used, before.get(key), seconds, weight);
      next.set(key, { used: one.used, growth });
      return { usage: one, growth, fullIn: fullIn(one, growth) };
    });
    this.#known = next;
    this.#at = now;
    return rows;
  }
}

function growthOf(used: number, before: Known | undefined, seconds: number, weight: number): number {
  // A group that was not there had no port in use.
  const now = (used - (before?.used ?? 0)) / seconds;
  return before?.growth === undefined ? now : before.growth + weight * (now - before.growth);
}

function fullIn({ used, capacity }: PortUsage, growth: number | undefined): number | undefined {
  if (growth === undefined || growth < STILL || used >= capacity) return undefined;
  return (capacity - used) / growth;
}
