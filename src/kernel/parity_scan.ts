// Does connect(2) find a port at once, or does it search? Plain data in, plain data out.
//
// The kernel tries the ports of the parity of the range's low end first, and the others only when these are all taken
// (__inet_hash_connect): above half of the ports in use, towards any one destination, each connect(2) searches half the range.
// IP_LOCAL_PORT_RANGE turns that off (Linux 6.8), and costs a system call. So it is set where it helps: for a while after a port of the
// other parity was seen.

/** So many connects with the option, then one without, which tells whether it is still needed. */
const SPELL = 2048;

/** One connect in so many is asked for its port, on average. */
const SAMPLE = 16;

/** After a spell all of so many are: the next one may lead to a destination that has ports enough. */
const WARY = 64;

export class ParityScan {
  /** So many connects are still to have the option. */
  #left = 0;
  /** So many more are asked without exception. */
  #wary = 0;
  /** So many are not asked. */
  #unasked = 0;

  /** Whether the next connect is not to search by parity; counts as that connect. */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    if (this.#left === 0) this.#wary = WARY;
    return true;
  }

  /** Whether the port of this connect, which may search by parity, is worth a question. If so, `saw` is to be called after it. */
  wantsPort(): boolean {
    if (this.#wary > 0) {
      this.#wary--;
      return true;
    }
    if (this.#unasked > 0) {
      this.#unasked--;
      return false;
    }
    // Not every sixteenth: a program may go round among sixteen destinations.
    this.#unasked = Math.floor(Math.random() * (2 * SAMPLE - 1));
    return true;
  }

  /** The port that was assigned, and the low end of the range it is from. */
  saw(port: number, low: number): void {
    if ((port - low) % 2 === 0) return;
    this.#left = SPELL;
    this.#wary = 0;
  }
}
