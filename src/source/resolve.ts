// The source of one destination: an address of its family, as it is bound.
import { type Destination, type Family, isMapped, type ParsedAddress, parseAddress, toMapped } from '../values/address';
import { invalidType, invalidValue } from '../errors/argument_errors';
import { checkedAddress, type Source } from './options';
import { isForeignPool, isPool } from './pooled';
import { SourceList } from './source_list';

/** What a destination gets: an address as the socket's family writes it, with its zone; null: the kernel chooses. */
export type Resolved = string | null;

/** The families that this source can serve; undefined: any, or only the source function knows. */
export function familyOf(source: Source): Family | undefined {
  const { address } = source;
  if (typeof address !== 'object') return undefined;
  const has4 = isPool(address) ? address.serves(4) : address.ipv4 !== undefined;
  const has6 = isPool(address) ? address.serves(6) : address.ipv6 !== undefined;
  // An empty pool has neither: that is said of each destination.
  if (has4 === has6) return undefined;
  return has4 ? 4 : 6;
}

/** The family of the source that a destination needs: an IPv4-mapped one is reached by IPv4. */
export function neededFamily({ address, family }: { readonly address: string; readonly family: number }): number {
  return family === 6 && isMapped(address) ? 4 : family;
}

/**
 * The source with an address, or several, in the place of a function that gives them for the destination; undefined when it gives none
 * of its family. Any other source as it is.
 *
 * @throws whatever a source function throws, and one of Node's argument errors for an answer of it that is no source
 */
export function askFunction(source: Source, destination: Destination): Source | undefined {
  const { address: choose, extras } = source;
  if (typeof choose !== 'function') return source;
  const hasInterface = extras?.interface !== undefined;
  const name = 'localAddress()';
  const answer: unknown = choose(destination);
  if (answer === undefined) return undefined;
  if (typeof answer === 'string') {
    const parsed = checkedAddress(name, answer, hasInterface);
    if (parsed.family !== neededFamily(destination)) return undefined;
    return { ...source, address: parsed.family === 4 ? { ipv4: parsed } : { ipv6: parsed } };
  }
  if (Array.isArray(answer)) {
    const list = new SourceList(answer.map((one: unknown) => checkedText(name, one, hasInterface)));
    return list.serves(neededFamily(destination) as Family) ? { ...source, address: list } : undefined;
  }
  if (isPool(answer)) return { ...source, address: answer };
  if (typeof answer === 'object' && answer !== null && isForeignPool(answer)) {
    throw invalidValue(name, answer, 'is a SourcePool of another version of connectx');
  }
  throw invalidType(name, 'of type string or undefined, or an instance of Array or SourcePool', answer);
}

function checkedText(name: string, value: unknown, hasInterface: boolean): ParsedAddress {
  if (typeof value !== 'string') throw invalidType(`${name}[]`, 'of type string', value);
  return checkedAddress(name, value, hasInterface);
}

/**
 * The source address for this destination; undefined when there is none of its family. (What a pool gives, see connect/candidates.ts.)
 *
 * @throws what {@link askFunction} throws
 */
export function resolveSource(source: Source, destination: Destination): Resolved | undefined {
  const asked = typeof source.address === 'function' ? askFunction(source, destination) : source;
  const address = asked?.address;
  if (asked !== undefined && address === undefined) return null;
  if (address === undefined || isPool(address) || typeof address === 'function') return undefined;
  const chosen = neededFamily(destination) === 4 ? address.ipv4 : address.ipv6;
  return chosen && resolveAddress(chosen, destination);
}

/** A source address of the family that the destination needs, as it is bound. */
export function resolveAddress(chosen: ParsedAddress, destination: Destination): Resolved {
  if (chosen.scope === 'unspecified') return null;
  if (chosen.family === 6) return withZone(chosen, destination.address);
  return destination.family === 6 ? toMapped(chosen.ip) : chosen.ip;
}

// A link-local source needs to know its link; a destination with a zone names it just as well.
function withZone(source: ParsedAddress, destination: string): string {
  const zone = source.zone ?? (source.scope === 'link-local' ? parseAddress(destination)?.zone : undefined);
  return zone === undefined ? source.ip : `${source.ip}%${zone}`;
}

// fe80::/10
const LINK_LOCAL_6 = /^fe[89ab][0-9a-f]:/i;
const LETTER_F = 0x66;
const LOWER_CASE = 0x20;

/** Whether binding this source to this destination would fail for want of a zone, with a bare EINVAL. */
export function lacksZone(source: Source, resolved: string): boolean {
  if (source.extras?.interface !== undefined || resolved.includes('%')) return false;
  // Most addresses begin with something else, and to see that costs less than the expression.
  return (resolved.charCodeAt(0) | LOWER_CASE) === LETTER_F && LINK_LOCAL_6.test(resolved);
}
