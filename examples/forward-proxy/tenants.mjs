// Who a client is (RFC 7617, Basic), which source addresses are theirs, and how many connections they have.
import { createHash, timingSafeEqual } from 'node:crypto';
import * as http from 'node:http';
import { SourcePool } from 'connectx';
import { openUpstream } from './upstream.mjs';

export class Tenant {
  name;
  /** The value of `localAddress` for all of this tenant's connections. */
  source;
  /** Keeps upstream connections of plain requests for the next one: each that is used again saves a port. */
  agent;
  #limit;
  #taken = 0;

  constructor({ name, sources, connections }, config) {
    this.name = name;
    this.source = new SourcePool(sources);
    this.#limit = connections;
    // An agent of its own for each tenant, so that nobody's request goes out from the address of somebody else.
    this.agent = new http.Agent({ keepAlive: true, timeout: config.timeouts.keepAlive });
    this.agent.createConnection = (options) => openUpstream(this, options, config);
  }

  /** Takes one of the tenant's connections; undefined if there is none left. What it returns gives it back, once. */
  take() {
    if (this.#taken >= this.#limit) return undefined;
    this.#taken++;
    let isTaken = true;
    return () => {
      if (isTaken) this.#taken--;
      isTaken = false;
    };
  }
}

export class Tenants {
  #byName = new Map();

  constructor(config) {
    for (const settings of config.tenants) {
      this.#byName.set(settings.name, { tenant: new Tenant(settings, config), digest: digestOf(settings.password) });
    }
  }

  /** The tenant that the request's Proxy-Authorization stands for; undefined for any other. */
  authenticate({ headers }) {
    const [, encoded] = /^basic +([\w+/=-]+) *$/i.exec(headers['proxy-authorization'] ?? '') ?? [];
    if (encoded === undefined) return undefined;
    const [, name, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
    const entry = this.#byName.get(name);
    // The time that it takes tells nothing of the password, nor of its length.
    return entry && timingSafeEqual(entry.digest, digestOf(password)) ? entry.tenant : undefined;
  }

  /** Ends the connections that wait for another request. */
  close() {
    for (const { tenant } of this.#byName.values()) tenant.agent.destroy();
  }
}

const digestOf = (password) => createHash('sha256').update(password).digest();
