// The source options: checked once, at the call, and then resolved for each destination that is attempted.
import { type Destination, type Family, type ParsedAddress, parseAddress } from '../values/address';
import { badPort, invalidAddress, invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import type { SocketOption, TcpExtras } from '../kernel/addon';
import type { SourcePool } from './pool';
import { isForeignPool, isPool, type Pooled } from './pooled';
import { type PortRangeFunction, readRange } from './range_option';
import { readSocketOptions } from './socket_options';
import type { StickySource } from './sticky';
import type { PortRange } from '../values/port_range';

/**
 * Chooses the source for a destination: an address; or several addresses, or a pool, of which the next one is tried when one has no port
 * left or cannot be used. Undefined: do not attempt this destination.
 */
export type SourceFunction = (
  destination: Destination,
) => string | readonly string[] | SourcePool | StickySource | undefined;

/** A source address for each family; a destination of a family that is left out is not attempted. */
export interface SourceAddresses {
  /** For IPv4 destinations. */
  ipv4?: string | undefined;
  /** For IPv6 destinations. */
  ipv6?: string | undefined;
}

/** The source options of {@link connect}. */
export interface SourceOptions {
  /**
   * The source address: a numeric IP, or one for each family, or a {@link SourcePool} (or its `sticky(key)`), or a function that is asked
   * once for each attempted destination. Default: the kernel chooses by routing. `0.0.0.0` and `::` pin the family only.
   *
   * A destination of a family for which there is no source is not attempted.
   */
  localAddress?: string | SourceAddresses | SourcePool | StickySource | SourceFunction | undefined;
  /** The exact source port, 1 to 65535. Default (and 0): assigned by the kernel. */
  localPort?: number | undefined;
  /**
   * Take the source port from `[low, high]`, both inclusive, 1 to 65535, or from what a function gives for the destination and the source
   * address. Excludes `localPort`.
   */
  localPortRange?: readonly [low: number, high: number] | PortRangeFunction | undefined;
  /** Name of the network interface to send through (`SO_BINDTODEVICE`, socket(7)); 1 to 15 bytes. */
  interface?: string | undefined;
  /** Firewall mark, 0 to 2^32 - 1 (`SO_MARK`, socket(7)). Needs CAP_NET_ADMIN or CAP_NET_RAW. */
  mark?: number | undefined;
  /** Allow a source address that is not (yet) on this machine (`IP_FREEBIND`, ip(7)). Default false. */
  freeBind?: boolean | undefined;
  /** Allow any source address, for transparent proxies (`IP_TRANSPARENT`, ip(7)). Needs CAP_NET_ADMIN or CAP_NET_RAW. Default false. */
  transparent?: boolean | undefined;
  /**
   * TCP Fast Open (`TCP_FASTOPEN_CONNECT`, tcp(7), Linux 4.11). Default false. Once the kernel has a cookie of the server, the socket
   * emits `'connect'` at once; the first write opens the connection and may be delivered twice, a refusal shows only after it, and a
   * protocol in which the server speaks first hangs.
   */
  fastOpen?: boolean | undefined;
  /**
   * When every port towards the destination is taken, and some of these 4-tuples are in TIME-WAIT, take one of them over at once
   * (RFC 6191; both sides need TCP timestamps) instead of failing. TCP only. Default false.
   */
  reuseTimeWait?: boolean | undefined;
  /**
   * With several addresses to attempt, an attempt goes on when the next one begins, and the first to connect wins (RFC 8305); false: it
   * is aborted, as `net.connect` does it. TCP only. Default true.
   */
  autoSelectFamilyOverlap?: boolean | undefined;
  /** Further socket options, set in this order before bind(2). */
  socketOptions?: readonly SocketOption[] | undefined;
}

/** The source options, valid and with their defaults. */
export interface Source {
  /** Undefined: the kernel chooses. */
  readonly address:
    { readonly ipv4?: ParsedAddress; readonly ipv6?: ParsedAddress } | Pooled | SourceFunction | undefined;
  /** 0: any. */
  readonly port: number;
  readonly range: PortRange | undefined;
  /** Gives the range once the source address is known. */
  readonly chooseRange?: PortRangeFunction | undefined;
  readonly reuseTimeWait: boolean;
  /** Whether an attempt goes on when the next one begins. */
  readonly overlap: boolean;
  /** Null when there is nothing in it. */
  readonly extras: TcpExtras | null;
}

const NOTHING_ELSE = {
  port: 0,
  range: undefined,
  chooseRange: undefined,
  reuseTimeWait: false,
  overlap: true,
  extras: null,
} as const;
const PLAIN: Source = { address: undefined, ...NOTHING_ELSE };
const PLAIN_IN_SEQUENCE: Source = { ...PLAIN, overlap: false };

// Mostly it is the one source address of a program, again and again.
let lastAlone = PLAIN;
let lastText: string | undefined;

/** The names of all of them. */
export const SOURCE_OPTIONS = [
  'localAddress',
  'localPort',
  'localPortRange',
  'interface',
  'mark',
  'freeBind',
  'transparent',
  'fastOpen',
  'reuseTimeWait',
  'autoSelectFamilyOverlap',
  'socketOptions',
] as const;

/**
 * The option, unless it is only somebody's who wrote to `Object.prototype` (prototype pollution): then every connection of the process would
 * have it. Core has no such options, but for `localAddress` and `localPort`, which it reads from wherever they are. Those of a
 * class, and what options were made from with `Object.create`, count.
 */
function given(options: object, name: keyof SourceOptions, value: unknown): unknown {
  if (value === undefined || !Object.hasOwn(Object.prototype, name)) return value;
  if (name === 'localAddress' || name === 'localPort') return value;
  let holder: object | null = options;
  while (holder !== null && !Object.hasOwn(holder, name)) holder = Reflect.getPrototypeOf(holder);
  return holder === Object.prototype ? undefined : value;
}

const SOURCE_NAMES: ReadonlySet<string> = new Set(SOURCE_OPTIONS);

/** Whether a source option is called that. */
export function isSourceOption(name: string): boolean {
  // By far the most frequent one.
  return name === 'localAddress' || SOURCE_NAMES.has(name);
}

/** The source options of `over`, and those of `base` that it lacks. Either may have them from its prototype. */
export function mergeSource(base: object, over: object): SourceOptions {
  const [below, above] = [base, over] as Record<string, unknown>[];
  const read = (from: Record<string, unknown> | undefined, name: keyof SourceOptions) =>
    from === undefined ? undefined : given(from, name, from[name]);
  return Object.fromEntries(SOURCE_OPTIONS.map((name) => [name, read(above, name) ?? read(below, name)]));
}

/** A copy of the options without those of the source. */
export function withoutSource<O extends object>(options: O): Omit<O, keyof SourceOptions> {
  const copy = { ...options };
  for (const name of SOURCE_OPTIONS) Reflect.deleteProperty(copy, name);
  return copy;
}

/** Throws one of Node's argument errors when an option is wrong. */
export function readSource(options: SourceOptions | undefined): Source {
  // `new net.Socket()` takes null and, from of old, a number.
  if (typeof options !== 'object' || (options as unknown) === null) return PLAIN;
  // Each of them is read once, for a getter may answer differently the next time.
  const { localAddress, localPort, localPortRange, reuseTimeWait: takeOver, autoSelectFamilyOverlap } = options;
  const extras = readExtras(options);
  const address = readAddress(localAddress, extras?.interface !== undefined);
  const port = readPort(localPort);
  const ports = given(options, 'localPortRange', localPortRange);
  const chooseRange = typeof ports === 'function' ? (ports as PortRangeFunction) : undefined;
  const range = chooseRange === undefined ? readRange('options.localPortRange', ports) : undefined;
  const anyPort = range === undefined && chooseRange === undefined;
  if (port !== 0 && !anyPort) {
    throw invalidValue('options.localPortRange', localPortRange, 'cannot be combined with localPort');
  }
  const reuseTimeWait = readBoolean('reuseTimeWait', given(options, 'reuseTimeWait', takeOver));
  const overlap = readOverlap(given(options, 'autoSelectFamilyOverlap', autoSelectFamilyOverlap));
  const isAlone = port === 0 && anyPort && extras === null && !reuseTimeWait;
  if (isAlone && address === undefined) return overlap ? PLAIN : PLAIN_IN_SEQUENCE;
  if (!isAlone || !overlap) return { address, port, range, chooseRange, reuseTimeWait, overlap, extras };
  if (address === lastAlone.address) return lastAlone;
  const source: Source = { address, ...NOTHING_ELSE };
  if (typeof localAddress === 'string') {
    lastAlone = source;
    lastText = localAddress;
  }
  return source;
}

/** Whether nothing at all was asked of the source. */
export function isPlain(source: Source): boolean {
  return source === PLAIN || source === PLAIN_IN_SEQUENCE;
}

function readAddress(value: SourceOptions['localAddress'], hasInterface: boolean): Source['address'] {
  // net.connect treats the empty string as absent.
  if (value === undefined || (value as unknown) === null || value === '') return undefined;
  if (typeof value === 'function' || isPool(value)) return value;
  if (typeof value === 'string') {
    // The very same object for the same address: readSource() knows it again.
    if (value === lastText && !hasInterface) return lastAlone.address;
    const parsed = checkedAddress('options.localAddress', value, hasInterface);
    return parsed.family === 4 ? { ipv4: parsed } : { ipv6: parsed };
  }
  if (typeof value !== 'object') {
    throw invalidType('options.localAddress', 'of type string or function or an instance of Object', value);
  }
  if (isForeignPool(value))
    throw invalidValue('options.localAddress', value, 'is a SourcePool of another version of connectx');
  const { ipv4, ipv6 } = value;
  if (ipv4 === undefined && ipv6 === undefined) {
    throw invalidValue('options.localAddress', value, 'must have ipv4, ipv6 or both');
  }
  return {
    ...(ipv4 === undefined ? {} : { ipv4: ofFamily('options.localAddress.ipv4', ipv4, 4, hasInterface) }),
    ...(ipv6 === undefined ? {} : { ipv6: ofFamily('options.localAddress.ipv6', ipv6, 6, hasInterface) }),
  };
}

function ofFamily(name: string, value: unknown, family: Family, hasInterface: boolean): ParsedAddress {
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value);
  const parsed = checkedAddress(name, value, hasInterface);
  if (parsed.family !== family) throw invalidValue(name, value, `must be an IPv${family} address`);
  return parsed;
}

