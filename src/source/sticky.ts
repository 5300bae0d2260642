// A pool as one key sees it: always the same source first.
import type { Destination, Family } from '../values/address';
import { brand, type Pooled, type SourcePicker } from './pooled';
import { type Choose, stickyTo } from './strategies';

/** What a sticky source needs of its pool. */
export interface Sticking {
  serves(family: Family): boolean;
  pick(destination: Destination, family: Family, choose?: Choose): SourcePicker;
}

/** What `SourcePool.sticky` gives, for `localAddress`. */
export class StickySource implements Pooled {
  /** @internal */
  readonly pool: Sticking;
  /** What decides on the source. */
  readonly key: string;
  readonly #choose: Choose;

  /** @internal */
  constructor(pool: Sticking, key: string) {
    this.pool = pool;
    this.key = key;
    this.#choose = stickyTo(key);
  }

  /** @internal */
  serves(family: Family): boolean {
    return this.pool.serves(family);
  }

  /** @internal Another object each time: nothing is remembered of it. */
  version(): undefined {
    return undefined;
  }

  /** @internal */
  pick(destination: Destination, family: Family): SourcePicker {
    return this.pool.pick(destination, family, this.#choose);
  }
}

brand(StickySource);
