// What a TCP connect is asked for, and what of it core gets: everything but the source.
import type { LookupAddress } from 'node:dns';
import type * as net from 'node:net';
import type { Family } from '../values/address';
import { type ConnectxError, noSource } from '../errors/connectx_error';
import { familyMismatch } from '../connect/explain';
import { dnsLookup } from '../connect/dns';
import { isSourceOption, mergeSource, readSource, type Source, type SourceOptions } from '../source/options';
import { familyOf, neededFamily } from '../source/resolve';

/** Options of {@link connect}: those of `net.connect` for TCP, and the source options. */
export type ConnectOptions = Omit<net.TcpNetConnectOpts, 'localAddress' | 'localPort'> & SourceOptions;

/** Options of `new Socket()`: those of `net.Socket`, and the source options, which `connect()` then applies. */
export type SocketOptions = net.SocketConstructorOpts & SourceOptions;

export type ConnectionListener = () => void;

type OwnOptions = SocketOptions & { handle?: unknown };

/** The source options of a connect, and of what the socket was made with those that it lacks. */
export function sourceFor(options: ConnectOptions, own: OwnOptions | undefined): Source {
  return readSource(
    own === undefined || (own as unknown) === null || own === options ? options : mergeSource(own, options),
  );
}

/** Whether core connects a descriptor of its own, which takes no source. */
export function hasDescriptor(own: OwnOptions | undefined): boolean {
  return Boolean(own && (own.fd !== undefined || own.handle));
}

export interface ConnectArguments {
  options: ConnectOptions & { path?: string | undefined };
  listener: ConnectionListener | undefined;
}

// As net._normalizeArgs does it, whose answer is also taken: [options, listener], marked with a symbol.
export function readConnectArguments(args: readonly unknown[]): ConnectArguments {
  const [first] = args;
  if (Array.isArray(first) && Object.getOwnPropertySymbols(first).length > 0) return readConnectArguments(first);
  const last = args.at(-1);
  const listener = typeof last === 'function' ? (last as ConnectionListener) : undefined;
  if (typeof first === 'object' && first !== null) return { options: first as ConnectArguments['options'], listener };
  const options = isPipeName(first) ? { path: first } : { port: first, ...hostOf(args) };
  return { options: options as unknown as ConnectArguments['options'], listener };
}

function hostOf(args: readonly unknown[]): { host?: string } {
  return typeof args[1] === 'string' ? { host: args[1] } : {};
}

// A string that is no port number is a path.
function isPipeName(value: unknown): value is string {
  return typeof value === 'string' && !(Number(value) >= 0);
}

// What the constructors of net.Socket and of its streams do not read. A table would take longer than these comparisons.
// Of a class the accessors are not enumerable, so only a plain object tells all that is in it.
function isConnectOnly(options: object): boolean {
  if (!isPlainObject(options)) return false;
  for (const name in options) {
    switch (name) {
      case 'host':
      case 'port':
      case 'path':
      case 'family':
      case 'hints':
      case 'lookup':
      case 'timeout':
      case 'autoSelectFamily':
      case 'autoSelectFamilyAttemptTimeout':
        break;
      default:
        if (!isSourceOption(name)) return false;
    }
  }
  return true;
}

// net.Socket spreads its options into an object to which it adds some of its own. Whatever is in them costs it, and every
// later access, more than the rest of the constructor; so it gets nothing where there is nothing for it, and never the source.
export function forConstructor(options: SocketOptions | undefined): SocketOptions | undefined {
  if (typeof options !== 'object' || (options as unknown) === null) return options;
  if (isConnectOnly(options)) return undefined;
  return hasLocalEnd(options) ? withoutSource(options, {}) : options;
}

/**
 * The options for core: without the source, which core would bind a second time, and for which it would turn Happy
 * Eyeballs off; and with a lookup that leaves out the families for which there is no source.
 */
export function forCore(options: ConnectOptions, source: Source): object {
  const given = options.lookup;
  const lookup = lookupFor(given, source, options);
  if (lookup === given && !hasLocalEnd(options)) return options;
  return isConnectOnly(options) ? connectOptionsOf(options, lookup) : withoutSource(options, { lookup });
}

/** The same for what opens a socket by itself, `tls.connect` for one, with a lookup that does not answer at once. */
export function forCoreToOpen(options: ConnectOptions, source: Source): object {
  const lookup = lookupFor(options.lookup, source, options);
  if (lookup === undefined && !hasLocalEnd(options)) return options;
  return withoutSource(options, { lookup: typeof lookup === 'function' ? notAtOnce(lookup as Lookup) : lookup });
}

// Whatever it is: an accessor may answer differently when core reads it again.
function hasLocalEnd(options: object): boolean {
  return 'localAddress' in options || 'localPort' in options;
}