/** @throws ERR_INVALID_IP_ADDRESS or ERR_INVALID_ARG_VALUE for what cannot be a source */
export function checkedAddress(name: string, value: string, hasInterface: boolean): ParsedAddress {
  const parsed = parseAddress(value);
  if (parsed === undefined) throw invalidAddress(value);
  // bind(2) accepts these for IPv4, and connect(2) then silently takes another source (tcp_v4_connect).
  if (parsed.scope === 'multicast' || parsed.scope === 'broadcast') {
    throw invalidValue(name, value, `must not be a ${parsed.scope} address, which cannot be a source`);
  }
  if (parsed.zone === '' || (parsed.zone !== undefined && hasInterface && parsed.scope !== 'link-local')) {
    throw invalidValue(name, value, 'has a zone that cannot be used');
  }
  return parsed;
}

function readPort(value: unknown): number {
  if (value === undefined || value === null) return 0;
  if (typeof value !== 'number') throw invalidType('options.localPort', 'of type number', value);
  if (!Number.isInteger(value) || value < 0 || value > 65535) throw badPort('options.localPort', value);
  return value;
}

type BooleanName = 'freeBind' | 'transparent' | 'fastOpen' | 'reuseTimeWait' | 'autoSelectFamilyOverlap';

function readOverlap(value: unknown): boolean {
  return value === undefined || value === null || readBoolean('autoSelectFamilyOverlap', value);
}

