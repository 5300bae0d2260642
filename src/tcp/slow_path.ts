// How a connection is made where the first try is not enough: source after source, technique after technique, port after port. It gives
// the event loop its turns in between, and core believes meanwhile that the connect is under way.
import { constants } from 'node:os';
import { mayBeginWithZero, parseAddress } from '../values/address';
import { openAndAdopt, pinAndAdopt } from './adopt';
import type { Attempt } from './attempt';
import type { ConnectRequest } from './core_handle';
import { attemptError } from '../errors/connectx_error';
import {
  familyMismatch,
  LOOPBACK_SOURCE,
  MISSING_ZONE,
  otherAddress,
  SELF_CONNECT,
  TUPLE_IN_USE,
} from '../connect/explain';
import { type Candidate, nextCandidate, type Sources, sourcesFor } from '../connect/candidates';
import { interfaceOf, isOnThisMachine, routeTo, sourceToBind, wildcardFor } from '../connect/route';
import { ask, goOnInTurns, TURN, turnIsOver, turnWasOver, type Work } from '../connect/steps';
import { fail, failWith, questionOf } from './fail';
import { holdUntilClosed } from './lease';
import { kernelOf } from '../kernel/kernel';
import { domainOf, RTN_BROADCAST, SocketState } from '../kernel/constants';
import { errnoOf } from '../kernel/outcome';
import { inCircle, placeOf, planPorts, type Technique } from './port_plan';
import type { Source } from '../source/options';
import { isPool } from '../source/pooled';
import { askFunction, lacksZone } from '../source/resolve';
import { connected, wasKept } from './verify';

const { errno } = constants;

type IsWanted = (technique: Technique) => boolean;

const IPPROTO_TCP = 6;
const SOURCE_THREW = { reason: undefined, advice: 'localAddress() threw' };

/** 0 where the connect is under way, or will be; else a negative errno. `plan`: the techniques of which the first has found no port. */
export function connectSlowly(attempt: Attempt, request: ConnectRequest, plan?: readonly Technique[]): number {
  const { oncomplete } = request;
  const work =
    plan === undefined ? anySource(attempt, request) : eachTechnique(attempt, request, attempt.source, plan, 1);
  const first = work.next();
  if (first.done === true) return first.value;
  goOnInTurns(work, first.value, {
    // Whoever ends the attempt takes `oncomplete` away; core forgets the handle when the socket is destroyed.
    goesOn: () => request.oncomplete !== undefined && isAlive(attempt),
    done: (status) => {
      if (status === 0 || !isAlive(attempt)) return;
      if (attempt.overtaken) attempt.overtaken(status, true, true);
      else oncomplete?.call(request, status, attempt.handle, request, true, true);
    },
    failed: (error) => {
      throw error;
    },
  });
  return 0;
}

// Whether the handle is still the socket's, or in the race for it: to open a descriptor on one that is closing ends the process.
function isAlive({ owner, handle, overtaken }: Attempt): boolean {
  return overtaken === undefined ? owner._handle === handle : overtaken !== null;
}

// Free ports come first, of whatever source of a pool: to take a connection in TIME-WAIT over is for when there are none.
function* anySource(attempt: Attempt, request: ConnectRequest): Work<number> {
  const source = asked(attempt, () => askFunction(attempt.source, attempt.destination));
  if (typeof source === 'number') return source;
  if (source === undefined) return mismatch(attempt);
  if (!source.reuseTimeWait || !isPool(source.address)) return yield* eachSource(attempt, request, source, () => true);
  const status = yield* eachSource(attempt, request, source, ({ kind }) => kind !== 'take-over');
  if (attempt.failure?.reason !== 'pool-exhausted') return status;
  return yield* eachSource(attempt, request, source, ({ kind }) => kind === 'take-over');
}

function* eachSource(attempt: Attempt, request: ConnectRequest, source: Source, isWanted: IsWanted): Work<number> {
  const sources = sourcesFor(source, attempt.destination);
  if (turnWasOver()) yield TURN;
  for (;;) {
    attempt.failure = undefined;
    const tried = prepareSource(attempt, source, sources);
    const status = typeof tried === 'number' ? tried : yield* eachPort(attempt, request, tried, isWanted);
    if (status === 0) {
      const lease = sources?.lease();
      if (lease !== undefined) holdUntilClosed(attempt.handle, lease);
      return 0;
    }
    if (!mayTryAnother(attempt, request, sources)) return status;
    if (turnIsOver()) yield TURN;
  }
}

function eachPort(attempt: Attempt, request: ConnectRequest, tried: Candidate, isWanted: IsWanted): Work<number> {
  const plan = planPorts(tried.source, tried.address !== null, kernelOf(attempt.native)).filter(isWanted);
  return eachTechnique(attempt, request, tried.source, plan, 0);
}

