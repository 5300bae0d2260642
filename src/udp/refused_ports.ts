// Ports that could not be had although no connected socket has the 4-tuple. Plain data.
import { LockHolder } from './lock_holder';

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

export class RefusedPorts {
  readonly #locked = new Map<number, Locked>();
  readonly #denied = new Set<number>();

  /** Somebody does not share the port, or has it locked just now. `now` in ms. */
  markLocked(port: number, now: number): void {
    const before = this.#locked.get(port);
    if (before !== undefined) before.times++;
    else this.#locked.set(port, { times: 1, since: now, holder: new LockHolder() });
  }

  unlock(port: number): void {
    this.#locked.delete(port);
  }

  /** What was found locked: to be tried again before the range is called exhausted. */
  locked(): number[] {
    return [...this.#locked.keys()];
  }

  /** The holder of a locked port is this socket, undefined where it is none that is bound and not connected. Says whether to wait for it. */
  mayLetGo(port: number, cookie: bigint | undefined, now: number): boolean {
    return this.#locked.get(port)?.holder.mayLetGo(cookie, now) ?? false;
  }

  /** Whether some port may be locked only for a moment. */
  mayUnlock(now: number): boolean {
    for (const { times, since } of this.#locked.values()) {
      if (times < LOCKED_TIMES || now - since < LOCKED_MS) return true;
    }
    return false;
  }

  /** The process may not bind this port. */
  markDenied(port: number): void {
    this.#denied.add(port);
  }

  get deniedCount(): number {
    return this.#denied.size;
  }

  /** One of the ports that were denied, to be tried again; undefined: there is none. */
  takeDenied(): number | undefined {
    for (const port of this.#denied) {
      this.#denied.delete(port);
      return port;
    }
    return undefined;
  }

  /** All that were denied; none is any more. */
  takeAllDenied(): number[] {
    const denied = [...this.#denied];
    this.#denied.clear();
    return denied;
  }
}
