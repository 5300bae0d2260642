// How many connections of a pool are open: in all, from an address, towards a destination, and from one to the other.
import type { PoolLease } from './pooled';

export class InUse {
  readonly #counts = new Map<string, number>();

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** One more under each of the keys, until the lease is released. */
  lease(member: { inUse: number }, keys: readonly string[]): PoolLease {
    this.#count(member, keys, 1);
    let held = true;
    return {
      release: () => {
        if (held) this.#count(member, keys, -1);
        held = false;
      },
    };
  }

  #count(member: { inUse: number }, keys: readonly string[], by: 1 | -1): void {
    member.inUse += by;
    for (const key of keys) {
      const left = this.of(key) + by;
      if (left === 0) this.#counts.delete(key);
      else this.#counts.set(key, left);
    }
  }
}