// A request that has been abandoned belongs to libuv, which is connecting the handle.
function mayTryAnother(attempt: Attempt, request: ConnectRequest, sources: Sources | undefined): boolean {
  const { failure } = attempt;
  if (sources === undefined || failure === undefined || request.oncomplete === undefined) return false;
  if (failure.errors !== undefined || failure.thrown !== undefined) return false;
  return sources.failed(attemptError(attempt, failure));
}

/** The next source, of `source`; a negative errno where there is none, or it cannot be used. */
function prepareSource(attempt: Attempt, source: Source, sources: Sources | undefined): Candidate | number {
  const candidate = asked(attempt, () => nextCandidate(source, attempt.destination, sources));
  if (typeof candidate === 'number') return candidate;
  if (candidate === undefined) {
    attempt.failure = sources?.exhausted();
    return attempt.failure === undefined ? mismatch(attempt) : -attempt.failure.errno;
  }
  attempt.localAddress = candidate.address;
  attempt.localPort = source.port;
  const refusal = candidate.address === null ? 0 : refuse(attempt, source, candidate.address);
  return refusal === 0 ? candidate : refusal;
}

/** What a function of the user's gives; a negative errno where it has thrown, or the socket is gone by then. */
function asked<T extends object>(attempt: Attempt, ask: () => T | undefined): T | number | undefined {
  let answer: T | undefined;
  try {
    answer = ask();
  } catch (error) {
    const status = fail(attempt, errno.EINVAL, 'bind', SOURCE_THREW);
    if (attempt.failure !== undefined) attempt.failure = { ...attempt.failure, thrown: { error } };
    return isAlive(attempt) ? status : abandoned(attempt);
  }
  return isAlive(attempt) ? answer : abandoned(attempt);
}

function mismatch(attempt: Attempt): number {
  return fail(attempt, errno.EAFNOSUPPORT, 'connect', familyMismatch(attempt.address, attempt.source));
}

// A function of the user's has destroyed the socket: `_aborted` keeps core from going on. For an overtaken attempt core does not.
function abandoned(attempt: Attempt): number {
  if (attempt.overtaken === undefined) attempt.owner._aborted = true;
  return -errno.ECANCELED;
}

// What the kernel would take without complaint, or with a bare EINVAL, and then not do what was meant.
function refuse(attempt: Attempt, source: Source, local: string): number {
  const { native, address, port, family } = attempt;
  if (local === address && port !== 0 && source.port === port) {
    return fail(attempt, errno.ECONNREFUSED, 'connect', SELF_CONNECT);
  }
  if (isBroadcast(attempt, source, local)) return fail(attempt, errno.EADDRNOTAVAIL, 'connect', otherAddress(local));
  if (family === 4) return 0;
  if (lacksZone(source, local)) return fail(attempt, errno.EINVAL, 'bind', MISSING_ZONE);
  // IPv4 says EINVAL by itself; IPv6 sends SYNs that nobody answers.
  const isLoopback = mayBeginWithZero(local) && parseAddress(local)?.scope === 'loopback';
  if (isLoopback && !isOnThisMachine(native, questionOf(attempt))) {
    return fail(attempt, errno.EINVAL, 'connect', LOOPBACK_SOURCE);
  }
  return 0;
}

// The kernel takes a broadcast address of a pool's block, and then connects from another one: too late for the pool's next source.
function isBroadcast({ native, family }: Attempt, { extras, address }: Source, local: string): boolean {
  if (!isPool(address) || extras?.freeBind === true || extras?.transparent === true) return false;
  if ((family === 6 && !local.includes('.')) || wasKept(local, performance.now())) return false;
  const route = routeTo(native, { address: local, family, extras: null });
  return typeof route !== 'number' && route.type === RTN_BROADCAST;
}

/** From the technique in this place of the plan on; those before it have found no port. `source`: with the range of its ports. */
function* eachTechnique(
  attempt: Attempt,
  request: ConnectRequest,
  source: Source,
  plan: readonly Technique[],
  from: number,
): Work<number> {
  let isDenied = false;
  for (let at = from; at < plan.length; at++) {
    const technique = plan[at] as Technique;
    attempt.technique = technique;
    const local = sourceFor(attempt, technique);
    if (typeof local === 'number') return failWith(attempt, local);
    for (const port of yield* portsOf(attempt, technique, local)) {
      if (isMany(technique) && turnIsOver()) yield TURN;
      const placed = place(attempt, technique, local, port, at > 0);
      if (placed === 'denied') isDenied = true;
      if (placed === 'taken' || placed === 'denied') continue;
      if (placed !== 'placed') return failWith(attempt, placed);
      if (source.port !== 0 && isHeldWithOtherDevice(attempt, plan[0])) {
        return fail(attempt, errno.EADDRNOTAVAIL, 'connect', TUPLE_IN_USE);
      }
      const status = attempt.callCore(request);
      if (status === 0) {
        if (technique.kind === 'search') kernelOf(attempt.native).lastSearched = port;
        return connected(attempt, request, technique);
      }
      if (status !== -errno.EADDRNOTAVAIL) return fail(attempt, -status, 'connect');
    }
  }
  attempt.localPort = source.port;
  if (isDenied) return fail(attempt, errno.EACCES, 'bind');
  return fail(attempt, errno.EADDRNOTAVAIL, 'connect', undefined, source);
}

