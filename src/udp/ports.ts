// Policy: which port next, towards one UDP destination? Plain data. What is remembered is a hint; the kernel decides.
import { LockHolder } from './lock_holder';
import { SingleFlight } from './single_flight';

/** How a port was found when it could not be had. */
interface Locked {
  /** How often in a row. */
  times: number;
  /** When first, in ms. */
  readonly since: number;
  readonly holder: LockHolder;
}

/** A port that was locked this often, over this long, is mostly locked for good. Who holds it tells. */
const LOCKED_TIMES = 10;
const LOCKED_MS = 20;

/**
 * The ports from one source towards one destination.
 *
 * Every usable port is offered once, in an order of its own, before any is offered again: so the cost of a port does not
 * grow as the range fills. What somebody else turned out to have is remembered and asked for again at the end; what we
 * had and gave back comes after that which was never used, oldest first, so that stray datagrams find nobody.
 */
export class DestinationPorts {
  readonly #ports: Uint16Array;
  readonly #step: number;
  readonly #offset: number;
  #offered = 0;
  #freed: number[] = [];
  #freedFrom = 0;
  readonly #taken = new Set<number>();
  readonly #locked = new Map<number, Locked>();
  readonly #denied = new Set<number>();
  /** Dumps of who has them, shared by concurrent connects. */
  readonly dump = new SingleFlight<Uint16Array | undefined>();

  /** `ports` is shared and not changed; `random` gives numbers in [0, 1). */
  constructor(ports: Uint16Array, random: () => number) {
    this.#ports = ports;
    const count = ports.length;
    this.#offset = Math.floor(random() * count);
    this.#step = coprime(Math.floor(random() * count), count);
  }

  /** Whether {@link take} has one. */
  hasOffer(): boolean {
    return this.#offered < this.#ports.length || this.#freedFrom < this.#freed.length;
  }

  /** A port that was never offered, or one that was released; undefined when there is none of either. */
  take(): number | undefined {
    const { length } = this.#ports;
    if (this.#offered < length) {
      const index = (this.#offset + this.#offered * this.#step) % length;
      this.#offered++;
      return this.#ports[index];
    }
    if (this.#freedFrom === this.#freed.length) return undefined;
    const port = this.#freed[this.#freedFrom];
    this.#freedFrom++;
    // Not at every step: moving what is left is linear.
    if (this.#freedFrom > 1024 && this.#freedFrom * 2 > this.#freed.length) {
      this.#freed = this.#freed.slice(this.#freedFrom);
      this.#freedFrom = 0;
    }
    return port;
  }

  /** The port is offered again, after those that were never offered. */
  release(port: number): void {
    this.#freed.push(port);
  }

  /** A connected socket of somebody else has the 4-tuple. */
  markTaken(port: number): void {
    this.#locked.delete(port);
    this.#taken.add(port);
  }

  /** Somebody does not share the port, or has it locked just now. `now` in ms. */
  markLocked(port: number, now: number): void {
    const before = this.#locked.get(port);
    if (before === undefined) this.#locked.set(port, { times: 1, since: now, holder: new LockHolder() });
    else before.times++;
  }

  /** What was found taken: to be asked for again before the range is called exhausted. */
  taken(): number[] {
    return [...this.#taken];
  }

  /** Whether it is among them. */
  isTaken(port: number): boolean {
    return this.#taken.has(port);
  }

  /** How many they are. */
  get takenCount(): number {
    return this.#taken.size;
  }

  /** Those of them that are not among `still`. */
  takenExcept(still: Uint16Array): Uint16Array {
    const isStill = new Uint8Array(65536);
    for (const port of still) isStill[port] = 1;
    return Uint16Array.from([...this.#taken].filter((port) => isStill[port] === 0));
  }

  /** What was found locked: likewise. */
  locked(): number[] {
    return [...this.#locked.keys()];
  }

  /** The port that was taken or locked is not any more. */
  markFree(port: number): void {
    this.#taken.delete(port);
    this.#locked.delete(port);
  }

  /** The holder of a locked port is this socket, undefined where it is none that is bound and not connected. Says whether to wait for it. */
  mayLetGo(port: number, cookie: bigint | undefined, now: number): boolean {
    return this.#locked.get(port)?.holder.mayLetGo(cookie, now) ?? false;
  }

  /** The process may not bind this port. */
  markDenied(port: number): void {
    this.#denied.add(port);
  }

  /** One of the ports that were denied, to be tried again; undefined: there is none. */
  takeDenied(): number | undefined {
    for (const port of this.#denied) {
      this.#denied.delete(port);
      return port;
    }
    return undefined;
  }

  /** Whether none was usable because all were denied. */
  areAllDenied(): boolean {
    return this.#denied.size > 0 && this.#denied.size === this.#ports.length;
  }

  /** The process may bind them by now: all are offered again. */
  releaseDenied(): void {
    for (const port of this.#denied) this.release(port);
    this.#denied.clear();
  }

  /** Whether some port may be locked only for a moment. */
  mayUnlock(now: number): boolean {
    for (const { times, since } of this.#locked.values()) {
      if (times < LOCKED_TIMES || now - since < LOCKED_MS) return true;
    }
    return false;
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

/** How many destinations are remembered. */
const DESTINATIONS = 256;

/** The destinations that were connected to last. */
export class PortTable {
  readonly #entries = new Map<string, DestinationPorts>();
  readonly #random: () => number;
  #lastKey = '';
  #last: DestinationPorts | undefined;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** `ports`: of a destination that is not remembered. */
  get(key: string, ports: Uint16Array): DestinationPorts {
    if (this.#last !== undefined && key === this.#lastKey) return this.#last;
    let entry = this.#entries.get(key);
    // The last one used is the last one in the map.
    if (entry !== undefined) this.#entries.delete(key);
    else entry = new DestinationPorts(ports, this.#random);
    this.#entries.set(key, entry);
    this.#lastKey = key;
    this.#last = entry;
    if (this.#entries.size > DESTINATIONS) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    return entry;
  }

  clear(): void {
    this.#entries.clear();
    this.#last = undefined;
  }
}
