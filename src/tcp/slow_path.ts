// How a connection is made where the first try is not enough: source after source, technique after technique, port after port. It gives
// the event loop its turns in between, and core believes meanwhile that the connect is under way.
import { constants } from 'node:os';
import { openAndAdopt } from './adopt';
import type { Attempt } from './attempt';
import type { ConnectRequest } from './core_handle';
import { attemptError } from '../errors/connectx_error';
import { familyMismatch, TUPLE_IN_USE } from '../connect/explain';
import { type Candidate, nextCandidate, type Sources, sourcesFor } from '../connect/candidates';
import { sourceToBind, wildcardFor } from '../connect/route';
import { goOnInTurns, TURN, turnIsOver, turnWasOver, type Work } from '../connect/steps';
import { checkSource } from './check_source';
import { fail, failWith, questionOf } from './fail';
import { givenBackCount } from './given_back';
import { holdUntilClosed } from './lease';
import { kernelOf } from '../kernel/kernel';
import { domainOf } from '../kernel/constants';
import { connectPinned, isHeldWithOtherDevice } from './pin';
import { isLastToAssign, planPorts, type Technique } from './port_plan';
import type { Source } from '../source/options';
import { isPool } from '../source/pooled';
import { askFunction } from '../source/resolve';
import { anyRefusals } from './refusals';
import {
  costOfAssigning,
  hadNoneToAssign,
  type NoPort,
  partOf,
  recallRefusal,
  refuse,
  refuseAgain,
  refuseFromPool,
  rememberNoneToAssign,
  rememberPool,
  TOGETHER,
} from './refuse';
import { search } from './search';
import { takeOver } from './take_over';
import { connectPlaced } from './verify';

const { errno } = constants;

type IsWanted = (technique: Technique) => boolean;

/** A port that lies outside of the ephemeral range. */
const NOT_PINNED: NoPort = { denied: false, cost: 0 };

const SOURCE_THREW = { reason: undefined, advice: 'localAddress() threw' };

/** 0 where the connect is under way, or will be; else a negative errno. `plan`: its first technique has found no port, in `cost` ms. */
export function connectSlowly(
  attempt: Attempt,
  request: ConnectRequest,
  plan?: readonly Technique[],
  cost = 0,
): number {
  const { oncomplete } = request;
  const work =
    plan === undefined ? anySource(attempt, request) : eachTechnique(attempt, request, attempt.source, plan, 1, cost);
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
  if (turnWasOver()) yield TURN;
  if (anyRefusals() && turnIsOver()) yield TURN;
  const sources = sourcesFor(source, attempt.destination);
  const parts: ReturnType<typeof partOf>[] = [];
  for (;;) {
    // Somebody else may have come to the end of the pool in the meantime.
    const refused = anyRefusals() ? refuseFromPool(attempt, source, parts.length === 0) : undefined;
    if (refused !== undefined) return refused;
    attempt.failure = undefined;
    const tried = prepareSource(attempt, source, sources);
    let status: number;
    if (typeof tried !== 'number') {
      const plan = planPorts(tried.source, tried.address !== null, kernelOf(attempt.native)).filter(isWanted);
      status = yield* eachTechnique(attempt, request, tried.source, plan, 0, 0);
      if (sources !== undefined && status !== 0) parts.push(partOf(attempt, tried.source, plan));
    } else {
      status = tried;
      if (hasOwnFailure(attempt)) parts.push(undefined);
    }
    if (status === 0) {
      const lease = sources?.lease();
      if (lease !== undefined) holdUntilClosed(attempt.handle, lease);
      return 0;
    }
    if (!mayTryAnother(attempt, request, sources)) {
      rememberPool(attempt, source, sources, parts);
      return status;
    }
    if (turnIsOver()) yield TURN;
  }
}

