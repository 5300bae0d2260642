// net.Socket with a source: everything that is not the source is left to Node's core.
import { channel } from 'node:diagnostics_channel';
import type { LookupAddress } from 'node:dns';
import type * as net from 'node:net';
import { connect as coreConnect, Socket as CoreSocket } from 'node:net';
import type { Family } from './address';
import { Attempt } from './attempt';
import type { HandleOwner, TcpHandle } from './core_handle';
import { ConnectxError, invalidValue, noSource, unsupported } from './errors';
import { familyMismatch } from './explain';
import { FallbackAttempt, refuseOnFallback } from './fallback';
import { tcpFeatures } from './kernel';
import { type Native, nativeOrFallback, TcpFeature } from './native';
import { SourcePool } from './pool';
import { dnsLookup } from './resolver';
import {
  familyOf,
  isPlain,
  isSourceOption,
  mergeSource,
  neededFamily,
  readSource,
  type Source,
  type SourceOptions,
} from './source';
import { beginTrace, type ConnectTrace, finished, returned, threw, type TracedAttempt } from './trace';

/** Options of {@link connect}: those of `net.connect` for TCP, and the source options. */
export type ConnectOptions = Omit<net.TcpNetConnectOpts, 'localAddress' | 'localPort'> & SourceOptions;

/** Options of `new Socket()`: those of `net.Socket`, and the source options, which `connect()` then applies. */
export type SocketOptions = net.SocketConstructorOpts & SourceOptions;

type ConnectionListener = () => void;
type AnyAttempt = Attempt | FallbackAttempt;

/** What a socket remembers of its source between `connect()` and the end of connecting. */
export interface Connecting {
  readonly source: Source;
  readonly native: Native | undefined;
  /** The last one, and those before it: mostly there are none. */
  attempt: AnyAttempt | undefined;
  earlier: readonly AnyAttempt[];
  /** Whether core has announced an attempt. */
  announced: boolean;
  /** Where somebody listens. */
  trace: ConnectTrace | undefined;
  /** The attempt that has made the connection, if its source came from a pool. */
  winner: AnyAttempt | undefined;
}

// Not private fields: net.Socket's constructor already emits and destroys, before private fields exist.
const kOptions = Symbol('connectx.options');
const kConnecting = Symbol('connectx.connecting');

/**
 * A `net.Socket` whose `connect()` honours the source options, given to the constructor or to `connect()`.
 *
 * @example
 * const socket = new Socket({ localAddress: '192.0.2.7' });
 * socket.connect(443, 'example.org');
 */
export class Socket extends CoreSocket {
  /** @internal */
  declare [kOptions]: (SocketOptions & { handle?: unknown }) | undefined;
  /**
   * Undefined when there is nothing to be done any more.
   *
   * @internal
   */
  declare [kConnecting]: Connecting | undefined;

  /** Throws one of Node's argument errors when a source option is wrong. */
  constructor(options?: SocketOptions) {
    readSource(options);
    super(forConstructor(options));
    this[kOptions] = options;
    this[kConnecting] = undefined;
  }

  /** Connects from the source that is given here, option by option, or was given to the constructor. Throws when an option is wrong. */
  override connect(options: net.SocketConnectOpts | ConnectOptions, connectionListener?: ConnectionListener): this;
  /** Connects to a port of a host. */
  override connect(port: number, host: string, connectionListener?: ConnectionListener): this;
  /** Connects to a port of this machine. */
  override connect(port: number, connectionListener?: ConnectionListener): this;
  /** Connects to a Unix socket, which has no source. */
  override connect(path: string, connectionListener?: ConnectionListener): this;
  override connect(...args: unknown[]): this {
    const { options, listener } = readConnectArguments(args);
    start(this, options, listener);
    return this;
  }

  /** @internal */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const connecting = this[kConnecting];
    if (connecting !== undefined && !hears(this, connecting, event, args[0], args[1], args[2], args[3])) return false;
    return super.emit(event, ...args);
  }

  // Not _destroy(): by then the error is already what `socket.errored` says.
  override destroy(error?: Error): this {
    const connecting = this[kConnecting];
    if (connecting === undefined || connecting.winner !== undefined) return super.destroy(error);
    this[kConnecting] = undefined;
    const final = error && finalError(connecting, error);
    givenUp(connecting, final);
    return super.destroy(final);
  }
}

type CoreConnect = (this: net.Socket, options: object, listener: ConnectionListener | undefined) => unknown;

