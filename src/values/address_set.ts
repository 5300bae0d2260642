// Addresses and CIDR blocks as one set, as a user writes them.
import { BlockList, isIP } from 'node:net';
import { invalidType, invalidValue } from '../errors/argument_errors';
import { parseAddress } from './address';

export class AddressSet {
  // One for each family: a list that has ::/3 would match every IPv4 address, as ::ffff:0:0/96.
  readonly #lists = { 4: new BlockList(), 6: new BlockList() } as const;

  /** Adds an IP address, or a block. @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE */
  add(name: string, text: unknown): void {
    if (typeof text !== 'string') throw invalidType(name, 'of type string', text);
    const [address = '', prefix, ...rest] = text.trim().split('/');
    const family = isIP(address) === 6 ? 6 : 4;
    const length = prefix === undefined ? undefined : Number(prefix);
    const isLength = length === undefined || (/^\d+$/.test(prefix ?? '') && length <= (family === 4 ? 32 : 128));
    if (isIP(address) === 0 || address.includes('%') || !isLength || rest.length > 0) {
      throw invalidValue(name, text, 'must be an IP address or a block like 192.0.2.0/24');
    }
    const parsed = parseAddress(address);
    if (length !== undefined) this.#lists[family].addSubnet(address, length, `ipv${family}`);
    else if (parsed !== undefined) this.#lists[parsed.family].addAddress(parsed.ip, `ipv${parsed.family}`);
  }

  /** Of an IPv4-mapped address its IPv4 address counts. */
  has(address: string): boolean {
    const parsed = parseAddress(address);
    return parsed !== undefined && this.#lists[parsed.family].check(parsed.ip, `ipv${parsed.family}`);
  }
}
