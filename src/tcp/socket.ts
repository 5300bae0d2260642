// net.Socket with a source: everything that is not the source is left to Node's core.
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import type * as net from 'node:net';
import { Socket as CoreSocket } from 'node:net';
import { standBeside } from './beside';
import { assertHandle, type Connection, connectionFrom, handleOf, hookIsGone } from './connection';
import { invalidValue } from '../errors/argument_errors';
import type { ErrorDetails } from '../errors/connectx_error';
import { isPlain, readSource, type Source } from '../source/options';
import {
  type ConnectArguments,
  type ConnectionListener,
  type ConnectOptions,
  forConstructor,
  forCore,
  hasDescriptor,
  readConnectArguments,
  type SocketOptions,
  sourceFor,
} from './options';
import { markOwn } from './own';
import { beginTrace, returned, threw } from '../connect/trace';

// Not private fields: net.Socket's constructor already emits and destroys, before private fields exist.
const kOptions = Symbol('connectx.options');
const kSource = Symbol('connectx.source');
const kConnection = Symbol('connectx.connection');

/** What the listeners of a {@link Socket} get: as in `net.Socket`, but an error may also have a `reason`. */
interface Events {
  close: [hadError: boolean];
  connect: [];
  connectionAttempt: [ip: string, port: number, family: number];
  connectionAttemptFailed: [ip: string, port: number, family: number, error: Error & Partial<ErrorDetails>];
  connectionAttemptTimeout: [ip: string, port: number, family: number];
  data: [data: Buffer];
  drain: [];
  end: [];
  error: [error: Error & Partial<ErrorDetails>];
  lookup: [error: Error | null, address: string, family: number | string | null, host: string];
  ready: [];
  timeout: [];
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as Node's own types have it for events that they do not know
type AnyListener = (...args: any[]) => void;

// An interface between the two classes, not an intersection: the compiler and linters still see that a Socket is a net.Socket.
interface TypedSocket extends net.Socket {
  /** Adds a listener; that of `'error'` gets what an error of connectx can tell. */
  addListener<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): this;
  /** Adds a listener, of any other event. */
  addListener(event: string | symbol, listener: AnyListener): this;
  /** Adds a listener; that of `'error'` gets what an error of connectx can tell. */
  on<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): this;
  /** Adds a listener, of any other event. */
  on(event: string | symbol, listener: AnyListener): this;
  /** Adds a listener for one time; that of `'error'` gets what an error of connectx can tell. */
  once<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): this;
  /** Adds a listener for one time, of any other event. */
  once(event: string | symbol, listener: AnyListener): this;
  /** Adds a listener before the others; that of `'error'` gets what an error of connectx can tell. */
  prependListener<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): this;
  /** Adds a listener before the others, of any other event. */
  prependListener(event: string | symbol, listener: AnyListener): this;
  /** Adds a listener for one time, before the others; that of `'error'` gets what an error of connectx can tell. */
  prependOnceListener<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): this;
  /** Adds a listener for one time, before the others, of any other event. */
  prependOnceListener(event: string | symbol, listener: AnyListener): this;
}

const BaseSocket = CoreSocket as Pick<typeof CoreSocket, keyof typeof CoreSocket> &
  (new (options?: net.SocketConstructorOpts) => TypedSocket);

/**
 * A `net.Socket` whose `connect()` honours the source options, given to the constructor or to `connect()`.
 *
 * @example
 * const socket = new Socket({ localAddress: '192.0.2.7' });
 * socket.connect(443, 'example.org');
 */
export class Socket extends BaseSocket {
  /** @internal */
  declare [kOptions]: (SocketOptions & { handle?: unknown }) | undefined;
  /**
   * What is in {@link kOptions} of the source, read once.
   *
   * @internal
   */
  declare [kSource]: Source;
  /**
   * While it connects.
   *
   * @internal
   */
  declare [kConnection]: Connection | undefined;