function start(socket: Socket, options: ConnectArguments['options'], listener: ConnectionListener | undefined): void {
  const coreConnect = CoreSocket.prototype.connect as CoreConnect;
  if (options.path) {
    remember(socket, undefined);
    coreConnect.call(socket, options, listener);
    return;
  }
  const source = sourceFor(options, socket[kOptions]);
  const connecting = connectingFrom(source);
  remember(socket, connecting);
  const trace = beginTrace('tcp', options.host, options.port);
  connecting.trace = trace;
  try {
    coreConnect.call(socket, forCore(options, source), listener);
  } catch (error) {
    connecting.trace = undefined;
    threw(trace, error);
    throw error;
  }
  assertHandle(socket);
  returned(trace);
}

// What went on here before is over, or fails now.
function remember(socket: Socket, connecting: Connecting | undefined): void {
  if (socket[kConnecting] !== undefined) releaseAll(socket[kConnecting]);
  socket[kConnecting] = connecting;
}

// Before anybody else hears of it. False: nobody else does.
function hears(
  socket: Socket,
  connecting: Connecting,
  event: string | symbol,
  address: unknown,
  port: unknown,
  family: unknown,
  error: unknown,
): boolean {
  if (connecting.winner !== undefined) {
    if (event === 'close') {
      socket[kConnecting] = undefined;
      connecting.winner.release();
    }
  } else if (event === 'connectionAttempt') {
    beginAttempt(socket, connecting, address as string, port as number, family as Family);
  } else if (event === 'connectionAttemptFailed') {
    completeError(connecting, error);
    releaseAttempt(connecting, address, port);
  } else if (event === 'connectionAttemptTimeout') releaseAttempt(connecting, address, port);
  else if (event === 'connect') {
    connecting.winner = keepWinner(socket, connecting);
    if (connecting.winner === undefined) socket[kConnecting] = undefined;
    if (connecting.trace !== undefined) traceConnected(connecting.trace, connecting, socket);
    if (!connecting.announced) {
      socket.destroy(hookIsGone());
      return false;
    }
  }
  return true;
}

/** The source options of a connect, and of what the socket was made with those that it lacks. */
function sourceFor(options: ConnectOptions, own: (SocketOptions & { handle?: unknown }) | undefined): Source {
  const source = readSource(own === undefined || own === options ? options : mergeSource(own, options));
  // Core then connects that very descriptor.
  if (!isPlain(source) && own && (own.fd !== undefined || own.handle)) {
    throw invalidValue('options', options, 'must not have source options beside fd or handle');
  }
  return source;
}

function hookIsGone(): ConnectxError {
  const why = `Node ${process.versions.node} does not announce its connection attempts, which connectx relies on`;
  return unsupported('connectionAttempt', why);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('localAddress() threw', { cause: thrown });
}

interface ConnectArguments {
  options: ConnectOptions & { path?: string | undefined };
  listener: ConnectionListener | undefined;
}

