// The source addresses of a tenant: which one a session gets, which ones a destination does not want, and which are being drained.
import { SourcePool } from 'connectx';
import { Blocks } from '../shared/addresses.mjs';
import { log } from '../shared/log.mjs';

/** What a destination may ask for in Retry-After, in seconds; a date is not understood. */
const SECONDS = /^\d{1,5}$/;

export class Sources {
  #tenant;
  #pool;
  #restOn;
  #restMs;
  #log;
  #draining = new Set();

  /** `restOn`: the statuses of an answer after which a source rests, towards the one who gave it, for `restMs`. `limitedLog`: for what clients cause. */
  constructor(tenant, sources, { restOn, restMs, limitedLog }) {
    this.#tenant = tenant;
    this.#pool = new SourcePool(sources);
    this.#restOn = new Set(restOn);
    this.#restMs = restMs;
    this.#log = limitedLog;
  }

  /** The value of `localAddress`: for one session always the same source, as long as it can be used. */
  for(session) {
    return session === undefined ? this.#pool : this.#pool.sticky(session);
  }

  /** Says whether the source rests now. */
  answered(status, retryAfter, localAddress, remoteAddress) {
    if (!this.#restOn.has(status) || localAddress === undefined || remoteAddress === undefined) return false;
    const ms = SECONDS.test(retryAfter ?? '') ? Math.min(Number(retryAfter) * 1000, this.#restMs) : this.#restMs;
    const rests = this.#pool.rest(localAddress, { ms, destination: { address: remoteAddress } });
    if (rests) {
      const line = { tenant: this.#tenant, localAddress, address: remoteAddress, status, ms };
      this.#log.write(`rest ${this.#tenant}`, 'warn', 'source-rests', line);
    }
    return rests;
  }

  /** Those that are not among `sources` take no new connections. Returns what tells whether an address is one of theirs. */
  set(sources) {
    const before = this.#pool.stats().sources.map(({ address }) => address);
    // A pool has one spelling for each address and block.
    const wanted = new Set(new SourcePool(sources).stats().sources.map(({ address }) => address));
    for (const source of wanted) {
      this.#pool.add(source);
      if (this.#draining.delete(source)) this.#pool.resume(source);
    }
    for (const source of before) {
      if (wanted.has(source) || this.#draining.has(source)) continue;
      this.#pool.pause(source);
      this.#draining.add(source);
      log('info', 'draining', { tenant: this.#tenant, source, connections: this.#inUse(source) });
    }
    const draining = new Blocks([...this.#draining]);
    return (address) => address !== undefined && draining.has(address);
  }

  /** Lets go of the sources that have no connection left. */
  deleteDrained() {
    for (const source of this.#draining) {
      if (this.#inUse(source) > 0) continue;
      this.#draining.delete(source);
      this.#pool.delete(source);
      log('info', 'drained', { tenant: this.#tenant, source });
    }
  }

  #inUse(source) {
    return this.#pool.stats().sources.find(({ address }) => address === source)?.inUse ?? 0;
  }
}
