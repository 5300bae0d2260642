// A socket that is connecting, and what it does of its source meanwhile: its attempts, one for each address that core tries, their
// errors, and the trace of it all.
import type * as net from 'node:net';
import type { Family } from '../values/address';
import { Attempt } from './attempt';
import { begin } from './fast_path';
import type { HandleOwner, TcpHandle } from './core_handle';
import { ConnectxError, errorsIn, isError, unsupported } from '../errors/connectx_error';
import { refuseOnFallback } from '../connect/without_addon';
import { FallbackAttempt } from './fallback';
import { tcpFeatures } from '../kernel/kernel';
import type { Native } from '../kernel/addon';
import { nativeOrFallback } from '../kernel/load';
import { TcpFeature } from '../kernel/constants';
import { carries, requireWay, runtime, titleOf } from '../kernel/runtime';
import { Race } from './race';
import { isPlain, type Source } from '../source/options';
import { type ConnectTrace, finished, type TracedAttempt, type TracedTechnique } from '../connect/trace';

type AnyAttempt = Attempt | FallbackAttempt;

const NONE: readonly AnyAttempt[] = [];

/** What a socket remembers of its source between `connect()` and the end of connecting. */
export class Connection {
  /** The last one, and those before it: mostly there are none. */
  attempt: AnyAttempt | undefined = undefined;
  earlier: readonly AnyAttempt[] = NONE;
  /** Where somebody listens. */
  trace: ConnectTrace | undefined = undefined;
  /** Where an attempt was overtaken by the next one. */
  private race: Race | undefined = undefined;
  private wasAnnounced = false;

  constructor(
    readonly source: Source,
    readonly native: Native | undefined,
  ) {}

  /** An event of the socket, before anybody else hears of it. False: nobody else does. */
  onEvent(
    socket: net.Socket,
    event: string | symbol,
    address: unknown,
    port: unknown,
    family: unknown,
    error: unknown,
  ): boolean {
    if (event === 'connectionAttempt') {
      this.begin(socket, address as string, port as number, family as Family);
    } else if (event === 'connectionAttemptFailed') {
      this.completeError(error);
      this.race?.coreFailed(error);
    } else if (event === 'connectionAttemptTimeout') {
      this.overtake(socket, address, port);
    } else if (event === 'connect') {
      this.race?.end();
      if (this.trace !== undefined) this.traceConnected(this.trace, socket);
      if (!this.wasAnnounced) {
        socket.destroy(hookIsGone());
        return false;
      }
    }
    return true;
  }

  /** The error that the socket is destroyed with while it connects. */
  onDestroy(error: Error | undefined): Error | undefined {
    this.race?.finish(error);
    const final = error && this.finalError(error);
    const { trace } = this;
    if (trace === undefined) return final;
    trace.attempts = this.attempts().map(traced);
    trace.error = final;
    finished(trace);
    return final;
  }

  /** Whether core gives up with this error, and attempts that it knows nothing of go on. */
  isHeldBack(error: Error | undefined): boolean {
    return error !== undefined && this.race?.holdBack(error) === true;
  }

  /** Core announces that it will connect to this address. */
  begin(socket: net.Socket, address: string, port: number, family: Family): void {
    this.wasAnnounced = true;
    const handle = handleOf(socket) as TcpHandle;
    // An adopted descriptor, or one that is connecting or connected already: core knows what to do or to say.
    if (handle.fd >= 0) return;
    const { native, source } = this;
    const owner = socket as unknown as HandleOwner;
    if (this.attempt !== undefined) this.earlier = this.attempts();
    if (native === undefined) {
      this.attempt = new FallbackAttempt(source, owner, { address, port, family });
      this.race?.began(this.attempt);
      this.attempt.begin();
    } else {
      this.attempt = new Attempt(native, source, owner, address, port, family);
      this.race?.began(this.attempt);
      begin(this.attempt);
    }
  }

  // Core is about to close the handle of this attempt, and to begin the next one.
  private overtake(socket: net.Socket, address: unknown, port: unknown): void {
    const { attempt, native, source } = this;
    if (!source.overlap || attempt?.isOf(handleOf(socket)) !== true) return;
    // Without the addon two attempts cannot have the same port, other than on Linux.
    if (native === undefined && source.port !== 0) return;
    const { destination } = attempt;
    if (destination.address !== address || destination.port !== port) return;
    this.race ??= new Race(socket);
    this.race.overtake(attempt);
  }

