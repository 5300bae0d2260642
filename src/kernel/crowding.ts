// Does connect(2) find a port at once, or does it search? Plain data in, plain data out.
//
// The kernel looks through every other port first, and through the rest only when these are all taken (__inet_hash_connect):
// above half of the ports in use, towards any one destination, each connect(2) searches half the range. IP_LOCAL_PORT_RANGE turns
// that off (Linux 6.8), and costs a system call. So it is set where it helps: after some that have searched, and for a while.

/** Milliseconds: a search of some 2,000 ports. A connect(2) to loopback, which does the whole handshake, takes a fifth of it. */
const SLOW = 0.08;

/** So many connects, then one without: as rare as to be no part of a 99.9th percentile. */
const SPELL = 2048;

/** While there is no suspicion one connect in so many is timed, on average: to read the clock costs something, too. */
const SAMPLE = 8;

/** After a spell all of so many are. */
const WARY = 64;

/** So many connects are left alone where the option did not help: on a slow machine, under a tracer. */
const PATIENCE = 256;

/** A connect that is slow weighs as much as so many that are not; three of them at a time are no accident. */
const WEIGHT = 16;
const ENOUGH = 2 * WEIGHT;
/** Any of these may be slow for another reason, too. */
const COMPARED = 3;

export class Crowding {
  #left = 0;
  #patience = 0;
  #weight = 0;
  /** The least that the slow ones took, and the first ones with the option, of which so many are still to come. */
  #slow = Infinity;
  #quick = Infinity;
  #toCompare = 0;
  /** A spell has just ended: one more slow one will do. */
  #isOver = false;
  #wary = 0;
  #unwatched = 0;
  #isTold = false;

  /** Whether the next connect is not to search by parity; counts as that connect. */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.#isOver = this.#left === 0;
    if (this.#isOver) this.#wary = WARY;
    return true;
  }

  /** Whether this connect is worth timing; `isTold`: not to search by parity. If so, `took` is to be called after it. */
  watches(isTold: boolean): boolean {
    this.#isTold = isTold;
    if (isTold) return this.#toCompare > 0;
    if (this.#patience > 0) {
      this.#patience--;
      return false;
    }
    if (this.#weight > 0) return true;
    if (this.#wary > 0) {
      this.#wary--;
      return true;
    }
    if (this.#unwatched > 0) {
      this.#unwatched--;
      return false;
    }
    // Not every eighth: a program may go round among eight destinations.
    this.#unwatched = Math.floor(Math.random() * (2 * SAMPLE - 1));
    return true;
  }

  /** How long the connect(2) that is watched took, in milliseconds. */
  took(duration: number): void {
    if (this.#isTold) this.#compare(duration);
    else if (duration > SLOW) this.#wasSlow(duration);
    else {
      this.#isOver = false;
      if (this.#weight > 0) this.#weight--;
      else this.#slow = Infinity;
    }
  }

  #wasSlow(duration: number): void {
    this.#weight += WEIGHT;
    this.#slow = Math.min(this.#slow, duration);
    if (this.#weight > ENOUGH || this.#isOver) {
      this.#left = SPELL;
      this.#toCompare = this.#isOver ? 0 : COMPARED;
      this.#quick = Infinity;
      this.#isOver = false;
      this.#weight = 0;
    }
  }

  #compare(duration: number): void {
    this.#toCompare--;
    this.#quick = Math.min(this.#quick, duration);
    if (this.#toCompare > 0) return;
    if (this.#quick * 2 > this.#slow) {
      this.#left = 0;
      this.#patience = PATIENCE;
    }
    this.#slow = Infinity;
  }
}