// As net._normalizeArgs does it, whose answer is also taken: [options, listener], marked with a symbol.
function readConnectArguments(args: readonly unknown[]): ConnectArguments {
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
function forConstructor(options: SocketOptions | undefined): SocketOptions | undefined {
  return typeof options === 'object' && (options as unknown) !== null && isConnectOnly(options) ? undefined : options;
}

/**
 * The options for core: without the source, which core would bind a second time, and for which it would turn Happy
 * Eyeballs off; and with a lookup that leaves out the families for which there is no source.
 */
function forCore(options: ConnectOptions, source: Source): object {
  const lookup = lookupFor(options, source);
  const isAsGiven = lookup === options.lookup;
  if (isAsGiven && options.localAddress === undefined && options.localPort === undefined) return options;
  return isConnectOnly(options) ? connectOptionsOf(options, lookup) : withoutSource(options, lookup);
}

/** The same for what opens a socket by itself, `tls.connect` for one: everything but the source, and for {@link attach}. */
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

function handleOf(socket: net.Socket): Partial<TcpHandle> | null {
  return (socket as unknown as { _handle: Partial<TcpHandle> | null })._handle;
}

const NONE: readonly AnyAttempt[] = [];

function attemptsOf({ attempt, earlier }: Connecting): readonly AnyAttempt[] {
  return attempt === undefined ? earlier : [...earlier, attempt];
}

/** What a socket is going to remember. Throws when the source asks for something that cannot be had here. */
export function connectingFrom(source: Source): Connecting {
  const native = nativeOrFallback();
  if (native === undefined) refuseOnFallback(source);
  else if (source.extras?.fastOpen === true) requireFastOpen(native);
  return { source, native, attempt: undefined, earlier: NONE, announced: false, trace: undefined, winner: undefined };
}

/**
 * Gives a socket of core's (a TLSSocket, for one) its source. Core has just begun to connect it, without the source options
 * (see {@link forCoreToOpen}), and must not have attempted an address yet, as it does not before the next tick as long as the lookup
 * does not answer at once (see {@link notAtOnce}).
 */
export function attach(socket: net.Socket, connecting: Connecting, where: { host?: unknown; port?: unknown }): void {
  if (socket.destroyed) return;
  if (!socket.connecting || (handleOf(socket)?.fd ?? -1) >= 0) {
    socket.destroy(hookIsGone());
    return;
  }
  assertHandle(socket);
  connecting.trace = beginTrace('tcp', where.host, where.port);
  returned(connecting.trace);
  let current: Connecting | undefined = connecting;
  const attempt = (address: string, at: number, family: Family): void => {
    beginAttempt(socket, connecting, address, at, family);
  };
  const attemptFailed = (address: string, at: number, _family: Family, error: unknown): void => {
    completeError(connecting, error);
    releaseAttempt(connecting, address, at);
  };
  const attemptTimeout = (address: string, at: number): void => {
    releaseAttempt(connecting, address, at);
  };
  socket.prependListener('connectionAttempt', attempt);
  socket.prependListener('connectionAttemptFailed', attemptFailed);
  socket.prependListener('connectionAttemptTimeout', attemptTimeout);
  socket.prependOnceListener('connect', () => {
    current = undefined;
    socket
      .off('connectionAttempt', attempt)
      .off('connectionAttemptFailed', attemptFailed)
      .off('connectionAttemptTimeout', attemptTimeout);
    const pooled = keepWinner(socket, connecting);
    if (connecting.trace !== undefined) traceConnected(connecting.trace, connecting, socket);
    if (pooled !== undefined) {
      socket.prependOnceListener('close', () => {
        pooled.release();
      });
    }
    if (!connecting.announced) socket.destroy(hookIsGone());
  });
  // As Socket.destroy(), for this one socket; it cannot be had from an event, since `socket.errored` is there before.
  const { destroy } = socket;
  const value = function (this: net.Socket, error?: Error): net.Socket {
    const unfinished = current;
    current = undefined;
    const final = unfinished && error ? finalError(unfinished, error) : error;
    if (unfinished !== undefined) givenUp(unfinished, final);
    return destroy.call(this, final);
  };
  Object.defineProperty(socket, 'destroy', { value, configurable: true, writable: true });
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

function requireFastOpen(native: Native): void {
  if ((tcpFeatures(native) & TcpFeature.fastOpenConnect) !== 0) return;
  throw unsupported('fastOpen', 'this kernel has no TCP_FASTOPEN_CONNECT (Linux 4.11)');
}

// Each by its name: in a loop over the names, V8 would look each of them up anew.
function missingMethod({ open, bind, bind6, connect, connect6 }: Partial<TcpHandle>): string | undefined {
  if (typeof open !== 'function') return 'open';
  if (typeof bind !== 'function') return 'bind';
  if (typeof bind6 !== 'function') return 'bind6';
  if (typeof connect !== 'function') return 'connect';
  return typeof connect6 === 'function' ? undefined : 'connect6';
}

/** Fails loudly where a Node release no longer has what an attempt relies on. */
function assertHandle(socket: net.Socket): void {
  const handle = handleOf(socket);
  if (handle === null || socket.destroyed) return;
  const missing = missingMethod(handle);
  if (missing === undefined) return;
  socket.destroy(unsupported('tcp-handle', `the TCP handles of Node ${process.versions.node} have no ${missing}()`));
}

function beginAttempt(socket: net.Socket, connecting: Connecting, address: string, port: number, family: Family): void {
  connecting.announced = true;
  const handle = handleOf(socket) as TcpHandle;
  // An adopted descriptor, or one that is connecting or connected already: core knows what to do or to say.
  if (handle.fd >= 0) return;
  const { native, source } = connecting;
  const attempt =
    native === undefined
      ? new FallbackAttempt(source, handle, { address, port, family })
      : new Attempt(native, source, socket as unknown as HandleOwner, address, port, family);
  if (connecting.attempt !== undefined) connecting.earlier = attemptsOf(connecting);
  connecting.attempt = attempt;
  attempt.begin();
}

function releaseAll(connecting: Connecting): void {
  connecting.attempt?.release();
  for (const attempt of connecting.earlier) attempt.release();
}

function givenUp(connecting: Connecting, error: Error | undefined): void {
  releaseAll(connecting);
  const { trace } = connecting;
  if (trace === undefined) return;
  trace.attempts = attemptsOf(connecting).map(traced);
  trace.error = error;
  finished(trace);
}

function traced({ destination, localAddress, technique, failure }: AnyAttempt): TracedAttempt {
  return { destination, localAddress: localAddress ?? undefined, technique, reason: failure?.reason };
}

function traceConnected(trace: ConnectTrace, connecting: Connecting, socket: net.Socket): void {
  const attempts = attemptsOf(connecting);
  const winner = attempts.find((attempt) => attempt.isOf(handleOf(socket)));
  const { localAddress: address = '', localPort: port = 0 } = socket;
  trace.attempts = attempts.map(traced);
  trace.source = { address, port };
  trace.destination = winner?.destination;
  trace.technique = winner?.technique;
  finished(trace);
}

function releaseAttempt(connecting: Connecting, address: unknown, port: unknown): void {
  for (const attempt of attemptsTo(connecting, address, port)) attempt.release();
}

/** Of several attempts only one has made the connection: that one, if its source came from a pool. */
function keepWinner(socket: net.Socket, connecting: Connecting): AnyAttempt | undefined {
  if (!(connecting.source.address instanceof SourcePool)) return undefined;
  let winner: AnyAttempt | undefined;
  for (const attempt of attemptsOf(connecting)) {
    if (attempt.isOf(handleOf(socket))) winner = attempt;
    else attempt.release();
  }
  return winner;
}

/** The error that a connecting socket ends with: core's own, completed, or what a source function has thrown. */
function finalError(connecting: Connecting, error: Error): Error {
  const errors: unknown[] = error instanceof AggregateError ? error.errors : [error];
  for (const one of errors) {
    const thrown = completeError(connecting, one)?.thrown;
    if (thrown !== undefined) return asError(thrown.error);
  }
  if (error instanceof AggregateError) {
    // As core does it with the code.
    const [first] = errors;
    if (first instanceof ConnectxError && first.reason !== undefined) Object.assign(error, { reason: first.reason });
  }
  return error;
}

function completeError(connecting: Connecting, error: unknown): AnyAttempt | undefined {
  if (!(error instanceof Error)) return undefined;
  const { address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const attempt = attemptOf(connecting, address, port);
  attempt?.complete(error);
  return attempt;
}

function attemptsTo(connecting: Connecting, address: unknown, port: unknown): AnyAttempt[] {
  return attemptsOf(connecting).filter(
    ({ destination }) => destination.address === address && destination.port === port,
  );
}

// A list of addresses may have the same one twice.
function attemptOf(connecting: Connecting, address: unknown, port: unknown): AnyAttempt | undefined {
  const same = attemptsTo(connecting, address, port);
  return same.find(({ failure, thrown }) => (failure ?? thrown) !== undefined) ?? same.at(-1);
}

const clientSockets = channel('net.client.socket');

// Where Socket.prototype.connect does not announce the socket itself (Node 20), net.connect does.
const netConnectAnnounces = /netClientSocketChannel/.test(coreConnect.toString());

/**
 * Like `net.connect()`, and more: a connection whose source is pinned without taking its port away from every other
 * destination. Returns at once, with an ordinary `net.Socket`.
 *
 * Bad options throw one of Node's argument errors; everything else is an `'error'` event, with a `reason` where
 * connectx knows one (see {@link ConnectxError}).
 *
 * @param options those of `net.connect`, and the source options; or port and host; or a path
 * @param connectionListener is added as a once-listener of `'connect'`
 * @example
 * const socket = connect({ host: 'example.org', port: 443, localAddress: '192.0.2.7' });
 * socket.on('error', (error) => {
 *   if (error instanceof ConnectxError) console.error(error.code, error.reason);
 * });
 */
export function connect(options: ConnectOptions | net.NetConnectOpts, connectionListener?: ConnectionListener): Socket;
export function connect(port: number, host?: string, connectionListener?: ConnectionListener): Socket;
export function connect(port: number, connectionListener?: ConnectionListener): Socket;
export function connect(path: string, connectionListener?: ConnectionListener): Socket;
export function connect(...args: unknown[]): Socket {
  const { options, listener } = readConnectArguments(args);
  const socket = new Socket(options);
  if (netConnectAnnounces && clientSockets.hasSubscribers) clientSockets.publish({ socket });
  if (options.timeout) socket.setTimeout(options.timeout);
  start(socket, options, listener);
  return socket;
}

/** The same function as {@link connect}. */
export const createConnection = connect;
