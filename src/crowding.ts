// Does connect(2) find a port at once, or does it search? Plain data in, plain data out.
//
// The kernel looks through every other port first, and through the rest only when these are all taken (__inet_hash_connect):
// above half of the ports in use, towards any one destination, each connect(2) searches half the range. IP_LOCAL_PORT_RANGE turns
// that off (Linux 6.8), and costs a system call. So it is set where it helps: after a connect(2) that has searched, and for a while.

/** Milliseconds: a search of some 2,000 ports. A connect(2) to loopback, which does the whole handshake, takes a fifth of it. */
const SLOW = 0.08;

/** So many connects, then one without: as rare as to be no part of a 99.9th percentile. */
const SPELL = 2048;

/** So many slow connects are put up with where the option did not help: on a slow machine, under a tracer. */
const PATIENCE = 64;

export class Crowding {
  #left = 0;
  #patience = 0;
  /** What a connect took that was slow, until there is one with the option to compare it with. */
  #slow = 0;

  /** Whether the next connect is not to search by parity; counts as that connect. */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    return true;
  }

  /** How long a connect(2) took, in milliseconds, and whether it was told not to search by parity. */
  took(duration: number, told: boolean): void {
    if (told) this.#compare(duration);
    else if (this.#patience > 0) this.#patience--;
    else if (duration > SLOW) {
      this.#left = SPELL;
      this.#slow = duration;
    }
  }

  #compare(duration: number): void {
    if (duration * 2 > this.#slow && this.#slow > 0) {
      this.#left = 0;
      this.#patience = PATIENCE;
    }
    this.#slow = 0;
  }
}
