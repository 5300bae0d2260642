// Policy: which port next, towards one UDP destination? Plain data. What is remembered is a hint; the kernel decides.
import type { PortRange } from '../values/port_range';
import { FreedPorts } from './freed_ports';
import { Looks } from './looks';
import { PortSet } from './port_set';
import { hasBit, noPorts, type PortBits } from '../values/port_bits';
import type { PortSpace } from './port_space';
import { PortWalk } from './port_walk';
import { RefusedPorts } from './refused_ports';

/**
 * The ports from one source towards one destination.
 *
 * Every usable port is offered once, in an order of its own, before any is offered again. Ports that were never used come first, then those
 * that this thread gave back. Ports that somebody else has are remembered, and asked for again at the end. A process may have one of
 * these objects for each socket, so it makes its seldom needed parts only when they are needed.
 */
export class DestinationPorts {
  readonly #walk: PortWalk;
  /** What the kernel says nobody has. */
  #found: number[] | undefined = undefined;
  #freed: FreedPorts | undefined = undefined;
  /** What a connected socket of somebody else has. */
  #taken: PortSet | undefined = undefined;
  #seldom: { readonly looks: Looks; readonly refused: RefusedPorts } | undefined = undefined;
  #leases = 0;

  /** `random` gives numbers in [0, 1). */
  constructor(space: PortSpace, random: () => number) {
    this.#walk = new PortWalk(space, random);
  }

  /** When the kernel was asked for what others have. */
  get looks(): Looks {
    return this.#seldomNeeded().looks;
  }

  /** Locked and denied ports. */
  get refused(): RefusedPorts {
    return this.#seldomNeeded().refused;
  }

  #seldomNeeded() {
    return (this.#seldom ??= { looks: new Looks(), refused: new RefusedPorts() });
  }

  /** Whether {@link take} has one. */
  hasOffer(): boolean {
    return this.hasFound() || this.#walk.peek() !== undefined || (this.#freed?.size ?? 0) > 0;
  }

  /** Whether that is one which the kernel says nobody has. */
  hasFound(): boolean {
    return (this.#found?.length ?? 0) > 0;
  }

  /** A port that the kernel says nobody has, else one that was never offered, or one that was released; undefined when there is none. */
  take(): number | undefined {
    return this.#found?.pop() ?? this.#walk.next() ?? this.#freed?.take();
  }

  /** At most so many of those that {@link take} would give, of which it is not known who has them. */
  takeUnknown(most: number): Uint16Array {
    const ports: number[] = [];
    while (ports.length < most) {
      const port = this.#walk.next() ?? this.#freed?.take();
      if (port === undefined) break;
      ports.push(port);
    }
    return Uint16Array.from(ports);
  }

  /** How many are unknown, at most. */
  get unknownCount(): number {
    return this.#walk.left + (this.#freed?.size ?? 0);
  }

  /** The port is offered again, after those that were never offered. */
  release(port: number): void {
    (this.#freed ??= new FreedPorts()).release(port);
    this.#seldom?.looks.wakeOne();
  }

  /** A socket of ours has a port: until it is closed, what is known here is not forgotten. */
  lease(): void {
    this.#leases++;
  }

  /** The socket is closed. */
  giveBack(port: number): void {
    this.#leases--;
    this.release(port);
  }

  /** Whether some socket of ours has a port. */
  get isLeased(): boolean {
    return this.#leases > 0;
  }

  /** The kernel says that nobody has it. */
  markFound(port: number): void {
    this.markFree(port);
    (this.#found ??= []).push(port);
  }

  /** A connected socket of somebody else has the 4-tuple. */
  markTaken(port: number): void {
    this.#seldom?.refused.unlock(port);
    (this.#taken ??= new PortSet()).add(port);
  }

  /** The port that was taken or locked is not any more. */
  markFree(port: number): void {
    this.#taken?.delete(port);
    this.#seldom?.refused.unlock(port);
  }

  /** The kernel says that nobody has it any more. It is offered again, once. */
  markUntaken(port: number): void {
    if (this.#taken?.has(port) === true) this.markFound(port);
  }

  /** What was found taken: to be asked for again before the range is called exhausted. */
  taken(): Uint16Array {
    return this.#taken?.values() ?? new Uint16Array();
  }

  /** How many they are. */
  get takenCount(): number {
    return this.#taken?.size ?? 0;
  }

  /** A mark in time, for {@link resolve}. */
  get released(): number {
    return this.#freed?.released ?? 0;
  }

  /**
   * The kernel has been asked for all ports at once, part by part: `parts` have those that somebody has, we among them. Whatever was given
   * back since `released` was that number may be listed and free.
   */
  resolve(parts: readonly PortBits[], released: number): void {
    const [listed = noPorts(), ...more] = parts;
    for (const part of more) for (let at = 0; at < part.length; at++) (listed[at] as number) |= part[at] as number;
    const taken = (this.#taken ??= new PortSet());
    const isFree = (port: number): boolean => {
      if (hasBit(listed, port)) taken.add(port);
      return !hasBit(listed, port);
    };
    const free = taken.keep(this.#walk.finish(), listed);
    // In this destination's own order: processes that look at the same time do not go for the same ports.
    const inOrder = free.some((word) => word !== 0) ? this.#walk.inOrder(free) : [];
    this.#found = [...(this.#found ?? []).filter(isFree), ...inOrder];
    this.#freed?.filter(released, isFree);
  }

  /** The range in two. */
  halves(): PortRange[] {
    return this.#walk.halves();
  }

  /** Whether none was usable because all were denied. */
  areAllDenied(): boolean {
    const denied = this.#seldom?.refused.deniedCount ?? 0;
    return denied > 0 && denied === this.#walk.countUsable();
  }

  /** The process may bind them by now: all are offered again. */
  releaseDenied(): void {
    for (const port of this.#seldom?.refused.takeAllDenied() ?? []) this.release(port);
  }
}
