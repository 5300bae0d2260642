// The destinations that one thread connects to. Plain data.
import { DestinationPorts } from './ports';
import type { PortSpace } from './port_space';

/** How many destinations are remembered to which no socket of ours is connected. */
const DESTINATIONS = 256;

/** So many are looked at when one is added, whether they may be forgotten. */
const STEPS = 2;

/**
 * The destinations that sockets of ours are connected to, and of the others those that were connected to last. What is forgotten is asked
 * of the kernel again, port by port: so not while sockets of ours have the ports.
 */
export class PortTable {
  readonly #entries = new Map<string, DestinationPorts>();
  readonly #random: () => number;
  #last: DestinationPorts | undefined;
  // It also comes to what is added meanwhile. A new one each time would pass by all that was deleted before.
  #hand = this.#entries.entries();

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Undefined: to be added. */
  get(key: string): DestinationPorts | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    // The last one used is the last one in the map.
    this.#entries.delete(key);
    return this.#put(key, entry);
  }

  /** A destination of which nothing is known. */
  add(key: string, space: PortSpace): DestinationPorts {
    const entry = this.#put(key, new DestinationPorts(space, this.#random));
    for (let n = 0; n < STEPS && this.#entries.size > DESTINATIONS; n++) this.#forgetNext();
    return entry;
  }

  get size(): number {
    return this.#entries.size;
  }

  clear(): void {
    this.#entries.clear();
    this.#hand = this.#entries.entries();
    this.#last = undefined;
  }

  #put(key: string, entry: DestinationPorts): DestinationPorts {
    this.#entries.set(key, entry);
    this.#last = entry;
    return entry;
  }

  #forgetNext(): void {
    let next = this.#hand.next();
    if (next.done === true) {
      this.#hand = this.#entries.entries();
      next = this.#hand.next();
    }
    if (next.done === true) return;
    const [key, entry] = next.value;
    if (!entry.isLeased && entry !== this.#last) this.#entries.delete(key);
  }
}
