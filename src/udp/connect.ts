// connectUdp and connectUdpSync: address after address of a name, source after source of a pool, until one of them connects.
import type * as dgram from 'node:dgram';
import { isIP } from 'node:net';
import type { Destination, Family } from '../values/address';
import { setImmediate } from '../values/timers';
import { invalidAddress, invalidValue } from '../errors/argument_errors';
import { ConnectxError, noSource } from '../errors/connectx_error';
import { refuseOnFallback } from '../connect/without_addon';
import { nextCandidate, type Sources, sourcesFor } from '../connect/candidates';
import { familyMismatch } from '../connect/explain';
import { beginTrace, finished, isTraced, returned, threw } from '../connect/trace';
import type { Source } from '../source/options';
import { isPool, type PoolLease } from '../source/pooled';
import { askFunction } from '../source/resolve';
import { abortable, abortError } from './abort';
import { connectOneInTurns, connectOneNow } from './connect_one';
import { type Done, startedWith } from './connect_outcome';
import { familyOfType, type Plan, readOptions, type UdpConnectOptions, type UdpRequest } from './options';
import { noAddress, resolveHost } from './resolve_host';
import { closeIfOpen, type UdpSocket } from './socket';
import { type Ends, traceConnected, traceFailed } from './traced';

/**
 * Opens a UDP socket that is bound and connected, and shares its local address and port with the sockets that are connected
 * to other destinations. No two cooperating sockets of this machine ever have the same 4-tuple.
 *
 * @returns a `dgram.Socket` of which `'connect'` has been emitted. Rejects with a {@link ConnectxError} (EAGAIN
 *   `ports-exhausted`, EADDRINUSE `tuple-in-use` or `port-locked`, EADDRNOTAVAIL `address-not-local`, EAFNOSUPPORT
 *   `family-mismatch`, ENETUNREACH ...), with the error of the lookup, or with an AbortError.
 * @throws one of Node's argument errors, at once, when an option is wrong
 * @example
 * const socket = await connectUdp({ host: '192.0.2.53', port: 53, localAddress: '192.0.2.7' });
 * socket.on('message', (message) => console.log(message));
 * socket.on('error', (error) => console.error(error)); // ECONNREFUSED: nobody listens there, now
 * socket.send(query);
 */
export function connectUdp(options: UdpConnectOptions): Promise<dgram.Socket> {
  const plan = readOptions(options, 'udp');
  return isSimple(plan) ? connectSimply(plan) : connectTraced(plan, connectOneInTurns);
}

// One address, one source, and nobody who listens.
function isSimple({ family, source, signal }: Plan): boolean {
  const { address } = source;
  return family !== 0 && signal === undefined && typeof address !== 'function' && !isPool(address) && !isTraced();
}

/** Without the layers of promises that it takes to go from address to address, and from source to source. */
function connectSimply(plan: Plan): Promise<UdpSocket> {
  try {
    const destination = destinationOf(plan, plan.host);
    return connectOneInTurns(plan, nextRequest(plan, destination, sourceTowards(plan, destination), undefined));
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what was thrown
    return Promise.reject(error);
  }
}

/** What comes of a connect: it may have its source from a pool. */
export interface Connected extends Ends {
  holdSource(lease: PoolLease): void;
}

/** Connects to one address from one source, in turns with the event loop. */
export type ConnectOne<S> = (plan: Plan, request: UdpRequest) => Promise<S>;

/** {@link connectUdp} for any kind of socket. */
export function connectTraced<S extends Connected>(plan: Plan, connectOne: ConnectOne<S>): Promise<S> {
  const trace = beginTrace('udp', plan.host, plan.port);
  const connecting = connectByName(plan, connectOne);
  if (trace === undefined) return connecting;
  returned(trace);
  return connecting.then(
    (socket) => {
      traceConnected(trace, plan, socket);
      finished(trace);
      return socket;
    },
    (error: unknown) => {
      traceFailed(trace, plan, error);
      finished(trace);
      throw error;
    },
  );
}

/**
 * Like {@link connectUdp}, at once: for a numeric host. It blocks for some ten microseconds as a rule; longer while it
 * searches a range that is nearly full (one look at the kernel's table of sockets), or waits for a port that is locked: at the longest for
 * some 300 ms where it is locked for good, and longer only while its holder changes.
 *
 * @throws one of Node's argument errors (ERR_INVALID_ARG_VALUE for a host that is a name), or a {@link ConnectxError}
 * @example
 * const socket = connectUdpSync({ host: '192.0.2.53', port: 53, localAddress: '192.0.2.7', localPort: 40000 });
 */