function isMany({ kind }: Technique): boolean {
  return kind === 'search' || kind === 'take-over';
}

// What is bound. With an explicit port there has to be a source; what the kernel would take is then what was asked for. Where it cannot be
// asked for, connect(2) chooses it.
function sourceFor(attempt: Attempt, { kind }: Technique): string | number | null {
  if (kind === 'assign' || kind === 'pin' || attempt.localAddress !== null) return attempt.localAddress;
  const question = questionOf(attempt);
  const local = sourceToBind(attempt.native, question);
  if (typeof local === 'string') attempt.localAddress = local;
  return local ?? wildcardFor(question);
}

/** The ports that a technique tries, 0: the kernel's choice. */
function* portsOf(attempt: Attempt, technique: Technique, local: string | null): Work<Iterable<number>> {
  switch (technique.kind) {
    case 'assign':
      return [0];
    case 'pin':
    case 'bind':
      return [technique.port];
    case 'search':
      // To list them all takes a while, too.
      if (turnIsOver()) yield TURN;
      return aroundFrom(attempt, technique);
    case 'take-over': {
      const usable = technique.ports();
      const waiting = yield* portsInTimeWait(attempt, local ?? '');
      return inCircle(
        [...waiting].filter((port) => usable.has(port)),
        Math.random(),
      );
    }
  }
}

function aroundFrom({ native }: Attempt, { ports, goesOn }: Technique & { kind: 'search' }): Iterable<number> {
  const list = ports();
  return inCircle(list, goesOn ? placeOf(list, kernelOf(native).lastSearched) : Math.random());
}

// Where sock_diag does not answer, there are none to be taken over.
function* portsInTimeWait({ native, family, address, port }: Attempt, local: string): Work<Iterable<number>> {
  const question = [IPPROTO_TCP, SocketState.timeWait, domainOf(family), local, address, port] as const;
  const found = yield* ask({
    now: () => native.portsInStateNow(...question),
    later: async () => native.portsInState(...question),
  });
  return typeof found === 'number' ? [] : found;
}

/**
 * The handle gets a socket for this port. `isReused`: it has one that connect(2) found no port for, or that was not bound, and that can be
 * bound. 'taken': somebody else has the port, or it is not to be had by this technique. A negative outcome of the addon: it has failed.
 */
function place(
  attempt: Attempt,
  technique: Technique,
  local: string | null,
  port: number,
  isReused: boolean,
): 'placed' | 'taken' | 'denied' | number {
  const { native, fd, family } = attempt;
  if (technique.kind === 'pin') {
    const outcome = pinAndAdopt(attempt, local, port);
    if (outcome === 0) return 'taken';
    return outcome < 0 ? outcome : 'placed';
  }
  const range = technique.kind === 'assign' ? technique.range : undefined;
  const outcome =
    technique.kind === 'bind' && isReused
      ? native.bind(fd, domainOf(family), local ?? '', port)
      : openAndAdopt(attempt, local, port, range);
  if (outcome >= 0) {
    if (isMany(technique)) attempt.localPort = port;
    return 'placed';
  }
  if (!isMany(technique)) return outcome;
  const code = errnoOf(outcome);
  if (code === errno.EADDRINUSE) return 'taken';
  return code === errno.EACCES ? 'denied' : outcome;
}

// The kernel refuses a 4-tuple that is in use, but not when a device makes a difference between the two.
function isHeldWithOtherDevice(attempt: Attempt, first: Technique | undefined): boolean {
  const { native, source, family, address, port } = attempt;
  const local = attempt.localAddress ?? sourceToBind(native, questionOf(attempt));
  // No source, or none that is known: then connect(2) will say why, or find it.
  if (typeof local !== 'string') return false;
  // A moment ago the pin has seen to it that the right network namespace answers.
  const fd = first?.kind === 'pin' ? -1 : attempt.fd;
  const device = interfaceOf(native, source.extras);
  // Where sock_diag does not answer there is only the kernel's own check.
  return native.tcpHeldWithOtherDevice(fd, domainOf(family), local, source.port, address, port, device) === 1;
}