  /** Throws one of Node's argument errors when a source option is wrong. */
  constructor(options?: SocketOptions) {
    const source = readSource(options);
    super(forConstructor(options));
    this[kOptions] = options;
    this[kSource] = source;
    this[kConnection] = undefined;
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
    const connection = this[kConnection];
    if (connection !== undefined) {
      if (event === 'connect') this[kConnection] = undefined;
      if (!connection.onEvent(this, event, args[0], args[1], args[2], args[3])) return false;
    }
    return super.emit(event, ...args);
  }

  // Not _destroy(): by then the error is already what `socket.errored` says.
  override destroy(error?: Error): this {
    const connection = this[kConnection];
    if (connection === undefined) return super.destroy(error);
    if (connection.isHeldBack(error)) return this;
    this[kConnection] = undefined;
    return super.destroy(connection.onDestroy(error));
  }
}

markOwn(Socket);

type CoreConnect = (this: net.Socket, options: object, listener: ConnectionListener | undefined) => unknown;

function start(
  socket: Socket,
  options: ConnectArguments['options'],
  listener: ConnectionListener | undefined,
  known?: Source,
): void {
  const coreConnect = CoreSocket.prototype.connect as CoreConnect;
  if (options.path) {
    socket[kConnection] = undefined;
    coreConnect.call(socket, options, listener);
    return;
  }
  const own = socket[kOptions];
  const source = known ?? sourceFor(options, own);
  if (!isPlain(source) && hasDescriptor(own)) {
    throw invalidValue('options', options, 'must not have source options beside fd or handle');
  }
  const connection = connectionFrom(source);
  // What went on here before is over, or fails now.
  socket[kConnection] = connection;
  if (connection === undefined) {
    coreConnect.call(socket, forCore(options, source), listener);
    return;
  }
  const trace = beginTrace('tcp', options.host, options.port);
  connection.trace = trace;
  try {
    coreConnect.call(socket, forCore(options, source), listener);
  } catch (error) {
    connection.trace = undefined;
    threw(trace, error);
    throw error;
  }
  assertHandle(socket);
  returned(trace);
}

/**
 * Gives a socket of core's (a TLSSocket, for one) its source. Core has just begun to connect it, without the source options
 * (see {@link forCoreToOpen}), and must not have attempted an address yet, as it does not before the next tick as long as the lookup
 * does not answer at once (see {@link notAtOnce}).
 */
export function attach(
  socket: net.Socket,
  connection: Connection | undefined,
  where: { host?: unknown; port?: unknown },
): void {
  if (connection === undefined || socket.destroyed) return;
  if (!socket.connecting || (handleOf(socket)?.fd ?? -1) >= 0) {
    socket.destroy(hookIsGone());
    return;
  }
  connection.trace = beginTrace('tcp', where.host, where.port);
  standBeside(socket, connection);
  assertHandle(socket);
  returned(connection.trace);
}

const CLIENT_SOCKETS = 'net.client.socket';
const clientSockets = channel(CLIENT_SOCKETS);

/**
 * Whether `net.Socket.prototype.connect` announces the socket on the channel. Where it does not (Node 20), `net.connect` does, and so do we.
 * Undefined: nobody has listened yet. What the functions are like does not tell: monitoring tools put their own in the place of them.
 */
let socketAnnouncesItself: boolean | undefined;

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
  const isHeard = clientSockets.hasSubscribers;
  if (isHeard && socketAnnouncesItself === false) clientSockets.publish({ socket });
  if (options.timeout) socket.setTimeout(options.timeout);
  // The constructor has just read it.
  const source = socket[kSource];
  if (!isHeard || socketAnnouncesItself !== undefined) {
    start(socket, options, listener, source);
    return socket;
  }
  socketAnnouncesItself = isAnnounced(socket, () => {
    start(socket, options, listener, source);
  });
  if (!socketAnnouncesItself) clientSockets.publish({ socket });
  return socket;
}

/** Whether anybody announces the socket while this runs. */
function isAnnounced(socket: Socket, run: () => void): boolean {
  let heard = false;
  const listener = (message: unknown): void => {
    heard ||= (message as { socket?: unknown }).socket === socket;
  };
  subscribe(CLIENT_SOCKETS, listener);
  try {
    run();
  } finally {
    unsubscribe(CLIENT_SOCKETS, listener);
  }
  return heard;
}

/** The same function as {@link connect}. */
export const createConnection = connect;
