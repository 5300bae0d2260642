// The errors of system calls, made or completed here and nowhere else: values, no I/O.
import { constants } from 'node:os';
import { getSystemErrorName, types } from 'node:util';

/** Why a connection could not be made, where `code` alone does not tell. */
export type Reason =
  /** No free port from this source towards this destination. */
  | 'ports-exhausted'
  /** The exact 4-tuple is in use (for TCP also in TIME-WAIT, FIN-WAIT-2 or CLOSE-WAIT). */
  | 'tuple-in-use'
  /** A socket that does not share (no `SO_REUSEADDR`, or one that listens) holds the local port. */
  | 'port-locked'
  /** The source address is not on this machine, or not usable (yet). */
  | 'address-not-local'
  /** Source and destination have no address family in common. */
  | 'family-mismatch'
  /** Every source of the pool failed; `code` is that of the last, and `errors` tells of each. */
  | 'pool-exhausted'
  /** With `code: 'ERR_CONNECTX_UNSUPPORTED'`: the name of what this platform or kernel lacks. */
  | (string & {});

/** What an error can say beside its message; see {@link ConnectxError}. */
export interface ErrorDetails {
  /** E.g. `EADDRNOTAVAIL`. */
  code: string;
  /** Negative, as in `node:net`. */
  errno?: number | undefined;
  /** The system call that failed, e.g. `bind`. */
  syscall?: string | undefined;
  /** The remote address. */
  address?: string | undefined;
  /** The remote port. */
  port?: number | undefined;
  /** The local address, as far as it was known. */
  localAddress?: string | undefined;
  /** The local port, as far as it was known. */
  localPort?: number | undefined;
  /** Why, where `code` alone does not tell. */
  reason?: Reason | undefined;
  /** With `pool-exhausted`: the error of each source. */
  errors?: readonly ConnectxError[] | undefined;
}

/**
 * An error with the shape of Node's own system errors, and a `reason`.
 *
 * `code`, `errno`, `syscall`, `address`, `port`, `localAddress` and `localPort` mean what they mean in `node:net`; `errno`
 * is negative, as there. `reason` tells apart what one errno lumps together.
 *
 * @example
 * socket.on('error', (error) => {
 *   if (error instanceof ConnectxError && error.reason === 'ports-exhausted') respondWith(503);
 * });
 */
export class ConnectxError extends Error {
  /** E.g. `EADDRNOTAVAIL`, or `ERR_CONNECTX_UNSUPPORTED`. */
  declare code: string;
  /** Negative, as in `node:net`; absent where no system call has failed. */
  declare errno?: number;
  /** The system call that failed, e.g. `bind`. */
  declare syscall?: string;
  /** The remote end. */
  declare address?: string;
  /** The remote port. */
  declare port?: number;
  /** The local end, as far as it was known. */
  declare localAddress?: string;
  /** The local port, as far as it was known. */
  declare localPort?: number;
  /** Why, where `code` alone does not tell; {@link Reason} lists the values. */
  declare reason?: Reason;
  /** With `reason: 'pool-exhausted'`: one error for each source that was tried, in this order; of very many, the last ones. */
  declare errors?: readonly ConnectxError[];

  /** Made by connectx; a program has no need to. */
  constructor(message: string, details: ErrorDetails, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    assignDefined(this, details);
  }
}

// Node's system errors are plain `Error`s by name; whoever prints one sees what `node:net` would have shown.
Object.defineProperty(ConnectxError.prototype, 'name', { value: 'Error', configurable: true, writable: true });

/** Whether it is an Error, of whatever realm: where connectx runs in a vm context (as in Jest), core's errors are of another one. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error;
}

/** The errors in it, where it is an AggregateError of whatever realm. */
export function errorsIn(error: Error): readonly unknown[] | undefined {
  const { errors } = error as { errors?: unknown };
  return isError(error) && error.name === 'AggregateError' && Array.isArray(errors) ? errors : undefined;
}

function assignDefined(target: object, details: ErrorDetails): void {
  for (const key in details) {
    const value = details[key as keyof ErrorDetails];
    if (value !== undefined) Reflect.set(target, key, value);
  }
}

/** The name of a positive errno, e.g. `EADDRINUSE`. */
export function errnoName(errno: number): string {
  const name = getSystemErrorName(-errno);
  if (/^E[A-Z0-9]+$/.test(name)) return name;
  // libuv has no name for some, EINPROGRESS among them.
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? name;
}

/** An error for a failed system call that has no remote end, as `connectx/sys` throws it. */
export function systemError(errno: number, syscall: string): ConnectxError {
  const code = errnoName(errno);
  return new ConnectxError(`${syscall || 'connectx'} ${code}`, { code, errno: -errno, syscall: syscall || undefined });
}

