// A socket that is connecting, and what it does of its source meanwhile: its attempts, one for each address that core tries, their
// errors, their leases of pools, and the trace of it all.
import type * as net from 'node:net';
import type { Family } from '../values/address';
import { Attempt } from './attempt';
import type { HandleOwner, TcpHandle } from './core_handle';
import { ConnectxError, errorsIn, isError, unsupported } from '../errors/connectx_error';
import { refuseOnFallback } from '../connect/without_addon';
import { FallbackAttempt } from './fallback';
import { tcpFeatures } from '../kernel/kernel';
import type { Native } from '../kernel/addon';
import { nativeOrFallback } from '../kernel/load';
import { TcpFeature } from '../kernel/constants';
import { isPool } from '../source/pool';
import type { Source } from '../source/options';
import { type ConnectTrace, finished, type TracedAttempt } from '../connect/trace';

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

function requireFastOpen(native: Native): void {
  if ((tcpFeatures(native) & TcpFeature.fastOpenConnect) !== 0) return;
  throw unsupported('fastOpen', 'this kernel has no TCP_FASTOPEN_CONNECT (Linux 4.11)');
}

export function handleOf(socket: net.Socket): Partial<TcpHandle> | null {
  return (socket as unknown as { _handle: Partial<TcpHandle> | null })._handle;
}

export function hookIsGone(): ConnectxError {
  const why = `Node ${process.versions.node} does not announce its connection attempts, which connectx relies on`;
  return unsupported('connectionAttempt', why);
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
export function assertHandle(socket: net.Socket): void {
  const handle = handleOf(socket);
  if (handle === null || socket.destroyed) return;
  const missing = missingMethod(handle);
  if (missing === undefined) return;
  socket.destroy(unsupported('tcp-handle', `the TCP handles of Node ${process.versions.node} have no ${missing}()`));
}

export function beginAttempt(
  socket: net.Socket,
  connecting: Connecting,
  address: string,
  port: number,
  family: Family,
): void {
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

export function releaseAll(connecting: Connecting): void {
  connecting.attempt?.release();
  for (const attempt of connecting.earlier) attempt.release();
}

export function givenUp(connecting: Connecting, error: Error | undefined): void {
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

export function traceConnected(trace: ConnectTrace, connecting: Connecting, socket: net.Socket): void {
  const attempts = attemptsOf(connecting);
  const winner = attempts.find((attempt) => attempt.isOf(handleOf(socket)));
  const { localAddress: address = '', localPort: port = 0 } = socket;
  trace.attempts = attempts.map(traced);
  trace.source = { address, port };
  trace.destination = winner?.destination;
  trace.technique = winner?.technique;
  finished(trace);
}

export function releaseAttempt(connecting: Connecting, address: unknown, port: unknown): void {
  for (const attempt of attemptsTo(connecting, address, port)) attempt.release();
}

/** Of several attempts only one has made the connection: that one, if its source came from a pool. */
export function keepWinner(socket: net.Socket, connecting: Connecting): AnyAttempt | undefined {
  if (!isPool(connecting.source.address)) return undefined;
  let winner: AnyAttempt | undefined;
  for (const attempt of attemptsOf(connecting)) {
    if (attempt.isOf(handleOf(socket))) winner = attempt;
    else attempt.release();
  }
  return winner;
}

/** The error that a connecting socket ends with: core's own, completed, or what a source function has thrown. */
export function finalError(connecting: Connecting, error: Error): Error {
  const several = errorsIn(error);
  const errors = several ?? [error];
  for (const one of errors) {
    const thrown = completeError(connecting, one)?.thrown;
    if (thrown !== undefined) return asError(thrown.error);
  }
  if (several !== undefined) {
    // As core does it with the code.
    const [first] = errors;
    if (first instanceof ConnectxError && first.reason !== undefined) Object.assign(error, { reason: first.reason });
  }
  return error;
}

export function completeError(connecting: Connecting, error: unknown): AnyAttempt | undefined {
  if (!isError(error)) return undefined;
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

function asError(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error('localAddress() threw', { cause: thrown });
}
