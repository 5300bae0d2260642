// One JSON object a line on stdout, which is what log collectors take in.

/** Writes a line. */
export function log(level, event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), level, event, ...fields }));
}

/**
 * For events that come by the thousand when they come at all, as failures do: of each kind the first is written at once, and
 * those of the next `interval` milliseconds as one line, which has the last of them and how many they were (`count`).
 */
export class RateLimitedLog {
  #interval;
  /** What was held back, by kind; a kind is in it for as long as it has to be. */
  #held = new Map();

  constructor(interval) {
    this.#interval = interval;
  }

  /** `kinds` must be few: there is a timer for each. */
  write(kind, level, event, fields) {
    const held = this.#held.get(kind);
    if (held === undefined) {
      this.#write(kind, level, event, { ...fields, count: 1 });
      return;
    }
    held.count++;
    held.last = [level, event, fields];
  }

  #write(kind, level, event, fields) {
    log(level, event, fields);
    const timer = setTimeout(() => this.#expire(kind), this.#interval).unref();
    this.#held.set(kind, { count: 0, last: undefined, timer });
  }

  #expire(kind) {
    const { count, last } = this.#held.get(kind);
    this.#held.delete(kind);
    if (last === undefined) return;
    const [level, event, fields] = last;
    this.#write(kind, level, event, { ...fields, count });
  }

  /** Writes what is held back: before the process ends. */
  flush() {
    for (const { count, last, timer } of this.#held.values()) {
      clearTimeout(timer);
      if (last === undefined) continue;
      const [level, event, fields] = last;
      log(level, event, { ...fields, count });
    }
    this.#held.clear();
  }
}
