// Where a client may not be taken to. Names are judged by the addresses that they have at the moment of the connect, so that
// a name whose address changes in between (DNS rebinding) is no way around it.
import { Blocks, isOwnAddress } from '../shared/addresses.mjs';

/**
 * What is not reached over the internet (the registries of special-purpose addresses, RFC 6890): this machine, its link, private
 * networks, and with them the metadata services of clouds (169.254.169.254, 100.100.100.200, fd00:ec2::254). Of IPv6 all but
 * 2000::/3 (RFC 4291), which keeps out addresses with an IPv4 address in them (::ffff:0:0/96, 64:ff9b::/96), too.
 */
const SPECIAL = new Blocks([
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  // Multicast, reserved, broadcast; and the virtual machine's host in Azure.
  ...['224.0.0.0/3', '168.63.129.16'],
  ...['::/3', '4000::/2', '8000::/1', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
]);

export class Destinations {
  #allow;
  #deny;
  #sources;
  #blocks = new Set();

  constructor({ allow, deny, tenants }) {
    this.#allow = allow;
    this.#deny = deny;
    this.addSources(tenants);
  }

  /** Whole blocks may be routed to this machine without being on an interface. What was a source once stays out of reach. */
  addSources(tenants) {
    for (const { sources } of tenants) for (const source of sources) this.#blocks.add(source);
    this.#sources = new Blocks([...this.#blocks]);
  }

  isDenied(address) {
    if (this.#deny.has(address)) return true;
    if (this.#allow.has(address)) return false;
    return SPECIAL.has(address) || this.#sources.has(address) || isOwnAddress(address);
  }
}
