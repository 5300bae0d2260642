// Who a client is (RFC 7617, Basic), which source addresses are theirs, and how many connections they have.
import { createHash, timingSafeEqual } from 'node:crypto';
import * as http from 'node:http';
import { SourcePool } from 'connectx';
import { breakOff } from './connections.mjs';
import { Cooldown } from './cooldown.mjs';
import { openUpstream } from './upstream.mjs';

export class Tenant {
  name;
  /** The value of `localAddress` for all of this tenant's connections. */
  source;
  /** Keeps upstream connections of plain requests for the next one: each that is used again saves a port. */
  agent;
  cooldown;
  #limit;
  #taken = 0;
  #upstreams = new Set();
  #shared;

  /** `shared`: { connections, destinations, names, timeouts } */
  constructor({ name, sources, connections }, shared) {
    this.name = name;
    this.source = new SourcePool(sources);
    this.cooldown = new Cooldown(shared.timeouts.cooldown);
    this.#limit = connections;
    this.#shared = shared;
    // An agent of its own for each tenant, so that nobody's request goes out from the address of somebody else.
    this.agent = new http.Agent({ keepAlive: true, timeout: shared.timeouts.keepAlive });
    this.agent.createConnection = (options) => this.connect(options);
  }

  /** A connection to a destination; it counts until it is closed, also while it waits for another request. */
  connect(options) {
    const [waiting] = Object.values(this.agent.freeSockets).flat();
    if (this.#upstreams.size >= this.#limit && waiting !== undefined) breakOff(waiting);
    const socket = openUpstream(this, options, this.#shared);
    this.#upstreams.add(socket);
    this.#shared.connections.add(socket);
    socket.once('close', () => this.#upstreams.delete(socket));
    return socket;
  }

  /** Ends the connections that wait for another request. */
  closeIdle() {
    for (const socket of Object.values(this.agent.freeSockets).flat()) breakOff(socket);
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

/** Compared with when there is no such tenant, so that the time tells nothing of the names, either. */
const NOBODY = { digest: digestOf('') };

export class Tenants {
  #byName = new Map();

  constructor(tenants, shared) {
    for (const settings of tenants) {
      this.#byName.set(settings.name, { tenant: new Tenant(settings, shared), digest: digestOf(settings.password) });
    }
  }

  /** The tenant that the request's Proxy-Authorization stands for; undefined for any other. */
  authenticate({ headers }) {
    const [, encoded] = /^basic +([\w+/=-]+) *$/i.exec(headers['proxy-authorization'] ?? '') ?? [];
    if (encoded === undefined) return undefined;
    const [, name, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
    if (password === undefined) return undefined;
    const { tenant, digest } = this.#byName.get(name) ?? NOBODY;
    // The time that it takes tells nothing of the password, nor of its length.
    return timingSafeEqual(digest, digestOf(password)) ? tenant : undefined;
  }

  closeIdle() {
    for (const { tenant } of this.#byName.values()) tenant.closeIdle();
  }
}

function digestOf(password) {
  return createHash('sha256').update(password).digest();
}
