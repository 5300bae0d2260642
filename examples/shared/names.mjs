// Names, looked up without threads. dns.lookup() holds one of libuv's four threads until getaddrinfo(3) returns, and cannot be
// ended: a few names whose servers do not answer stop all lookups of the process, and its end. The resolver of node:dns (c-ares)
// waits on sockets of the event loop instead, each query has a deadline, and all can be cancelled. It asks DNS only, and does not
// read /etc/hosts: where clients choose the name, the names of this machine are none of theirs.
import { Resolver } from 'node:dns/promises';

export class Names {
  #resolver;

  /** `servers`: none for those of /etc/resolv.conf. `timeout`: ms for one name. */
  constructor(servers, timeout) {
    // The second try waits twice as long as the first one.
    this.#resolver = new Resolver({ timeout: Math.ceil(timeout / 3), tries: 2 });
    if (servers.length > 0) this.#resolver.setServers(servers);
  }

  /** As dns.lookup, for connect() and connectUdp(). */
  lookup = (host, { family, all }, callback) => {
    this.#resolve(host, family).then(
      (found) => (all ? callback(null, found) : callback(null, found[0].address, found[0].family)),
      callback,
    );
  };

  async #resolve(host, family) {
    const families = family === 4 || family === 6 ? [family] : [6, 4];
    const answers = await Promise.allSettled(families.map((each) => this.#ask(host, each)));
    const found = answers.flatMap(({ value = [] }) => value);
    if (found.length > 0) return found;
    // A name without addresses of the one family may have failed for the other, which says more.
    const errors = answers.map(({ reason }) => reason);
    throw errors.find(({ code }) => code !== 'ENODATA') ?? errors[0];
  }

  async #ask(host, family) {
    const addresses = await (family === 6 ? this.#resolver.resolve6(host) : this.#resolver.resolve4(host));
    return addresses.map((address) => ({ address, family }));
  }

  /** Every lookup under way fails at once. */
  cancel() {
    this.#resolver.cancel();
  }
}
