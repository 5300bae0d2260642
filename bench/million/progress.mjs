// What is seen while it runs: on a terminal one line that is written over and over, elsewhere a plain line now and then.
import { number } from '../lib/report.mjs';

const PLAIN_EVERY_MS = 5000;

export class Progress {
  #stream;
  #shown = false;
  #lastPlain = 0;

  constructor(stream = process.stdout) {
    this.#stream = stream;
  }

  /** How far it is; may be called at any rate. */
  show(text) {
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\x1b[K${text.slice(0, this.#stream.columns - 1)}`);
      this.#shown = true;
      return;
    }
    const now = performance.now();
    if (now - this.#lastPlain < PLAIN_EVERY_MS) return;
    this.#lastPlain = now;
    this.#stream.write(`${text}\n`);
  }

  /** A line that stays. */
  log(text) {
    if (this.#shown) this.#stream.write('\r\x1b[K');
    this.#shown = false;
    this.#stream.write(`${text}\n`);
  }
}

const gigabytes = (bytes) => `${number(bytes / 2 ** 30, 2)} GiB`;

export function progressLine({ protocol, phase, seconds, done, wanted, rate, available, late }) {
  return [
    `${protocol} ${phase.padEnd(5)}`,
    `${number(seconds, 0).padStart(4)} s`,
    `${number(done, 0).padStart(9)} of ${number(wanted, 0)}`,
    `${number(rate, 0).padStart(7)}/s`,
    `${gigabytes(available)} available`,
    `longest loop ${number(late, 0)} ms`,
  ].join('  ');
}
