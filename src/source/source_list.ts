// The addresses that a source function gives at once: the first one first, and the next one when it fails.
import type { Destination, Family, ParsedAddress } from '../values/address';
import { brand, type Pooled, type SourcePicker } from './pooled';

export class SourceList implements Pooled {
  readonly #addresses: readonly ParsedAddress[];

  constructor(addresses: readonly ParsedAddress[]) {
    this.#addresses = addresses;
  }

  serves(family: Family): boolean {
    return this.#addresses.some((address) => address.family === family);
  }

  version(): undefined {
    return undefined;
  }

  pick(_destination: Destination, family: Family): SourcePicker {
    const left = this.#addresses.filter((address) => address.family === family);
    return {
      ports: undefined,
      isHeldBack: false,
      next: () => left.shift(),
      failed: () => undefined,
      lease: () => undefined,
      countAgain: () => () => {},
    };
  }
}

brand(SourceList);
