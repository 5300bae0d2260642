// dns.lookup, without loading node:dns into programs that connect to addresses only: as core does it, when a name has to be resolved.
import type { lookup } from 'node:dns';

let dns: { lookup: typeof lookup } | undefined;

/** The function as it is at the moment: programs replace it. */
export function dnsLookup(): typeof lookup {
  dns ??= require('node:dns') as { lookup: typeof lookup };
  return dns.lookup;
}
