// http.Agent and https.Agent with a source. They open connections as core's agents do, by core's own code; the source is put
// under the socket before it connects.
import type * as http from 'node:http';
import { Agent } from 'node:http';
import type * as https from 'node:https';
import { Agent as TlsAgent } from 'node:https';
import type * as net from 'node:net';
import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { invalidValue } from './errors/argument_errors';
import { isPlain, mergeSource, readSource, type SourceOptions, withoutSource } from './source/options';
import { StickySource } from './source/sticky';
import { connectionFrom } from './tcp/connection';
import { attach } from './tcp/socket';
import { type ConnectOptions, forCoreToOpen } from './tcp/options';

export type { SourceOptions } from './source/options';

/** Options of {@link HttpAgent}: those of `http.Agent`, and the source options. */
export type HttpAgentOptions = Omit<http.AgentOptions, keyof SourceOptions> & SourceOptions;

/** Options of {@link HttpsAgent}: those of `https.Agent`, and the source options. */
export type HttpsAgentOptions = Omit<https.AgentOptions, keyof SourceOptions> & SourceOptions;

/** Options of {@link HttpAgent.createConnection}. */
export type HttpConnectionOptions = Omit<http.ClientRequestArgs, keyof SourceOptions> & SourceOptions;

/** Options of {@link HttpsAgent.createConnection}: also those of `tls.connect`. */
export type HttpsConnectionOptions = Omit<https.RequestOptions, keyof SourceOptions> &
  Omit<ConnectionOptions, keyof https.RequestOptions> &
  SourceOptions;

/** Options of `http.request()` and `http.get()` with an {@link HttpAgent}: those of core, and the source options for this request. */
export type HttpRequestOptions = Omit<http.RequestOptions, keyof SourceOptions | 'agent'> &
  SourceOptions & {
    /** The agent that reads the source options. */
    agent: HttpAgent;
  };

/** Options of `https.request()` and `https.get()` with an {@link HttpsAgent}: those of core, and the source options for this request. */
export type HttpsRequestOptions = Omit<https.RequestOptions, keyof SourceOptions | 'agent'> &
  SourceOptions & {
    /** The agent that reads the source options. */
    agent: HttpsAgent;
  };

type ResponseListener = (response: http.IncomingMessage) => void;