// As against: the failure of the pool as a whole.
function hasOwnFailure({ failure }: Attempt): boolean {
  return failure?.errors === undefined;
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
  const refusal = candidate.address === null ? 0 : checkSource(attempt, source, candidate.address);
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

/**
 * From the technique in this place of the plan on; those before it have found no port, which took `cost` ms.
 * `source`: with the range of its ports.
 */
function* eachTechnique(
  attempt: Attempt,
  request: ConnectRequest,
  source: Source,
  plan: readonly Technique[],
  from: number,
  cost: number,
): Work<number> {
  const known = recallRefusal(attempt, source, plan, isPool(attempt.source.address) ? TOGETHER : 0);
  if (known !== undefined) return refuseAgain(attempt, known);
  const seen = givenBackCount();
  let spent = cost;
  let charged = from > 0 && isLastToAssign(plan, from - 1) ? cost : 0;
  let isDenied = false;
  for (let at = from; at < plan.length; at++) {
    const technique = plan[at] as Technique;
    attempt.technique = technique;
    if (technique.kind === 'assign' && hadNoneToAssign(attempt, source, plan)) continue;
    const local = sourceFor(attempt, technique);
    if (typeof local === 'number') return failWith(attempt, local);
    const status = yield* tryTechnique(attempt, request, source, technique, local, plan, at);
    if (typeof status === 'number') return status;
    spent += status.cost;
    if (isLastToAssign(plan, at)) {
      rememberNoneToAssign(attempt, source, plan, spent);
      charged = spent;
    }
    isDenied ||= status.denied;
  }
  attempt.localPort = source.port;
  if (isDenied) return fail(attempt, errno.EACCES, 'bind');
  // Somebody else may have come to the same end in the meantime.
  const same = recallRefusal(attempt, source, plan);
  return same === undefined ? refuse(attempt, source, plan, spent, seen, charged) : refuseAgain(attempt, same);
}

/** An object: there is no port to be had in this way. 0: the connect is under way. A negative errno: it has failed. */
function* tryTechnique(
  attempt: Attempt,
  request: ConnectRequest,
  source: Source,
  technique: Technique,
  local: string | null,
  plan: readonly Technique[],
  at: number,
): Work<number | NoPort> {
  switch (technique.kind) {
    case 'search':
      return yield* search(attempt, request, technique, local ?? '');
    case 'take-over':
      return yield* takeOver(attempt, request, source, technique, local ?? '');
    case 'pin': {
      const status = connectPinned(attempt, request, technique, local);
      return status === 'taken' ? NOT_PINNED : status;
    }
    default: {
      const began = performance.now();
      const placed = place(attempt, technique, local, at > 0);
      if (placed !== 0) return placed;
      // Where the port could not be pinned a moment ago, the right network namespace was asked.
      if (source.port !== 0 && isHeldWithOtherDevice(attempt, plan[0]?.kind === 'pin')) {
        return fail(attempt, errno.EADDRNOTAVAIL, 'connect', TUPLE_IN_USE);
      }
      const status = connectPlaced(attempt, request, technique);
      if (status !== -errno.EADDRNOTAVAIL || attempt.failure !== undefined) return status;
      return { denied: false, cost: costOfAssigning(attempt, technique, began) };
    }
  }
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

/**
 * The handle gets a socket for the port of the technique: 0, or a negative errno where that has failed. `isReused`: it has one that connect(2)
 * found no port for, or that was not bound, and that can be bound.
 */
function place(
  attempt: Attempt,
  technique: Extract<Technique, { kind: 'assign' | 'bind' }>,
  local: string | null,
  isReused: boolean,
): number {
  const { native, fd, family } = attempt;
  const port = technique.kind === 'bind' ? technique.port : 0;
  const range = technique.kind === 'assign' ? technique.range : undefined;
  const outcome =
    technique.kind === 'bind' && isReused
      ? native.bind(fd, domainOf(family), local ?? '', port)
      : openAndAdopt(attempt, local, port, range);
  return outcome < 0 ? failWith(attempt, outcome) : 0;
}
