// Where a client may not be taken to. Names are judged by the addresses that they have at the moment of the connect, so that
// a name whose address changes in between (DNS rebinding) is no way around it.
import { lookup as dnsLookup } from 'node:dns';
import { isIP } from 'node:net';

const isDenied = (deny, address) => deny.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

const denied = (host) =>
  Object.assign(new Error(`${host} is not to be reached through this proxy`), { code: 'EDENIED' });

/** Whether the host is an address that is denied. A name is not: see below. */
export const isDeniedHost = (deny, host) => isIP(host) !== 0 && isDenied(deny, host);

/** A `lookup` for connect() that leaves out the addresses that are denied. */
export function lookupWithout(deny) {
  return (host, options, callback) => {
    dnsLookup(host, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error);
      const allowed = addresses.filter(({ address }) => !isDenied(deny, address));
      if (allowed.length === 0) return callback(denied(host));
      if (options.all) return callback(null, allowed);
      return callback(null, allowed[0].address, allowed[0].family);
    });
  };
}
