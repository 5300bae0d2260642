// Who a client is (RFC 7617, Basic), which source addresses are theirs, which of them they get, and how many connections they have.
import { createHash, timingSafeEqual } from 'node:crypto';
import * as http from 'node:http';
import { breakOff } from './connections.mjs';
import { Cooldown } from './cooldown.mjs';
import { Sources } from './sources.mjs';
import { openUpstream } from './upstream.mjs';

export class Tenant {
  name;
  sources;
  /** Keeps upstream connections of plain requests for the next one: each that is used again saves a port. */
  agent;
  cooldown;
  #limit;
  #taken = 0;
  #upstreams = new Set();
  #shared;

  /** `shared`: { connections, destinations, names, timeouts, log } */
  constructor({ name, sources, connections, restOn }, shared) {
    this.name = name;
    this.sources = new Sources(name, sources, { restOn, restMs: shared.timeouts.rest, limitedLog: shared.log });
    this.cooldown = new Cooldown(shared.timeouts.cooldown);
    this.#limit = connections;
    this.#shared = shared;
    // An agent of its own for each tenant, so that nobody's request goes out from the address of somebody else.
    this.agent = new http.Agent({ keepAlive: true, timeout: shared.timeouts.keepAlive });
    this.agent.createConnection = (options) => this.connect(options);
    // Nor a request of one session by a connection of another one, which may have another source.
    const nameOf = this.agent.getName.bind(this.agent);
    this.agent.getName = (options) => `${nameOf(options)}:${options?.session ?? ''}`;
  }

  /** A connection to a destination; it counts until it is closed, also while it waits for another request. */
  connect(options) {
    const [waiting] = Object.values(this.agent.freeSockets).flat();
    if (this.#upstreams.size >= this.#limit && waiting !== undefined) breakOff(waiting);
    const socket = openUpstream(this, options, this.#shared);
    this.#upstreams.add(socket);
    this.#shared.connections.add(socket);
    socket.once('close', () => {
      this.#upstreams.delete(socket);
      this.sources.deleteDrained();
    });
    return socket;
  }

  /** What a destination has answered may mean that it does not want the source: says whether that rests now. */
  answered({ statusCode, headers, socket }) {
    const { localAddress, remoteAddress } = socket;
    if (!this.sources.answered(statusCode, headers['retry-after'], localAddress, remoteAddress)) return false;
    this.closeIdle((kept) => kept.localAddress === localAddress && kept.remoteAddress === remoteAddress);
    return true;
  }

  /** From now on these are the tenant's: connections from others go on, and nothing new begins there. */
  setSources(sources) {
    const isDraining = this.sources.set(sources);
    this.closeIdle(({ localAddress }) => isDraining(localAddress));
    this.sources.deleteDrained();
  }

  /** Ends the connections that wait for another request. */
  closeIdle(isOne = () => true) {
    for (const socket of Object.values(this.agent.freeSockets).flat()) if (isOne(socket)) breakOff(socket);
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

  /** The tenant that the request's Proxy-Authorization stands for, and the session that it names; undefined for any other. */
  authenticate({ headers }) {
    const [, encoded] = /^basic +([\w+/=-]+) *$/i.exec(headers['proxy-authorization'] ?? '') ?? [];
    if (encoded === undefined) return undefined;
    const [, user, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
    if (password === undefined) return undefined;
    // `alice+17` is session 17 of alice.
    const [, name, session] = /^([^+]*)(?:\+(.*))?$/s.exec(user);
    const { tenant, digest } = this.#byName.get(name) ?? NOBODY;
    // The time that it takes tells nothing of the password, nor of its length.
    if (!timingSafeEqual(digest, digestOf(password)) || tenant === undefined) return undefined;
    return { tenant, session };
  }

  /** New sources for the tenants that there are. */
  setSources(tenants) {
    for (const { name, sources } of tenants) this.#byName.get(name)?.tenant.setSources(sources);
  }

  closeIdle() {
    for (const { tenant } of this.#byName.values()) tenant.closeIdle();
  }
}

function digestOf(password) {
  return createHash('sha256').update(password).digest();
}