/** The feature is absent on this platform or kernel; `reason` names it. */
export function unsupported(feature: string, why: string, cause?: unknown): ConnectxError {
  return new ConnectxError(
    `${feature} is not supported here: ${why}`,
    { code: 'ERR_CONNECTX_UNSUPPORTED', reason: feature },
    cause,
  );
}

/** An attempt as core's request of it has it. */
export interface RequestedAttempt {
  readonly address?: string;
  readonly port?: number;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}

/** The error that core would have made of an attempt that it no longer waits for. `status` is a negative errno. */
export function connectError(status: number, request: RequestedAttempt): Error {
  const { address = '', port = 0, localAddress, localPort } = request;
  const code = errnoName(-status);
  const error = new Error(`connect ${code} ${address}:${port}`);
  Object.assign(error, { errno: status, code, syscall: 'connect', address, port });
  if (localAddress && localPort) addLocalEnd(error, localAddress, localPort);
  return error;
}

/** What is known of an attempt whose error core makes. */
export interface FailedAttempt {
  readonly destination: { readonly address: string; readonly port: number };
  readonly localAddress: string | null;
  readonly localPort: number;
}

/** What is known of its failure. */
export interface FailureDetails {
  /** Positive. */
  readonly errno: number;
  readonly syscall: string;
  readonly reason: string | undefined;
  readonly advice: string;
  readonly errors?: readonly ConnectxError[] | undefined;
  /** What core's message says of the local end of a socket that is not bound, where there is no such socket to ask. */
  readonly bare?: string | undefined;
}

/** The error of an attempt of which core does not know. */
export function attemptError(attempt: FailedAttempt, failure: FailureDetails): ConnectxError {
  const { destination, localAddress, localPort } = attempt;
  const { errno, syscall, reason, advice, errors } = failure;
  const code = errnoName(errno);
  const { address, port } = destination;
  return new ConnectxError(messageOf(code, attempt, syscall, localOf(attempt), advice), {
    code,
    errno: -errno,
    syscall,
    address,
    port,
    localAddress: localAddress ?? undefined,
    localPort: localPort === 0 ? undefined : localPort,
    reason,
    errors,
  });
}

/** There is nothing to bind for a destination of this family: it has not even been attempted. */
export function noSource(
  address: string,
  port: number,
  { reason, advice }: Pick<FailureDetails, 'reason' | 'advice'>,
): ConnectxError {
  const attempt = { destination: { address, port }, localAddress: null, localPort: 0 };
  return attemptError(attempt, { errno: constants.errno.EAFNOSUPPORT, syscall: 'connect', reason, advice });
}

function localOf({ localAddress, localPort }: FailedAttempt): string {
  return localAddress === null && localPort === 0 ? '' : ` - Local (${localAddress ?? '*'}:${localPort})`;
}

function messageOf(
  code: string,
  { destination }: FailedAttempt,
  syscall: string,
  local: string,
  advice: string,
): string {
  return `${syscall} ${code} ${destination.address}:${destination.port}${local}${advice && `; ${advice}`}`;
}

/**
 * Completes an error that Node's core made for a connection of ours, in place: the very object that core keeps in
 * `socket.errored`, in an `AggregateError` or in a `connectionAttemptFailed` event is the one that gets the details.
 */
export function complete(error: Error, attempt: FailedAttempt, failure: Omit<FailureDetails, 'errno'>): void {
  if (error instanceof ConnectxError) return;
  const { errno } = error as NodeJS.ErrnoException;
  // Core takes the name from libuv, which has none for some, EDOM among them.
  const code = errno === undefined ? ((error as NodeJS.ErrnoException).code ?? '') : errnoName(-errno);
  const prototype: object = ConnectxError.prototype;
  Object.setPrototypeOf(error, prototype);
  const { syscall, reason, advice, errors } = failure;
  const { localAddress, localPort } = attempt;
  const before = error.message;
  // What core could say of the local end of a descriptor that has no source.
  const [bare = failure.bare ?? ''] = / - Local \((?!undefined).*\)$/.exec(before) ?? [];
  // Read first: it is made of the message when it is first read.
  const { stack } = error;
  error.message = messageOf(code, attempt, syscall, localOf(attempt) || bare, advice);
  if (stack !== undefined) error.stack = stack.replace(before, () => error.message);
  assignDefined(error, {
    code,
    syscall,
    reason,
    localAddress: localAddress ?? undefined,
    localPort: localPort === 0 ? undefined : localPort,
    errors,
  });
}

/** Adds the local end of a connection to core's error of it, in core's words. */
export function addLocalEnd(error: Error, localAddress: string, localPort: number): void {
  // The stack is made of the message when it is first read.
  error.message += ` - Local (${localAddress}:${localPort})`;
  Object.assign(error, { localAddress, localPort });
}
