// undici's connector with a source. Everything but the source is undici's own: its connector opens the socket, and the source is
// put under it before it connects.
import { createRequire } from 'node:module';
import { isIP, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { ConnectxError } from './errors/connectx_error';
import { invalidType } from './errors/argument_errors';
import { dnsLookup } from './connect/dns';
import { mergeSource, readSource, type Source, type SourceOptions, withoutSource } from './source/options';
import { familyOf } from './source/resolve';
import { connectionFrom } from './tcp/connection';
import { attach } from './tcp/socket';
import { type Lookup, lookupOf, notAtOnce } from './tcp/options';

export type { SourceOptions } from './source/options';

/** Options of {@link buildConnector}: those of undici's function of this name, and the source options. */
export interface ConnectorOptions
  extends
    Omit<ConnectionOptions, keyof SourceOptions | 'port' | 'session' | 'timeout' | 'path' | 'socket'>,
    Omit<Partial<TcpNetConnectOpts>, keyof SourceOptions | keyof ConnectionOptions | 'port'>,
    SourceOptions {
  /** Offer HTTP/2. Default: undici's, which is false in undici 6 and 7 and true in undici 8. */
  allowH2?: boolean | undefined;
  /** Rather HTTP/2 than HTTP/1.1 (undici 8). Default false. */
  preferH2?: boolean | undefined;
  /** HTTP/2 without TLS (undici 7). Default false. */
  useH2c?: boolean | undefined;
  /** How many TLS sessions are kept for reuse. Default 100; 0: none. */
  maxCachedSessions?: number | undefined;
  /** A Unix socket to connect to. Source options then have no effect. */
  socketPath?: string | null | undefined;
  /** Until the socket is connected, in ms; 0: without end. Default 10,000. */
  timeout?: number | undefined;
  /** A TLS session to resume; `null`: none. */
  session?: Buffer | null | undefined;
  /** Not looked at: the target has the port. */
  port?: number | string | undefined;
  /** The undici that is to connect, where several are installed. Default: what `require('undici')` gives. */
  undici?: UndiciModule | undefined;
}

/** What is needed of undici. */
export interface UndiciModule {
  /** undici's own. */
  buildConnector: (options: never) => unknown;
}

/** Where undici's dispatchers want to be connected to. */
export interface ConnectorTarget {
  /** A host name or an address. */
  hostname: string;
  /** `hostname`, with the port. */
  host?: string | undefined;
  /** `http:` or `https:`. */
  protocol: string;
  /** A number as text; empty for the port of the protocol. */
  port: string;
  /** For TLS (SNI). */
  servername?: string | undefined;
  /** A `localAddress` of the dispatcher comes before that of the connector. */
  localAddress?: string | null | undefined;
  /** A Unix socket to connect to. */
  socketPath?: string | null | undefined;
  /** The socket of a tunnel, for TLS to go over. */
  httpSocket?: Socket | undefined;
}

/** Called once, with an error or with the connected socket. */
export type ConnectorCallback = (...result: [error: null, socket: Socket] | [error: Error, socket: null]) => void;

/** What undici's dispatchers take as their option `connect`. */
export type Connector = (target: ConnectorTarget, callback: ConnectorCallback) => Socket;

/**
 * A `connect` function for undici's `Client`, `Pool` and `Agent`, whose connections come from a source. It wraps undici's own
 * connector: connect timeout, keep-alive, TLS session cache, ALPN and everything else are undici's.
 *
 * A dispatcher gives its own `connectTimeout`, `allowH2`, `maxCachedSessions`, `autoSelectFamily` and `socketPath` to the
 * connector that it makes itself, and not to a function; so give them to this one (`connectTimeout` as `timeout`).
 *
 * Bad options throw at once, one of Node's argument errors or undici's own; without undici it is
 * `ERR_CONNECTX_UNSUPPORTED`. Errors of connecting are those of the request, with a `reason`.
 *
 * @example
 * const dispatcher = new Agent({ connect: buildConnector({ localAddress: '192.0.2.7' }) });
 * const response = await fetch('https://example.org/', { dispatcher });
 */
export function buildConnector(options: ConnectorOptions = {}): Connector {
  const { undici, ...given } = options;
  const sourceOptions = mergeSource(given, {});
  const ownSource = readSource(sourceOptions);
  connectionFrom(ownSource);
  const current: Current = { source: ownSource, port: undefined };
  const build = undiciBuildConnector(undici) as (options: object) => Connector;
  const connect = build({ ...withoutSource(given), lookup: lookupFor(current, given.lookup) });
  if (given.socketPath) return connect;

  return (target, callback) => {
    // The TLS end of a tunnel: the socket is connected already.
    if (target.httpSocket) return connect(target, callback);
    const { localAddress, servername, ...rest } = target;
    const source = localAddress ? readSource({ ...sourceOptions, localAddress }) : ownSource;
    const connection = connectionFrom(source);
    current.source = source;
    current.port = target.port || (target.protocol === 'https:' ? 443 : 80);
    // For an address with a server name and without TLS, undici 8 makes up a lookup of its own, which answers at once.
    const named = servername === undefined || (target.protocol !== 'https:' && isIP(target.hostname) !== 0);
    const socket = connect(named ? rest : { ...rest, servername }, callback);
    attach(socket, connection, { host: target.hostname, port: current.port });
    return socket;
  };
}

/** The connect call that is being made: core asks for the addresses of a name before it returns. */
interface Current {
  source: Source;
  port: number | string | undefined;
}

function lookupFor(current: Current, given: unknown): unknown {
  // Core complains about it.
  if (given !== undefined && given !== null && typeof given !== 'function') return given;
  const lookup = (given as Lookup | undefined | null) ?? dnsLookup();
  return ((host, options, callback) => {
    const { source, port } = current;
    const family = familyOf(source);
    const usable = family === undefined ? lookup : (lookupOf(family, lookup, source, port) as Lookup);
    notAtOnce(usable)(host, options, callback);
  }) satisfies Lookup;
}

function undiciBuildConnector(undici: UndiciModule | undefined): unknown {
  const { buildConnector: build } = undici ?? installedUndici();
  if (typeof build !== 'function') throw invalidType('options.undici.buildConnector', 'of type function', build);
  return build;
}

function installedUndici(): Partial<UndiciModule> {
  try {
    // Not at the top: it is not needed where one is handed in, and may be missing then.
    return createRequire(__filename)('undici') as Partial<UndiciModule>;
  } catch (cause) {
    const message = 'connectx/undici needs undici: install it beside connectx, or hand it in as options.undici';
    throw new ConnectxError(message, { code: 'ERR_CONNECTX_UNSUPPORTED', reason: 'undici' }, cause);
  }
}