// With one of these agents a request may have any source option, with another agent only those that core knows.
declare module 'http' {
  function request(options: HttpRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function request(url: string | URL, options: HttpRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function get(options: HttpRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function get(url: string | URL, options: HttpRequestOptions, callback?: ResponseListener): http.ClientRequest;
}
declare module 'https' {
  function request(options: HttpsRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function request(url: string | URL, options: HttpsRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function get(options: HttpsRequestOptions, callback?: ResponseListener): http.ClientRequest;
  function get(url: string | URL, options: HttpsRequestOptions, callback?: ResponseListener): http.ClientRequest;
}

/** What core's agents call among themselves. */
interface AgentMethods {
  addRequest(request: http.ClientRequest, options: object): void;
  createConnection(options: object, callback?: Created): net.Socket;
  getName(options?: object): string;
}

type Created = (error: Error | null, socket: Duplex) => void;

/** The options of a request, as core's agents hand them to each other. */
type AgentRequest = ConnectOptions & { socket?: unknown; socketPath?: unknown; path?: unknown };

const core = Agent.prototype as unknown as AgentMethods;
const coreTls = TlsAgent.prototype as unknown as AgentMethods;

/**
 * An `http.Agent` whose connections come from a source: the source options are taken from the constructor, and for a single
 * request from the options of `http.request()`, option by option. (That is where it differs from core's, for which the
 * agent's options come first.) Kept-alive connections are used again only for requests with equal source options; functions
 * and pools are equal to themselves only.
 *
 * Bad source options throw one of Node's argument errors, here and from `http.request()`; errors of connecting are the
 * request's `'error'` event, with a `reason`.
 *
 * @example
 * const agent = new HttpAgent({ keepAlive: true, localAddress: '192.0.2.7' });
 * http.get('http://example.org/', { agent }, (response) => response.resume());
 */
export class HttpAgent extends Agent {
  readonly #source: SourceOptions | undefined;

  /** Throws one of Node's argument errors when a source option is wrong. */
  constructor(options?: HttpAgentOptions) {
    super(forCore(options));
    this.#source = sourceIn(options);
  }

  /** @internal */
  addRequest(request: http.ClientRequest, options: object | string, port?: number, localAddress?: string): void {
    core.addRequest.call(this, request, checked(this.#source, legacy(options, port, localAddress)));
  }

  /** Opens a connection for a request. Throws one of Node's argument errors when a source option is wrong. */
  override createConnection(options: HttpConnectionOptions, callback?: Created): net.Socket {
    return open(this.#source, options, (prepared) => core.createConnection.call(this, prepared, callback));
  }

  /** What connections are kept apart by: host, port and all of the source. */
  override getName(options?: http.ClientRequestArgs): string {
    return nameOf(options, (plain) => core.getName.call(this, plain));
  }
}

/**
 * An `https.Agent` whose connections come from a source; see {@link HttpAgent}. TLS sessions are cached by it as by core's,
 * for each source on its own.
 *
 * @example
 * const agent = new HttpsAgent({ keepAlive: true });
 * https.get('https://example.org/', { agent, localAddress: '192.0.2.7' }, (response) => response.resume());
 */
export class HttpsAgent extends TlsAgent {
  readonly #source: SourceOptions | undefined;

  /** Throws one of Node's argument errors when a source option is wrong. */
  constructor(options?: HttpsAgentOptions) {
    super(forCore(options));
    this.#source = sourceIn(options);
  }

  /** @internal */
  addRequest(request: http.ClientRequest, options: object | string, port?: number, localAddress?: string): void {
    coreTls.addRequest.call(this, request, checked(this.#source, legacy(options, port, localAddress)));
  }

  /** Opens a connection for a request. Throws one of Node's argument errors when a source option is wrong. */
  override createConnection(options: HttpsConnectionOptions, callback?: Created): net.Socket {
    return open(this.#source, options, (prepared) => coreTls.createConnection.call(this, prepared, callback));
  }

  /** What connections are kept apart by: host, port, the TLS options and all of the source. */
  override getName(options?: https.RequestOptions): string {
    return nameOf(options, (plain) => coreTls.getName.call(this, plain));
  }
}

// For core's agents the options of the agent override those of the request. So it does not get these.
function forCore<O extends object>(options: O | undefined): Omit<O, keyof SourceOptions> | undefined {
  return options && withoutSource(options);
}

// Undefined when there is nothing in it.
function sourceIn(options: object | undefined): SourceOptions | undefined {
  const source = mergeSource(options ?? {}, {});
  const read = readSource(source);
  if (isPlain(read) && read.overlap) return undefined;
  connectionFrom(read);
  return source;
}

// Core still knows addRequest(request, host, port, localAddress).
function legacy(options: object | string, port?: number, localAddress?: string): object {
  return typeof options === 'string' ? { host: options, port, localAddress } : options;
}

/** The request's options and, where these say nothing, the agent's source. Throws at once, also for requests that will wait. */
function checked(base: SourceOptions | undefined, options: object): object {
  const merged = merge(base, options);
  const source = readSource(merged);
  if (!isPlain(source)) connectionFrom(source);
  return merged;
}

function merge(base: SourceOptions | undefined, options: object): object {
  return base === undefined ? options : { ...options, ...mergeSource(base, options) };
}

function open(base: SourceOptions | undefined, given: object, connect: (options: object) => net.Socket): net.Socket {
  const options = merge(base, given) as AgentRequest;
  const source = readSource(options);
  // A path is that of a Unix socket here; a socket is connected, or is going to be, by whoever made it.
  if (options.path || options.socketPath || options.socket) {
    if (options.socket && !isPlain(source)) {
      throw invalidValue('options.socket', options.socket, 'cannot be combined with source options');
    }
    return connect(options);
  }
  const connection = connectionFrom(source);
  const socket = connect(forCoreToOpen(options, source));
  attach(socket, connection, options);
  return socket;
}

/** Core's name, and what core does not know of the source. */
function nameOf(options: object | undefined, coreName: (options?: object) => string): string {
  // How the addresses are attempted makes no difference to a connection that is there.
  const { localAddress, socketOptions, autoSelectFamilyOverlap: _, ...rest } = mergeSource(options ?? {}, {});
  const more = (Object.entries(rest) as [string, unknown][])
    .filter(([, value]) => !ABSENT.has(value))
    .map(([name, value]) => [name, typeof value === 'function' ? { is: identityOf(value) } : value]);
  const address = addressKey(localAddress);
  const settings = socketOptions?.map(({ level, name, value }) => [level, name, bytesOf(value)]) ?? [];
  if (address === undefined && more.length === 0 && settings.length === 0) return coreName(options);
  const known = address === undefined ? options : { ...options, localAddress: undefined };
  return `${coreName(known)}:${JSON.stringify([address, more, settings])}`;
}

const ABSENT: ReadonlySet<unknown> = new Set([undefined, null, false]);

// A Buffer with the same bytes is the same option.
function bytesOf(value: number | Uint8Array): number | number[] {
  return typeof value === 'number' ? value : [...value];
}

const identities = new WeakMap<object, number>();
let lastIdentity = 0;

// Undefined for what core's name has. Functions and pools count by identity; what only holds two addresses does not, because
// each request may have an object of its own.
function addressKey(value: SourceOptions['localAddress']): unknown {
  if (typeof value !== 'function' && (typeof value !== 'object' || (value as unknown) === null)) return undefined;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) {
    const { ipv4, ipv6 } = value as { ipv4?: string; ipv6?: string };
    return { ipv4, ipv6 };
  }
  // `sticky` makes a new one for each call.
  return value instanceof StickySource ? [identityOf(value.pool), value.key] : identityOf(value);
}

function identityOf(value: object): number {
  const identity = identities.get(value) ?? ++lastIdentity;
  identities.set(value, identity);
  return identity;
}