  private attempts(): readonly AnyAttempt[] {
    return this.attempt === undefined ? this.earlier : [...this.earlier, this.attempt];
  }

  private traceConnected(trace: ConnectTrace, socket: net.Socket): void {
    const attempts = this.attempts();
    const winner = attempts.find((attempt) => attempt.isOf(handleOf(socket)));
    const { localAddress: address = '', localPort: port = 0 } = socket;
    trace.attempts = attempts.map(traced);
    trace.source = { address, port };
    trace.destination = winner?.destination;
    trace.technique = winner && techniqueOf(winner);
    finished(trace);
  }

  // Core's own, completed, or what a source function has thrown.
  private finalError(error: Error): Error {
    const aggregated = errorsIn(error);
    const errors = aggregated ?? [error];
    for (const one of errors) {
      const thrown = this.completeError(one)?.failure?.thrown;
      if (thrown !== undefined) return asError(thrown.error);
    }
    if (aggregated !== undefined) {
      // As core does it with the code.
      const [first] = errors;
      if (first instanceof ConnectxError && first.reason !== undefined) Object.assign(error, { reason: first.reason });
    }
    return error;
  }

  private completeError(error: unknown): AnyAttempt | undefined {
    if (!isError(error)) return undefined;
    const { address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
    const attempt = this.attemptTo(address, port);
    attempt?.complete(error);
    return attempt;
  }

  // A list of addresses may have the same one twice.
  private attemptTo(address: unknown, port: unknown): AnyAttempt | undefined {
    const same = this.attempts().filter(
      ({ destination }) => destination.address === address && destination.port === port,
    );
    return same.find(({ failure }) => failure !== undefined) ?? same.at(-1);
  }
}

/**
 * Undefined where core is to connect by itself: without a source, on a runtime whose sockets take none. Throws when the source asks for
 * something that cannot be had here.
 */
export function connectionFrom(source: Source): Connection | undefined {
  if (isPlain(source) && !carries('tcp')) return undefined;
  requireWay('tcp');
  const native = nativeOrFallback();
  if (native === undefined) refuseOnFallback(source);
  else if (source.extras?.fastOpen === true) requireFastOpen(native);
  return new Connection(source, native);
}

function requireFastOpen(native: Native): void {
  if ((tcpFeatures(native) & TcpFeature.fastOpenConnect) !== 0) return;
  throw unsupported('fastOpen', 'this kernel has no TCP_FASTOPEN_CONNECT (Linux 4.11)');
}

export function handleOf(socket: net.Socket): Partial<TcpHandle> | null {
  return (socket as unknown as { _handle: Partial<TcpHandle> | null })._handle;
}

export function hookIsGone(): ConnectxError {
  const why = `${titleOf(runtime)} does not announce its connection attempts, which connectx relies on`;
  return unsupported('connectionAttempt', why);
}

// Each by its name: V8 keeps where it found a property that the code names, and not one that a loop variable names.
function missingMethod({ open, bind, bind6, connect, connect6, close }: Partial<TcpHandle>): string | undefined {
  if (typeof open !== 'function') return 'open';
  if (typeof bind !== 'function') return 'bind';
  if (typeof bind6 !== 'function') return 'bind6';
  if (typeof connect !== 'function') return 'connect';
  if (typeof connect6 !== 'function') return 'connect6';
  return typeof close === 'function' ? undefined : 'close';
}

/** Fails loudly where a Node release no longer has what an attempt relies on. */
export function assertHandle(socket: net.Socket): void {
  const handle = handleOf(socket);
  if (handle === null || socket.destroyed) return;
  const missing = missingMethod(handle);
  if (missing === undefined) return;
  socket.destroy(unsupported('tcp-handle', `the TCP handles of ${titleOf(runtime)} have no ${missing}()`));
}

function traced(attempt: AnyAttempt): TracedAttempt {
  const { destination, localAddress, failure } = attempt;
  const technique = techniqueOf(attempt);
  return { destination, localAddress: localAddress ?? undefined, technique, reason: failure?.reason };
}

function techniqueOf({ technique }: AnyAttempt): TracedTechnique | undefined {
  if (technique?.kind !== 'assign') return technique?.kind;
  const { range } = technique;
  return range !== undefined && range.low === range.high ? 'pin' : 'assign';
}

function asError(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error('localAddress() threw', { cause: thrown });
}
