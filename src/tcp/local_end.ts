// Is the local end of a connection what was asked for? Some requests connect(2) takes, and then does something else. Where that
// cannot be, the kernel is not asked.
import { type Destination, groupsOf, hexDigit } from '../values/address';
import type { Native } from '../kernel/addon';
import type { Technique } from './port_plan';
import { includesPort, type PortRange } from '../values/port_range';
import { ExpiringMap } from '../values/expiring_map';
import type { Source } from '../source/options';
import { ephemeralRange } from '../kernel/sysctl';

/** How long the kernel's word is believed, in ms, and of how many sources and ranges. */
const LIFETIME = 1000;
const MOST = 256;

/** Sources from which the kernel has connected a moment ago, as against: has taken another one instead (broadcast addresses). */
const kept = new ExpiringMap<true>(LIFETIME, MOST);
/** Of the network namespace that the thread was in a moment ago. */
const ranges = new ExpiringMap<PortRange>(LIFETIME, MOST);

/**
 * Whether the kernel has to be asked what it has connected. `now` is `performance.now()`. A source is asked about once a second, and
 * so is the ephemeral range, without which nobody can tell whether a socket may have connected to itself.
 */
export function mayDiffer(
  native: Native,
  source: Source,
  technique: Technique,
  localAddress: string | null,
  { address, port, family }: Destination,
  now: number,
): boolean {
  // A range that was asked for is ignored where it no longer lies in the ephemeral one; with extras anything may be.
  if (source.extras !== null || source.range !== undefined || source.port !== 0) return true;
  if (technique.kind !== 'assign') return true;
  if (localAddress === null) return mayBeAssigned(native, port, now);
  const maybeSame = family === 4 ? localAddress === address : mayBeSame(localAddress, address);
  return maybeSame || kept.get(localAddress, now) === undefined;
}

/** To be called when the kernel was asked, and had connected from this address. */
export function hasKept({ extras }: Source, localAddress: string | null, now: number): void {
  if (localAddress !== null && extras === null) kept.set(localAddress, true, now);
}

// A socket can connect to itself where nobody listens, when the kernel assigns it the very port that it connects to.
function mayBeAssigned(native: Native, port: number, now: number): boolean {
  let range = ranges.get('', now);
  if (range === undefined) {
    range = ephemeralRange(native);
    if (range === undefined) return true;
    ranges.set('', range, now);
  }
  return includesPort(range, port);
}

/** False only where the two are certainly not the same IPv6 address. (Of IPv4 addresses Node takes one spelling only.) */
function mayBeSame(a: string, b: string): boolean {
  if (a === b) return true;
  // Mostly that settles it, for much less.
  const [lastOfA, lastOfB] = [lastDigit(a), lastDigit(b)];
  if (lastOfA !== undefined && lastOfB !== undefined && lastOfA !== lastOfB) return false;
  return lastGroup(a) === lastGroup(b);
}

// Undefined: there is none at the end, or it may be a decimal one, or one of a zone.
function lastDigit(address: string): number | undefined {
  if (address.endsWith(':') || address.includes('.') || address.includes('%')) return undefined;
  return hexDigit(address.charCodeAt(address.length - 1));
}

// Enough: in doubt the kernel is asked.
function lastGroup(address: string): number | undefined {
  const percent = address.indexOf('%');
  return groupsOf(percent < 0 ? address : address.slice(0, percent))[7];
}
