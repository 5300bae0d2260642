// CIDR blocks as values: which addresses are in it, and which one is the n-th? Nothing is ever expanded.
import { isIP } from 'node:net';
import { canonical6, canonicalAddress, type Family, groupsOf, type ParsedAddress, parseAddress } from './address';
import { invalidAddress, invalidValue } from '../errors/argument_errors';

/** One address, or all the addresses that share a prefix. */
export class Block {
  readonly family: Family;
  /** The one spelling of it: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/64`. */
  readonly text: string;
  /** How many addresses it has; inexact above 2^53. */
  readonly size: number;
  /** The one address, where there is only one. */
  readonly only: ParsedAddress | undefined;
  readonly #first: bigint;
  readonly #bits: bigint;

  private constructor(text: string, parsed: ParsedAddress, first: bigint, bits: number) {
    this.text = text;
    this.family = parsed.family;
    this.size = 2 ** bits;
    this.only = bits === 0 ? parsed : undefined;
    this.#first = first;
    this.#bits = BigInt(bits);
  }

  /**
   * @throws ERR_INVALID_IP_ADDRESS, and ERR_INVALID_ARG_VALUE for a prefix length that is none, for bits set behind the
   *   prefix, and for addresses that cannot be a source
   */
  static parse(text: string): Block {
    const slash = text.indexOf('/');
    const parsed = parseAddress(slash < 0 ? text : text.slice(0, slash));
    if (parsed === undefined) throw invalidAddress(text);
    if (['unspecified', 'multicast', 'broadcast'].includes(parsed.scope)) {
      throw invalidValue('source', text, `must not be ${articleOf(parsed.scope)} ${parsed.scope} address`);
    }
    const width = parsed.family === 4 ? 32 : 128;
    const first = toNumber(parsed.ip);
    if (slash < 0) return new Block(canonicalAddress(text), parsed, first, 0);
    const length = text.slice(slash + 1);
    if (!/^\d{1,3}$/.test(length) || Number(length) > width || parsed.zone !== undefined) {
      throw invalidValue('source', text, `must have a prefix length from 0 to ${width}, and no zone`);
    }
    const bits = width - Number(length);
    if (first % (1n << BigInt(bits)) !== 0n) {
      throw invalidValue('source', text, 'must not have bits set behind its prefix length');
    }
    const ip = canonicalAddress(parsed.ip);
    return new Block(bits === 0 ? ip : `${ip}/${Number(length)}`, parsed, first, bits);
  }

  /** The address at `offset`, with its zone if it has one, counted from the first one and around the end. */
  at(offset: bigint): string {
    if (this.only !== undefined) return this.text;
    return toText(this.family, this.#first + BigInt.asUintN(Number(this.#bits), offset));
  }

  /** A random offset; `random` is as `Math.random`. */
  anywhere(random: () => number): bigint {
    let offset = 0n;
    for (let bits = 0n; bits < this.#bits; bits += 32n)
      offset = (offset << 32n) | BigInt(Math.floor(random() * 2 ** 32));
    return BigInt.asUintN(Number(this.#bits), offset);
  }

  /** Where this numeric address is in the block; undefined: nowhere. */
  offsetOf(address: string): bigint | undefined {
    const parsed = parseAddress(address);
    if (parsed?.family !== this.family) return undefined;
    const offset = toNumber(parsed.ip) - this.#first;
    return offset >= 0n && offset >> this.#bits === 0n ? offset : undefined;
  }
}

/**
 * The fewest blocks that have just the addresses from the one to the other, both inclusive.
 *
 * @throws ERR_INVALID_ARG_VALUE where the two are not addresses of one family, the first one first
 */
export function blocksBetween(first: Block, last: Block): string[] {
  const [from, to] = [first.only, last.only];
  if (from === undefined || to === undefined || from.family !== to.family || from.zone !== undefined) {
    throw invalidValue('source', `${first.text}-${last.text}`, 'must be a range of addresses of one family');
  }
  const end = toNumber(to.ip);
  const width = from.family === 4 ? 32n : 128n;
  const blocks: string[] = [];
  let next = toNumber(from.ip);
  if (next > end) throw invalidValue('source', `${first.text}-${last.text}`, 'must have the lower address first');
  while (next <= end) {
    let bits = 0n;
    while (bits < width && next % (2n << bits) === 0n && next + (2n << bits) - 1n <= end) bits++;
    blocks.push(`${toText(from.family, next)}/${width - bits}`);
    next += 1n << bits;
  }
  return blocks;
}

function articleOf(word: string): string {
  return /^[aeiou]/.test(word) ? 'an' : 'a';
}

function toNumber(ip: string): bigint {
  if (isIP(ip) === 4) return ip.split('.').reduce((number, part) => (number << 8n) | BigInt(part), 0n);
  return groupsOf(ip).reduce((number, group) => (number << 16n) | BigInt(group), 0n);
}

function toText(family: Family, number: bigint): string {
  if (family === 4) {
    const value = Number(number);
    return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
  }
  const digits = number.toString(16).padStart(32, '0');
  const groups = digits.match(/.{4}/g) ?? [];
  return canonical6(groups.join(':'));
}
