// For `--import` and `--require`: what Node's core connects from a `localAddress` shares its ports, with no change to the
// program.
import type * as net from 'node:net';
import { BlockList, isIP, Socket as CoreSocket } from 'node:net';
import { parseAddress } from './values/address';
import { invalidType, invalidValue } from './errors/argument_errors';
import { load } from './kernel/load';
import { refusalOf, runtime } from './kernel/runtime';
import type { Native } from './kernel/addon';
import { dnsLookup } from './connect/dns';
import { takeOver } from './tcp/takeover';

/** What {@link register} is told. */
export interface RegisterOptions {
  /**
   * Only connections from these source addresses: IPs, or blocks like `192.0.2.0/24` and `2001:db8::/64`. None at all: core's
   * own behaviour for every connection. Default: every source address.
   */
  sources?: readonly string[] | undefined;
}

/** The environment variable that says what the import registers: `all`, `off`, or IPs and blocks with commas between. */
const VARIABLE = 'CONNECTX_REGISTER';

type Sources = net.BlockList | 'all' | 'none';
type Connect = (this: net.Socket, ...args: unknown[]) => net.Socket;

interface Entry {
  readonly sources: Sources;
}

/**
 * What is in force in this thread. There is one for all copies of connectx that are loaded: copies of a later version that do
 * the same use it too, and others need another symbol.
 */
interface Registry {
  register(sources: Sources): () => void;
}

const kRegistry = Symbol.for('connectx.register.1');

type SocketClass = typeof net.Socket & { [kRegistry]?: Registry };

/**
 * Says of which source addresses the connections of this thread share their ports over destinations, instead of what was said
 * before, by the import of this module or by an earlier call. Connections that are under way stay as they are.
 *
 * @param options default: every source address
 * @returns a function that takes it back: then the latest one that has not been taken back is in force again
 * @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 * @example
 * const undo = register({ sources: ['192.0.2.0/24'] });
 * // ...
 * undo();
 */
export function register(options?: RegisterOptions): () => void {
  return registry.register(readSources(options?.sources));
}

function readSources(sources: unknown): Sources {
  if (sources === undefined) return 'all';
  if (!Array.isArray(sources)) throw invalidType('options.sources', 'an instance of Array', sources);
  return blockListOf(sources, (index) => `options.sources[${index}]`);
}

function blockListOf(sources: readonly unknown[], name: (index: number) => string): Sources {
  if (sources.length === 0) return 'none';
  const list = new BlockList();
  for (const [index, source] of sources.entries()) addSource(list, name(index), source);
  return list;
}

function addSource(list: net.BlockList, name: string, source: unknown): void {
  if (typeof source !== 'string') throw invalidType(name, 'of type string', source);
  const [address = '', prefix, ...rest] = source.split('/');
  const version = isIP(address);
  const length = prefix === undefined ? undefined : Number(prefix);
  const isLength = length === undefined || (/^\d+$/.test(prefix ?? '') && length <= (version === 4 ? 32 : 128));
  if (version === 0 || address.includes('%') || !isLength || rest.length > 0) {
    throw invalidValue(name, source, 'must be an IP address or a block like 192.0.2.0/24');
  }
  if (length === undefined) list.addAddress(address, `ipv${version as 4 | 6}`);
  else list.addSubnet(address, length, `ipv${version as 4 | 6}`);
}

function includes(sources: Sources, localAddress: string): boolean {
  if (typeof sources === 'string') return sources === 'all';
  const parsed = parseAddress(localAddress);
  return parsed !== undefined && sources.check(parsed.ip, `ipv${parsed.family}`);
}

function fromEnvironment(): Sources {
  const text = process.env[VARIABLE]?.trim() ?? '';
  if (text === 'off') return 'none';
  if (text === '' || text === 'all') return 'all';
  const sources = text.split(',').map((source) => source.trim());
  return blockListOf(sources, () => VARIABLE);
}

function createRegistry(): Registry {
  const loaded = load();
  const { native } = loaded;
  const refusal = refusalOf('tcp', runtime);
  if (native !== undefined && refusal === undefined) return new Hook(native);
  if (refusal !== undefined) warn(refusal.message);
  else if (native === undefined && loaded.error !== undefined) warn(loaded.error.message);
  return { register: () => () => undefined };
}

function warn(why: string): void {
  process.emitWarning(`connectx/register is off, and connections from a localAddress are as without it: ${why}`, {
    type: 'ConnectxWarning',
    code: 'CONNECTX_REGISTER_OFF',
  });
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

class Hook implements Registry {
  readonly #native: Native;
  readonly #entries: Entry[] = [];
  #inForce: Sources = 'none';
  #core: Connect | undefined;
  #hook: Connect | undefined;
  #isBroken = false;

  constructor(native: Native) {
    this.#native = native;
  }

  register(sources: Sources): () => void {
    const entry = { sources };
    this.#entries.push(entry);
    this.#update();
    return () => {
      const index = this.#entries.indexOf(entry);
      if (index < 0) return;
      this.#entries.splice(index, 1);
      this.#update();
    };
  }

  #update(): void {
    this.#inForce = this.#isBroken ? 'none' : (this.#entries.at(-1)?.sources ?? 'none');
    if (this.#inForce === 'none') this.#remove();
    else this.#install();
  }

  // net.Socket's own method, because it is public, because everything comes through it (net.connect, tls.connect, http2, a
  // library's `new net.Socket().connect()`), and because it tells at once what has no source. The diagnostics channel
  // `net.client.socket` has not got the options, and does not hear of the latter two on Node 20.
  #install(): void {
    if (this.#hook !== undefined) return;
    const { prototype } = CoreSocket;
    const core = prototype.connect as unknown as Connect;
    const connectPinned = (socket: net.Socket, options: PinnedOptions, args: readonly unknown[]) =>
      this.#connectPinned(core, socket, options, args);
    const isInForce = (options: PinnedOptions) => this.#isInForce(options);
    const hook = {
      connect(this: net.Socket, ...args: unknown[]): net.Socket {
        const options = pinnedOptions(args);
        if (options === undefined || !isInForce(options)) return Reflect.apply(core, this, args);
        return connectPinned(this, options, args);
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

  #isInForce({ localAddress }: PinnedOptions): boolean {
    return includes(this.#inForce, localAddress);
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
    this.#update();
    warn(what);
  };
}

function sharedRegistry(): Registry {
  const holder: SocketClass = CoreSocket;
  const shared = holder[kRegistry];
  if (shared !== undefined) return shared;
  const sources = fromEnvironment();
  const created = createRegistry();
  created.register(sources);
  Object.defineProperty(holder, kRegistry, { value: created });
  return created;
}

const registry = sharedRegistry();