function readBoolean(name: BooleanName, value: unknown): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw invalidType(`options.${name}`, 'of type boolean', value);
  return value;
}

function readExtras(options: SourceOptions): TcpExtras | null {
  const name = readInterface(given(options, 'interface', options.interface));
  const mark = readMark(given(options, 'mark', options.mark));
  const freeBind = readBoolean('freeBind', given(options, 'freeBind', options.freeBind));
  const transparent = readBoolean('transparent', given(options, 'transparent', options.transparent));
  const fastOpen = readBoolean('fastOpen', given(options, 'fastOpen', options.fastOpen));
  const socketOptions = readSocketOptions(given(options, 'socketOptions', options.socketOptions));
  const empty = name === undefined && mark === undefined && socketOptions === undefined;
  if (empty && !freeBind && !transparent && !fastOpen) return null;
  return { interface: name, mark, freeBind, transparent, fastOpen, socketOptions };
}

function readInterface(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw invalidType('options.interface', 'of type string', value);
  // IFNAMSIZ counts the terminating zero; dev_valid_name() refuses the rest.
  const length = Buffer.byteLength(value);
  if (length < 1 || length > 15 || /[\s/:\0]/.test(value) || value === '.' || value === '..') {
    throw invalidValue('options.interface', value, 'must be the name of a network interface');
  }
  return value;
}

function readMark(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number') throw invalidType('options.mark', 'of type number', value);
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw outOfRange('options.mark', 'an integer >= 0 && <= 4294967295', value);
  }
  return value;
}
