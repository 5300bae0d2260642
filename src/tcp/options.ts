// What a TCP connect is asked for, and what of it core gets: everything but the source.
import type { LookupAddress } from 'node:dns';
import type * as net from 'node:net';
import type { Family } from '../values/address';
import { type ConnectxError, noSource } from '../errors/connectx_error';
import { invalidValue } from '../errors/argument_errors';
import { familyMismatch } from '../connect/explain';
import { dnsLookup } from '../connect/dns';
import {
  familyOf,
  isPlain,
  isSourceOption,
  mergeSource,
  neededFamily,
  readSource,
  type Source,
  type SourceOptions,
} from '../source/options';

/** Options of {@link connect}: those of `net.connect` for TCP, and the source options. */
export type ConnectOptions = Omit<net.TcpNetConnectOpts, 'localAddress' | 'localPort'> & SourceOptions;

/** Options of `new Socket()`: those of `net.Socket`, and the source options, which `connect()` then applies. */
export type SocketOptions = net.SocketConstructorOpts & SourceOptions;

export type ConnectionListener = () => void;

/** The source options of a connect, and of what the socket was made with those that it lacks. */
export function sourceFor(options: ConnectOptions, own: (SocketOptions & { handle?: unknown }) | undefined): Source {
  const source = readSource(own === undefined || own === options ? options : mergeSource(own, options));
  // Core then connects that very descriptor.
  if (!isPlain(source) && own && (own.fd !== undefined || own.handle)) {
    throw invalidValue('options', options, 'must not have source options beside fd or handle');
  }
  return source;
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
function isConnectOnly(options: object): boolean {
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
// later access, more than the rest of the constructor; so it gets nothing where there is nothing for it.
export function forConstructor(options: SocketOptions | undefined): SocketOptions | undefined {
  return typeof options === 'object' && (options as unknown) !== null && isConnectOnly(options) ? undefined : options;
}

/**
 * The options for core: without the source, which core would bind a second time, and for which it would turn Happy
 * Eyeballs off; and with a lookup that leaves out the families for which there is no source.
 */
export function forCore(options: ConnectOptions, source: Source): object {
  const lookup = lookupFor(options, source);
  const isAsGiven = lookup === options.lookup;
  if (isAsGiven && options.localAddress === undefined && options.localPort === undefined) return options;
  return isConnectOnly(options) ? connectOptionsOf(options, lookup) : withoutSource(options, lookup);
}

/** The same for what opens a socket by itself, `tls.connect` for one, with a lookup that does not answer at once. */
export function forCoreToOpen(options: ConnectOptions, source: Source): object {
  const { localAddress, localPort } = options;
  const lookup = lookupFor(options, source);
  if ((localAddress ?? localPort ?? lookup) === undefined) return options;
  return withoutSource(options, typeof lookup === 'function' ? notAtOnce(lookup as Lookup) : lookup);
}

// Core looks nothing up where the host is an address. To find that out here too would cost more than the function does.
function lookupFor(options: ConnectOptions, source: Source): unknown {
  const family = familyOf(source);
  return family === undefined ? options.lookup : lookupOf(family, options.lookup, source, options.port);
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

function withoutSource(options: ConnectOptions, lookup: unknown): Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(options);
  const plain = prototype === Object.prototype || prototype === null;
  const copy: Record<string, unknown> = plain ? { ...options } : (Object.create(options) as Record<string, unknown>);
  copy.localAddress = undefined;
  copy.localPort = undefined;
  copy.lookup = lookup;
  return copy;
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
