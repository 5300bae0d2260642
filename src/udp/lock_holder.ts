// Who holds a locked port: somebody who is just connecting, or somebody who does not share it? Plain data.

/**
 * Who has a port locked for this long, in ms, is not about to let go. A lock is held for some 10 microseconds, but its holder may lose its
 * processor meanwhile: for a period of a CPU quota (100 ms), or two.
 */
const OFF_CPU_MS = 250;

/** The holder of one port, as far as it is known. */
export class LockHolder {
  /** Null: nobody has asked. */
  private cookie: bigint | undefined | null = null;
  private since = 0;

  /**
   * `cookie`: of the socket that is bound to the port and not connected; undefined: there is none, but one that is connected already, and
   * elsewhere, may still have to unlock. `now` in ms.
   */
  mayLetGo(cookie: bigint | undefined, now: number): boolean {
    if (cookie !== this.cookie) {
      this.cookie = cookie;
      this.since = now;
      // The one before has connected or has gone: the port may be free.
      return true;
    }
    return now - this.since < OFF_CPU_MS;
  }
}
