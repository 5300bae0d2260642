// What connectx/register puts over core: net.Socket.prototype.connect, for connections that set a source, or are to get one.
import type * as net from 'node:net';
import { isIP, Socket as CoreSocket } from 'node:net';
import { type Destination, type Family, parseAddress } from '../values/address';
import { dnsLookup } from '../connect/dns';
import type { Native } from '../kernel/addon';
import type { Source } from '../source/options';
import { assign } from './assigned';
import { isOwn } from './own';
import { takeOver } from './takeover';

type Connect = (this: net.Socket, ...args: unknown[]) => net.Socket;

/** What is asked of each connection. */
export interface Rules {
  /** Whether a connection from this `localAddress` shares its ports. */
  includes(localAddress: string): boolean;
  /** The source of a connection that sets none; undefined: core connects it. */
  sourceFor(destination: Destination): Source | undefined;
  /** Whether there is any to be had. */
  readonly assigns: boolean;
}

interface PinnedOptions extends net.TcpNetConnectOpts {
  localAddress: string;
}

// Only what has a source is of interest, and everything else must not notice.
function pinnedOptions([first]: readonly unknown[]): PinnedOptions | undefined {
  // net.connect() and others of core pass [options, listener], which they have normalized.
  const options: unknown = Array.isArray(first) ? first[0] : first;
  if (typeof options !== 'object' || options === null) return undefined;
  const { localAddress, path } = options as Partial<PinnedOptions & net.IpcSocketConnectOpts>;
  return typeof localAddress === 'string' && localAddress !== '' && !path ? (options as PinnedOptions) : undefined;
}

/** Where a connection that sets no source goes; undefined where it sets one, or is not one of TCP. An empty host is core's business. */
function unpinnedEnd(args: readonly unknown[]): { host: unknown; port: unknown } | undefined {
  const [first, second] = args;
  const list = Array.isArray(first) ? (first as unknown[]) : args;
  const options: unknown = list[0];
  if (typeof options !== 'object' || options === null) {
    // A string that is no port number is a path.
    return Number(options) >= 0 ? { host: typeof second === 'string' ? second : undefined, port: options } : undefined;
  }
  const { host, port, localAddress, localPort, path } = options as Partial<
    net.TcpNetConnectOpts & net.IpcSocketConnectOpts
  >;
  return localAddress || localPort || path ? undefined : { host, port };
}

// As core tells whether an array is one that it has normalized itself.
function isNormalized(value: unknown): value is unknown[] {
  return Array.isArray(value) && Object.getOwnPropertySymbols(value).length > 0;
}

/** The arguments with a lookup that first calls `before`. */
function withLookup(options: PinnedOptions, args: readonly unknown[], before: () => void): readonly unknown[] {
  const [first] = args;
  const list = isNormalized(first) ? first : args;
  const { lookup } = options;
  // What is no lookup, and what is not normalized, core complains about.
  if (list[0] !== options || ((lookup as unknown) != null && typeof lookup !== 'function')) return args;
  const value: net.LookupFunction = (...question) => {
    before();
    (lookup ?? dnsLookup())(...question);
  };
  return [withOther(options, value), ...list.slice(1)];
}

// Its own properties are all there: other wrappers of connect() copy these. What a class has in its prototype stays there.
function withOther(options: PinnedOptions, lookup: net.LookupFunction): PinnedOptions {
  const own = { ...Object.getOwnPropertyDescriptors(options) };
  const value = { value: lookup, enumerable: true, configurable: true, writable: true };
  return Object.create(Object.getPrototypeOf(options) as object | null, { ...own, lookup: value }) as PinnedOptions;
}

/** False only where the destination is known already, and gets no source. */
function mayBeAssigned(rules: Rules, { host, port }: { host: unknown; port: unknown }): boolean {
  const parsed = typeof host === 'string' ? parseAddress(host) : undefined;
  if (parsed === undefined) return true;
  const family: Family = isIP(host as string) === 6 ? 6 : 4;
  return rules.sourceFor({ address: host as string, port: Number(port), family }) !== undefined;
}

/** One for each thread. */
export class CoreHook {
  readonly #native: Native;
  readonly #warn: (why: string) => void;
  #rules: Rules | undefined;
  #core: Connect | undefined;
  #hook: Connect | undefined;
  #isBroken = false;

  /** `warn` is called once, when core turns out not to be what is relied on here. */
  constructor(native: Native, warn: (why: string) => void) {
    this.#native = native;
    this.#warn = warn;
  }

  /** What holds from now on; undefined: core's own behaviour. */
  set(rules: Rules | undefined): void {
    this.#rules = this.#isBroken ? undefined : rules;
    if (this.#rules === undefined) this.#remove();
    else this.#install();
  }

  // net.Socket's own method, because it is public, because everything comes through it (net.connect, tls.connect, http2, a
  // library's `new net.Socket().connect()`), and because it tells at once what has no source. The diagnostics channel
  // `net.client.socket` has not got the options, and does not hear of the latter two on Node 20.
  #install(): void {
    if (this.#hook !== undefined) return;
    const { prototype } = CoreSocket;
    const core = prototype.connect as unknown as Connect;
    const connect = (socket: net.Socket, args: readonly unknown[]) => this.#connect(core, socket, args);
    const hook = {
      connect(this: net.Socket, ...args: unknown[]): net.Socket {
        return connect(this, args);
      },
    }.connect;
    if (!Reflect.set(prototype, 'connect', hook)) {
      this.#broken('net.Socket.prototype is frozen');
      return;
    }
    this.#core = core;
    this.#hook = hook;
  }

  // Where somebody has put another one over it, it stays below, and lets everything pass.
  #remove(): void {
    const { prototype } = CoreSocket;
    if (this.#hook === undefined || (prototype.connect as unknown) !== this.#hook) return;
    prototype.connect = this.#core as unknown as typeof prototype.connect;
    this.#hook = undefined;
  }

  #connect(core: Connect, socket: net.Socket, args: readonly unknown[]): net.Socket {
    const rules = this.#rules;
    const pinned = rules && pinnedOptions(args);
    if (pinned !== undefined && rules?.includes(pinned.localAddress) === true) {
      return this.#connectPinned(core, socket, pinned, args);
    }
    if (pinned === undefined && rules?.assigns === true) return this.#connectAssigned(core, socket, rules, args);
    return Reflect.apply(core, socket, args);
  }

  #connectAssigned(core: Connect, socket: net.Socket, rules: Rules, args: readonly unknown[]): net.Socket {
    const end = unpinnedEnd(args);
    if (end === undefined || isOwn(socket) || !mayBeAssigned(rules, end)) return Reflect.apply(core, socket, args);
    const leave = assign(socket, this.#native, (destination) => rules.sourceFor(destination), this.#unknown);
    try {
      return Reflect.apply(core, socket, args);
    } catch (error) {
      leave();
      throw error;
    }
  }

  #connectPinned(core: Connect, socket: net.Socket, options: PinnedOptions, args: readonly unknown[]): net.Socket {
    const take = () => takeOver(socket, this.#native, this.#unknown);
    const { host } = options;
    // A lookup may call back at once, and then core binds before it returns.
    const isLookedUp = host === undefined || isIP(host) === 0;
    const given = isLookedUp ? withLookup(options, args, take) : args;
    const result = Reflect.apply(core, socket, given);
    take();
    return result;
  }

  readonly #unknown = (what: string): void => {
    this.#broken(`it does not know Node ${process.versions.node} well enough (${what})`);
  };

  readonly #broken = (what: string): void => {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.set(undefined);
    this.#warn(what);
  };
}
