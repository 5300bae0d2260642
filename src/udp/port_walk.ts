// The order in which the ports towards one destination are offered. Plain data.
import type { PortRange } from '../values/port_range';
import { noPorts, type PortBits, portsIn, setBit } from '../values/port_bits';
import { isUsable, type PortSpace, usablePorts } from './port_space';

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
    const usable = usablePorts(this.#space);
    // One by one whichever are fewer.
    const areGone = this.#gone < this.left;
    const walked = areGone ? this.#between(0, this.#gone) : this.#between(this.#gone, this.#count);
    const flip = areGone ? -1 : 0;
    const [first, last] = [this.#space.low >> 5, this.#space.high >> 5];
    for (let at = first; at <= last; at++) (usable[at] as number) &= (walked[at] as number) ^ flip;
    this.#gone = this.#count;
    return usable;
  }

  /** What is at these places, usable or not. */
  #between(from: number, to: number): PortBits {
    const bits = noPorts();
    const { low } = this.#space;
    const [count, step] = [this.#count, this.#step];
    let at = (this.#offset + from * step) % count;
    // There may be thousands, before the JIT has seen any of this.
    for (let place = from; place < to; place++) {
      setBit(bits, low + at);
      at += step;
      if (at >= count) at -= count;
    }
    return bits;
  }

  /** Ports of this space, in this order. */
  inOrder(ports: PortBits): number[] {
    const count = this.#count;
    const back = inverse(this.#step, count);
    const start = this.#space.low + this.#offset;
    const placeOf = (port: number): number => (((port - start + count) % count) * back) % count;
    // Sorted by their places, which mostly are few.
    const some = Float64Array.from(portsIn(ports), (port) => 65_536 * placeOf(port) + port);
    return Array.from(some.sort(), (one) => one % 65_536);
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

/** What `step` has to be multiplied by to be 1 more than a multiple of `count`. */
function inverse(step: number, count: number): number {
  let [before, last, beforeFactor, factor] = [count, step % count, 0, 1];
  while (last > 0) {
    const times = Math.floor(before / last);
    [before, last] = [last, before - times * last];
    [beforeFactor, factor] = [factor, beforeFactor - times * factor];
  }
  return (beforeFactor + count) % count;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
