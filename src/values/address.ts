// Numeric IP addresses as values: what kind of address is this text? No I/O, no native code.
import { isIP, SocketAddress } from 'node:net';

/** 4 or 6, as `node:net` numbers address families. */
export type Family = 4 | 6;

/** A remote end, as a source function gets it. */
export interface Destination {
  /** A numeric IP, with its zone if it has one. */
  address: string;
  /** 1 to 65535. */
  port: number;
  /** 4 or 6: the family of `address`. */
  family: Family;
}

/** A numeric address and what matters of it to a connection. */
export interface ParsedAddress {
  /** As it will be given to the kernel: without a zone, and as IPv4 where it is IPv4-mapped. */
  readonly ip: string;
  readonly family: Family;
  /** The zone of an IPv6 address, without the `%`: an interface name or index. */
  readonly zone: string | undefined;
  readonly scope: 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'broadcast' | 'other';
}

let lastText = '';
let lastParsed: ParsedAddress | undefined;

/** Undefined when the text is no numeric IP address. */
export function parseAddress(text: string): ParsedAddress | undefined {
  // Mostly it is the one source address of a program, again and again.
  if (text === lastText) return lastParsed;
  lastParsed = parse(text);
  lastText = text;
  return lastParsed;
}

function parse(text: string): ParsedAddress | undefined {
  const family = isIP(text);
  if (family === 4) return { ip: text, family, zone: undefined, scope: scopeOf4(text) };
  if (family !== 6) return undefined;
  const percent = text.indexOf('%');
  const ip = percent < 0 ? text : text.slice(0, percent);
  const zone = percent < 0 ? undefined : text.slice(percent + 1);
  const groups = groupsOf(ip);
  const mapped = mapped4(groups);
  if (mapped !== undefined) return { ip: mapped, family: 4, zone: undefined, scope: scopeOf4(mapped) };
  return { ip, family: 6, zone, scope: scopeOf6(groups) };
}

/** The one spelling of an address (RFC 5952 for IPv6, IPv4 where it is IPv4-mapped), with its zone; any other text as it is. */
export function canonicalAddress(text: string): string {
  if (!text.includes(':')) return text;
  const parsed = parseAddress(text);
  if (parsed === undefined) return text;
  if (parsed.family === 4) return parsed.ip;
  const ip = canonical6(parsed.ip);
  return parsed.zone === undefined ? ip : `${ip}%${parsed.zone}`;
}

/** The spelling of RFC 5952, which is the kernel's, and so the one in `socket.localAddress`. */
export function canonical6(ip: string): string {
  return new SocketAddress({ family: 'ipv6', address: ip }).address;
}

/** An IPv4 address as an AF_INET6 socket writes it (RFC 4291, section 2.5.5.2). */
export function toMapped(ipv4: string): string {
  return `::ffff:${ipv4}`;
}

/** Whether this IPv6 text is an IPv4-mapped address: such a destination is reached by IPv4. */
export function isMapped(text: string): boolean {
  return mayBeginWithZero(text) && /ffff/i.test(text) && text.includes(':') && parseAddress(text)?.family === 4;
}

/** False only where the first group of an IPv6 address is certainly not 0, however that is spelt: `0:`, `::`. */
export function mayBeginWithZero(text: string): boolean {
  const first = text.charCodeAt(0);
  return first === ZERO || first === COLON;
}

function scopeOf4(ip: string): ParsedAddress['scope'] {
  const first = Number.parseInt(ip, 10);
  if (ip === '0.0.0.0') return 'unspecified';
  if (ip === '255.255.255.255') return 'broadcast';
  if (first === 127) return 'loopback';
  if (first >= 224 && first <= 239) return 'multicast';
  if (ip.startsWith('169.254.')) return 'link-local';
  return 'other';
}

function scopeOf6(groups: readonly number[]): ParsedAddress['scope'] {
  const first = groups[0] ?? 0;
  if ((first & 0xff00) === 0xff00) return 'multicast';
  if ((first & 0xffc0) === 0xfe80) return 'link-local';
  if (isZeroBefore(groups, 7)) {
    if (groups[7] === 0) return 'unspecified';
    if (groups[7] === 1) return 'loopback';
  }
  return 'other';
}

function isZeroBefore(groups: readonly number[], end: number): boolean {
  for (let i = 0; i < end; i++) if (groups[i] !== 0) return false;
  return true;
}

function mapped4(groups: readonly number[]): string | undefined {
  if (groups[5] !== 0xffff || !isZeroBefore(groups, 5)) return undefined;
  const [, , , , , , high = 0, low = 0] = groups;
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The eight 16-bit groups of a valid IPv6 address without a zone. */
export function groupsOf(ip: string): number[] {
  // Character by character: every connection over IPv6 comes through here, and split() would be the dearest part of it.
  const groups = [0, 0, 0, 0, 0, 0, 0, 0];
  let count = 0;
  let gap = -1;
  let start = 0;
  let group = 0;
  for (let i = 0; i < ip.length; i++) {
    const character = ip.charCodeAt(i);
    if (character === COLON) {
      if (i > start) groups[count++] = group;
      else if (i > 0) gap = count;
      start = i + 1;
      group = 0;
    } else if (character === DOT) {
      const [a = 0, b = 0, c = 0, d = 0] = ip.slice(start).split('.').map(Number);
      groups[count++] = (a << 8) | b;
      groups[count++] = (c << 8) | d;
      start = ip.length;
      break;
    } else {
      group = (group << 4) | hexDigit(character);
    }
  }
  if (start < ip.length) groups[count++] = group;
  if (gap >= 0) groups.copyWithin(8 - (count - gap), gap, count).fill(0, gap, 8 - (count - gap));
  return groups;
}

const ZERO = 0x30;
const COLON = 0x3a;
const DOT = 0x2e;

/** The value of a hexadecimal digit, a letter of it in either case. */
export function hexDigit(character: number): number {
  return (character & 15) + (character > 0x39 ? 9 : 0);
}
