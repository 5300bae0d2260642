// Is every flow alive? Each sends a token that only it has, and must get it back.

const LENGTH = 16;

const SWEEP_MS = 100;

export class Echoes {
  answered = 0;
  wrong = 0;
  /** Answers beyond the first: what a token that was sent again may bring. */
  repeated = 0;
  retried = 0;
  /** Flows that were given up. */
  missing = [];
  #next = 0;
  #waiting = new Map();
  #received;
  #flows;
  #technique;
  #nonce;
  #client;
  #window;
  #done;

  /**
   * `nonce` (8 bytes) is that of the run, `client` the number of the process, and no more than `window` of its tokens are on their way at
   * any time.
   */
  constructor({ flows, technique, nonce, client, window }) {
    this.#flows = flows;
    this.#technique = technique;
    this.#nonce = nonce;
    this.#client = client;
    this.#window = window;
    this.#received = new Uint8Array(flows.length);
  }

  /** Resolves when each flow is answered or given up. */
  async run() {
    const { retries, retryAfter } = this.#technique;
    const sweep = setInterval(() => this.#sweep(retries, retryAfter), SWEEP_MS);
    await new Promise((resolve) => {
      this.#done = resolve;
      this.#fill();
    });
    clearInterval(sweep);
    return {
      answered: this.answered,
      missing: this.missing.length,
      wrong: this.wrong,
      repeated: this.repeated,
      retried: this.retried,
    };
  }

  /** What has arrived at the flow `index`; of a stream, perhaps in parts. */
  hear(index, bytes) {
    const token = tokenOf(this.#nonce, this.#client, index);
    const stream = this.#technique.protocol === 'tcp';
    const from = stream ? this.#received[index] : 0;
    if (this.#received[index] === LENGTH) {
      if (!stream && token.equals(bytes)) this.repeated++;
      else this.wrong++;
      return;
    }
    const expected = token.subarray(from, stream ? from + bytes.length : LENGTH);
    if (!expected.equals(bytes)) {
      this.wrong++;
      return;
    }
    this.#received[index] = from + bytes.length;
    if (this.#received[index] < LENGTH) return;
    this.answered++;
    this.#waiting.delete(index);
    this.#fill();
  }

  #fill() {
    while (this.#waiting.size < this.#window && this.#next < this.#flows.length) this.#send(this.#next++, 0);
    if (this.#waiting.size === 0) this.#done();
  }

  #send(index, retry) {
    this.#waiting.set(index, { retry, at: performance.now() });
    this.#technique.send(this.#flows[index], tokenOf(this.#nonce, this.#client, index));
  }

  #sweep(retries, retryAfter) {
    const now = performance.now();
    for (const [index, { retry, at }] of this.#waiting) {
      if (now - at < retryAfter) continue;
      if (retry < retries) {
        this.retried++;
        this.#send(index, retry + 1);
      } else {
        this.missing.push(index);
        this.#waiting.delete(index);
      }
    }
    this.#fill();
  }
}

export function tokenOf(nonce, client, index) {
  const token = Buffer.alloc(LENGTH);
  nonce.copy(token);
  token.writeUInt32BE(client, 8);
  token.writeUInt32BE(index, 12);
  return token;
}
