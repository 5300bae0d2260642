// What a client has to tell: counts, what went wrong, and what became of its flows.
import { now } from './clock.mjs';

const EXHAUSTED = new Set(['ports-exhausted', 'pool-exhausted']);
/** Of core, which says no more. */
const EXHAUSTED_CODES = new Set(['EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN']);
/** What a connection may come to without a fault; ETIMEDOUT is that of an attempt of Happy Eyeballs. */
const USUAL = new Set([...EXHAUSTED_CODES, 'ABORT_ERR', 'ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT']);

export class Ledger {
  #events = [];
  #counts = {};
  #wrong = [];
  /** plain: core's own connections; faults: the addon's calls fail now and then. */
  constructor({ plain, faults }) {
    this.plain = plain;
    this.faults = faults;
  }

  count(what, by = 1) {
    this.#counts[what] = (this.#counts[what] ?? 0) + by;
  }

  flow(kind, ...rest) {
    this.#events.push([now(), kind, ...rest]);
  }

  wrong(what) {
    this.count('wrong');
    // One of a kind tells as much as a thousand.
    if (this.#wrong.length < 20) this.#wrong.push(what);
  }

  /** How an attempt has failed: as it may, or not. */
  failed(protocol, error) {
    const parts = error.errors?.length > 0 ? error.errors : [error];
    if (this.#isExhaustion(error) || parts.every((part) => this.#isExhaustion(part))) {
      this.count(`${protocol} exhausted`);
      return;
    }
    this.count(`${protocol} failed: ${[error.code, error.reason].filter(Boolean).join(' ')}`);
    const odd = parts.find((part) => !this.#mayBe(part));
    if (odd !== undefined) this.wrong(`${protocol}: ${odd.stack} ${JSON.stringify(odd)}`);
  }

  #isExhaustion({ code, reason }) {
    return this.plain ? EXHAUSTED_CODES.has(code) : EXHAUSTED.has(reason);
  }

  #mayBe({ code, reason, syscall }) {
    if (USUAL.has(code)) return this.plain || !EXHAUSTED_CODES.has(code) || reason !== undefined || this.faults;
    if (!this.faults) return false;
    return code === 'ERR_CONNECTX_UNSUPPORTED'
      ? reason !== undefined
      : /^E[A-Z0-9]+$/.test(code ?? '') && Boolean(syscall);
  }

  /** What there is to tell since the last time. */
  take() {
    const [events, counts, wrong] = [this.#events, this.#counts, this.#wrong];
    this.#events = [];
    this.#counts = {};
    this.#wrong = [];
    return { upTo: now(), events, counts, wrong };
  }
}
