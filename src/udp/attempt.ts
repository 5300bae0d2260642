// One connect of one UDP socket: what it is about, and the error that it fails with.
import { constants } from 'node:os';
import { attemptError, type ConnectxError } from '../errors/connectx_error';
import { type Explanation, explain, PRIVILEGED_PORT, udpPortsExhausted } from '../connect/explain';
import { domainOf } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import type { Native } from '../kernel/addon';
import type { Target } from './adopt';
import type { UdpRequest } from './options';
import type { PortCache } from './port_cache';

const { errno } = constants;

export interface UdpAttempt {
  readonly native: Native;
  readonly cache: PortCache;
  readonly request: UdpRequest;
  readonly target: Target;
  readonly signal: AbortSignal | undefined;
  /** Of the destination. */
  readonly domain: number;
  /** Empty while it is not known. */
  localAddress: string;
  /** What the kernel makes of the destination: of an unspecified address, one of this machine. */
  remoteAddress: string;
  /** Questions to the kernel since the event loop had a turn. */
  asked: number;
}

export function attemptOf(
  native: Native,
  cache: PortCache,
  request: UdpRequest,
  target: Target,
  signal?: AbortSignal,
): UdpAttempt {
  const domain = domainOf(request.destination.family);
  return { native, cache, request, target, signal, domain, localAddress: '', remoteAddress: '', asked: 0 };
}

/** What was known of ports is void, or sock_diag has to be probed again: the connect begins again. */
export class StartOver extends Error {
  /** The outcome that says why sock_diag was not asked; 0: there is none. */
  readonly refusal: number;

  constructor(refusal = 0) {
    super('start over');
    this.refusal = refusal;
  }
}

/** The error of a negative outcome of the addon. */
export function failureOf(
  attempt: UdpAttempt,
  outcome: number,
  syscall = syscallOf(attempt.native, outcome),
): ConnectxError {
  const code = errnoOf(outcome);
  const explanation = explain({
    errno: code,
    syscall,
    localAddress: attempt.localAddress || null,
    source: attempt.request.source,
    ephemeral: undefined,
    sourceIsUsable: () => false,
  });
  return refusalOf(attempt, code, syscall || 'connect', explanation);
}

/** The error of a positive errno, with our explanation. */
export function refusalOf(
  { request, localAddress }: UdpAttempt,
  code: number,
  syscall: string,
  explanation: Explanation,
): ConnectxError {
  const { destination, source } = request;
  const failed = { destination, localAddress: localAddress || null, localPort: source.port };
  return attemptError(failed, { errno: code, syscall, ...explanation });
}

/** `ports-exhausted`, of the range that was asked for. */
export function exhaustedError(attempt: UdpAttempt): ConnectxError {
  const range = attempt.cache.rangeOf(attempt.request.source.range);
  return refusalOf(attempt, errno.EAGAIN, 'connect', udpPortsExhausted(range));
}

/** No port of the range may be bound by this process. */
export function deniedError(attempt: UdpAttempt): ConnectxError {
  return refusalOf(attempt, errno.EACCES, 'bind', PRIVILEGED_PORT);
}
