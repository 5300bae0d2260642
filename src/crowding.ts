// Does connect(2) find a port at once, or does it search? Plain data in, plain data out.
//
// The kernel looks through every other port first, and through the rest only when these are all taken (__inet_hash_connect):
// above half of the ports in use, towards any one destination, each connect(2) searches half the range. IP_LOCAL_PORT_RANGE turns
// that off (Linux 6.8), and costs a system call. So it is set where it helps: after some that have searched, and for a while.

/** Milliseconds: a search of some 2,000 ports. A connect(2) to loopback, which does the whole handshake, takes a fifth of it. */
const SLOW = 0.08;

/** So many connects, then one without: as rare as to be no part of a 99.9th percentile. */
const SPELL = 2048;

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

  /** Whether the next connect is not to search by parity; counts as that connect. */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.#isOver = this.#left === 0;
    return true;
  }

  /** How long a connect(2) took, in milliseconds, and whether it was told not to search by parity. */
  took(duration: number, told: boolean): void {
    if (told) this.#compare(duration);
    else if (this.#patience > 0) this.#patience--;
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
    if (this.#toCompare === 0) return;
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
