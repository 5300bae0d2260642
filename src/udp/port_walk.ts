// The order in which the ports towards one destination are offered. Plain data.
import type { PortRange } from '../values/port_range';
import { clearBit, hasBit, isUsable, noPorts, type PortBits, type PortSpace, setBit, usablePorts } from './port_space';

/** Each usable port once, in a random order of its own: flows spread evenly over the ports. */
export class PortWalk {
  readonly #space: PortSpace;
  readonly #offset: number;
  readonly #step: number;
  #gone = 0;

  /** `random` gives numbers in [0, 1). */
  constructor(space: PortSpace, random: () => number) {
    this.#space = space;
    const count = this.#count;
    this.#offset = Math.floor(random() * count);
    this.#step = coprime(Math.floor(random() * count), count);
  }

  // Those that are not usable are among them, and are passed over.
  get #count(): number {
    return Math.max(this.#space.high - this.#space.low + 1, 0);
  }

  #at(place: number): number {
    return this.#space.low + ((this.#offset + place * this.#step) % this.#count);
  }

  /** Undefined: all have been offered. */
  next(): number | undefined {
    const port = this.peek();
    if (port !== undefined) this.#gone++;
    return port;
  }

  /** The same, and it is offered again. */
  peek(): number | undefined {
    const count = this.#count;
    for (; this.#gone < count; this.#gone++) {
      const port = this.#at(this.#gone);
      if (isUsable(this.#space, port)) return port;
    }
    return undefined;
  }

  /** How many have not been offered, at most. */
  get left(): number {
    return this.#count - this.#gone;
  }

  /** Those that have not been offered. Then all of them have been. */
  finish(): PortBits {
    if (this.left <= this.#gone) {
      const left = noPorts();
      for (let port = this.next(); port !== undefined; port = this.next()) setBit(left, port);
      return left;
    }
    // One by one whichever are fewer.
    const left = usablePorts(this.#space);
    for (let place = 0; place < this.#gone; place++) clearBit(left, this.#at(place));
    this.#gone = this.#count;
    return left;
  }

  /** Ports of this space, in this order. */
  inOrder(ports: PortBits): number[] {
    const count = this.#count;
    const some: number[] = [];
    for (let place = 0; place < count; place++) {
      const port = this.#at(place);
      if (hasBit(ports, port)) some.push(port);
    }
    return some;
  }

  /** How many usable ports there are: a look at each of them. */
  countUsable(): number {
    let count = 0;
    for (let port = this.#space.low; port <= this.#space.high; port++) if (isUsable(this.#space, port)) count++;
    return count;
  }

  /** The range in two. */
  halves(): PortRange[] {
    const { low, high } = this.#space;
    const middle = (low + high) >> 1;
    return [
      { low, high: middle },
      { low: middle + 1, high },
    ];
  }
}

// A step that visits every index of `count` once before it returns to the first.
function coprime(candidate: number, count: number): number {
  let step = Math.max(candidate, 1);
  while (gcd(step, count) !== 1) step++;
  return step;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
