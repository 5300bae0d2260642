// What an address stands for: whom to count it for, and whether it is in a list of CIDR blocks.
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';

/** A socket on `::` shows IPv4 clients as `::ffff:192.0.2.1`. */
const unmapped = (address) => /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;

/**
 * Whom to count the address for. One IPv6 customer has a /64 at the least (RFC 6177), and an address of it for each datagram; so
 * the /64 counts as one. Link-local addresses all share one /64, and are counted by themselves.
 */
export function networkOf(address) {
  const plain = unmapped(address);
  if (isIPv4(plain) || /^fe[89ab]/i.test(plain)) return plain;
  const [left, right] = plain
    .split('%', 1)[0]
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':')));
  const groups = right === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill('0'), ...right];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/** Addresses and CIDR blocks as one list. What is neither is a TypeError. */
export class Blocks {
  // One for each family: a list that has ::/3 would match every IPv4 address, as ::ffff:0:0/96.
  #ipv4 = new BlockList();
  #ipv6 = new BlockList();

  constructor(blocks) {
    for (const block of blocks) this.#add(block);
  }

  #add(block) {
    const [address, prefix, ...rest] = block.split('/');
    const bits = isIPv6(address) ? 128 : 32;
    const length = prefix === undefined ? bits : Number(prefix);
    const isPrefix = prefix === undefined || (/^\d+$/.test(prefix) && length <= bits);
    if (isIP(address) === 0 || !isPrefix || rest.length > 0) {
      throw new TypeError(`has ${block}, which is no address or CIDR block`);
    }
    if (bits === 128) this.#ipv6.addSubnet(address, length, 'ipv6');
    else this.#ipv4.addSubnet(address, length, 'ipv4');
  }

  /** A zone (`fe80::1%eth0`) is not looked at. */
  has(address) {
    const [plain] = unmapped(address).split('%', 1);
    if (isIPv4(plain)) return this.#ipv4.check(plain);
    // The list of IPv4 knows mapped addresses in their other spellings.
    return this.#ipv6.check(plain, 'ipv6') || this.#ipv4.check(plain, 'ipv6');
  }
}

let own;

/** Whether an interface of this machine has the address; they are read again after a second. */
export function isOwnAddress(address) {
  if (own === undefined) {
    const interfaces = Object.values(networkInterfaces()).flat();
    own = new Blocks(['127.0.0.0/8', ...interfaces.map((each) => each.address.split('%', 1)[0])]);
    setTimeout(() => (own = undefined), 1000).unref();
  }
  return own.has(address);
}