export function connectUdpSync(options: UdpConnectOptions): dgram.Socket {
  const plan = readOptions(options, 'udpSync');
  if (plan.family === 0) throw invalidValue('options.host', plan.host, 'must be a numeric address for connectUdpSync');
  const trace = beginTrace('udp', plan.host, plan.port);
  try {
    if (plan.signal?.aborted === true) throw abortError(plan.signal);
    const socket = startedWith<UdpSocket>(
      (done) => connectNow(plan, plan.host, done),
      (failed, error) => {
        if (error === undefined) return;
        closeIfOpen(failed);
        failed.emit('error', error);
      },
    );
    if (trace !== undefined) traceConnected(trace, plan, socket);
    returned(trace);
    return socket;
  } catch (error) {
    if (trace !== undefined) traceFailed(trace, plan, error);
    threw(trace, error);
    throw error;
  }
}

async function connectByName<S extends Connected>(plan: Plan, connectOne: ConnectOne<S>): Promise<S> {
  const { signal } = plan;
  try {
    signal?.throwIfAborted();
    if (plan.family !== 0) return await connectInTurns(plan, plan.host, connectOne);
    const addresses = await abortable(resolveHost(plan), signal);
    if (addresses.length === 0) throw noAddress(plan);
    let failure: unknown;
    for (const { address } of addresses) {
      if (isIP(address) === 0) throw invalidAddress(address);
      try {
        return await connectInTurns(plan, address, connectOne);
      } catch (error) {
        if (signal?.aborted === true) throw error;
        // Of several addresses the first one's error tells most, unless it could not be tried at all.
        if (failure === undefined || (failure as ConnectxError).reason === 'family-mismatch') failure = error;
      }
    }
    throw failure;
  } catch (error) {
    if (signal?.aborted === true) throw abortError(signal);
    throw error;
  }
}

/** Connects while the caller waits. `done` hears what dgram makes of the connected descriptor. */
function connectNow(plan: Plan, address: string, done: Done): UdpSocket {
  const destination = destinationOf(plan, address);
  const source = sourceTowards(plan, destination);
  const sources = sourcesFor(source, destination);
  for (;;) {
    const request = nextRequest(plan, destination, source, sources);
    try {
      return leased(connectOneNow(plan, request, done), sources);
    } catch (error) {
      throwUnlessAnother(sources, error);
    }
  }
}

/** Connects in turns with the event loop. */
async function connectInTurns<S extends Connected>(plan: Plan, address: string, connectOne: ConnectOne<S>): Promise<S> {
  const destination = destinationOf(plan, address);
  const source = sourceTowards(plan, destination);
  const sources = sourcesFor(source, destination);
  for (;;) {
    const request = nextRequest(plan, destination, source, sources);
    let socket: S | undefined;
    try {
      socket = await connectOne(plan, request);
    } catch (error) {
      throwUnlessAnother(sources, error);
      // Each of them may have searched a whole range.
      await nextTurn();
    }
    // It closes the socket, too: then 'close' has been emitted, which a lease of the source would wait for.
    plan.signal?.throwIfAborted();
    if (socket !== undefined) return leased(socket, sources);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function destinationOf(plan: Plan, address: string): Destination {
  const family = address === plan.host ? plan.family : isIP(address);
  return { address, port: plan.port, family: family as Family };
}

/** With what a source function gives for it. Throws where the destination and the type have no family in common, or there is no source. */
function sourceTowards(plan: Plan, destination: Destination): Source {
  const asked = familyOfType(plan.type);
  if (asked !== undefined && asked !== destination.family) throw mismatch(destination, plan);
  const source = askFunction(plan.source, destination);
  if (plan.signal?.aborted === true) throw abortError(plan.signal);
  if (source === undefined) throw mismatch(destination, plan);
  return source;
}

/** Throws where the destination and the source have no family in common, and when no source is left. */
function nextRequest(plan: Plan, destination: Destination, source: Source, sources: Sources | undefined): UdpRequest {
  const candidate = nextCandidate(source, destination, sources);
  // A strategy, or a function that chooses the ports, may have aborted.
  if (plan.signal?.aborted === true) throw abortError(plan.signal);
  if (candidate === undefined) throw sources?.exhaustedError() ?? mismatch(destination, plan);
  const { address: localAddress, source: withPorts } = candidate;
  if (plan.native === undefined) refuseOnFallback(withPorts);
  return { destination, localAddress, source: withPorts, exclusive: plan.exclusive };
}

function mismatch({ address, port, family }: Destination, plan: Plan): ConnectxError {
  const asked = familyOfType(plan.type);
  const explanation =
    asked !== undefined && asked !== family
      ? { reason: 'family-mismatch', advice: `the destination is IPv${family}, and type is ${plan.type}` }
      : familyMismatch(address, plan.source);
  return noSource(address, port, explanation);
}

function throwUnlessAnother(sources: Sources | undefined, error: unknown): void {
  if (error instanceof ConnectxError && sources?.failed(error) === true) return;
  throw error;
}

function leased<S extends Connected>(socket: S, sources: Sources | undefined): S {
  const lease = sources?.lease();
  if (lease !== undefined) socket.holdSource(lease);
  return socket;
}