function isPlainObject(options: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(options);
  return prototype === Object.prototype || prototype === null;
}

// Core looks nothing up where the host is an address. To find that out here too would cost more than the function does.
function lookupFor(given: unknown, source: Source, options: ConnectOptions): unknown {
  const family = familyOf(source);
  return family === undefined ? given : lookupOf(family, given, source, options.port);
}

// Always of the same shape, which is what makes it cheap.
function connectOptionsOf(options: ConnectOptions, lookup: unknown): Record<string, unknown> {
  return {
    host: options.host,
    port: options.port,
    family: options.family,
    hints: options.hints,
    lookup,
    autoSelectFamily: options.autoSelectFamily,
    autoSelectFamilyAttemptTimeout: options.autoSelectFamilyAttemptTimeout,
  };
}

// With other values for the names in `over`.
function withoutSource(options: object, over: Record<PropertyKey, unknown>): object {
  if (!isPlainObject(options)) return overlaid(options, { ...over, localAddress: undefined, localPort: undefined });
  const copy: Record<PropertyKey, unknown> = { ...over };
  for (const name of Reflect.ownKeys(options)) {
    if (name in over || (typeof name === 'string' && isSourceOption(name))) continue;
    copy[name] = (options as Record<PropertyKey, unknown>)[name];
  }
  return copy;
}

/**
 * An object of a class, or one with a prototype of its own, with other values for some names. A copy would lack its accessors,
 * an object derived from it could not be assigned to, and its accessors would not find its private fields.
 */
function overlaid(options: object, over: Record<PropertyKey, unknown>): object {
  const valueOf = (name: PropertyKey): unknown => (name in over ? over[name] : (Reflect.get(options, name) as unknown));
  return new Proxy(
    {},
    {
      get: (_target, name) => valueOf(name),
      has: (_target, name) => name in over || name in options,
      ownKeys: () => [...new Set([...Reflect.ownKeys(options), ...Reflect.ownKeys(over)])],
      getOwnPropertyDescriptor: (_target, name) =>
        name in over || Object.hasOwn(options, name)
          ? { value: valueOf(name), enumerable: true, configurable: true, writable: true }
          : undefined,
      getPrototypeOf: () => Reflect.getPrototypeOf(options),
    },
  );
}

/** As `dns.lookup`. */
export type Lookup = NonNullable<net.TcpNetConnectOpts['lookup']>;
type LookupCallback = Parameters<Lookup>[2];

// Mostly a program connects again and again from one source to one port.
let lastLookup: { family: Family; source: Source; port: unknown; lookup: unknown } | undefined;

/** A lookup that leaves out the addresses of every other family; `dns.lookup` where none is given. */
export function lookupOf(family: Family, given: unknown, source: Source, port: unknown): unknown {
  if (given !== undefined) return newLookup(family, given, source, port);
  if (lastLookup?.source !== source || lastLookup.port !== port || lastLookup.family !== family) {
    lastLookup = { family, source, port, lookup: newLookup(family, given, source, port) };
  }
  return lastLookup.lookup;
}

function newLookup(family: Family, given: unknown, source: Source, port: unknown): unknown {
  // Core complains about it.
  if (given !== undefined && given !== null && typeof given !== 'function') return given;
  const other = family === 4 ? 6 : 4;
  return (host: string, options: Parameters<Lookup>[1], callback: LookupCallback): void => {
    const lookup = given ?? dnsLookup();
    // Only dns.lookup is known to keep to `all`; another function may answer as it likes.
    const single = lookup === dnsLookup() && options.all !== true;
    const asked = single ? { ...options, all: true } : options;
    (lookup as Lookup)(host, asked, (error, answer, answerFamily) => {
      if (error || !Array.isArray(answer)) {
        callback(error, answer, answerFamily);
        return;
      }
      // An answer that makes no sense is left to core, which complains about it.
      const usable = answer.filter((address) => neededFamily(address) !== other);
      const [first] = usable;
      if (first === undefined && answer.length > 0) callback(noSourceFor(answer, source, Number(port)), []);
      else if (first !== undefined && single) callback(null, first.address, first.family);
      else callback(null, usable);
    });
  };
}

function noSourceFor([first]: LookupAddress[], source: Source, port: number): ConnectxError {
  const address = first?.address ?? '';
  return noSource(address, port, familyMismatch(address, source));
}

/** The same lookup, but it never calls back before it has returned. */
export function notAtOnce(lookup: Lookup): Lookup {
  return (host, options, callback) => {
    let returned = false;
    lookup(host, options, (...answer) => {
      if (returned) callback(...answer);
      else process.nextTick(callback, ...answer);
    });
    returned = true;
  };
}
