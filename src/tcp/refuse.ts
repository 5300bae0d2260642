// Every port is taken: what an attempt is told, and what the next ones are told for a moment without a search.
import { constants } from 'node:os';
import type { Sources } from '../connect/candidates';
import type { Failure } from '../connect/failure';
import { intersect } from '../values/port_range';
import { RecentMap } from '../values/recent_map';
import type { Source } from '../source/options';
import { isPool, type Pooled } from '../source/pooled';
import type { Attempt } from './attempt';
import { fail } from './fail';
import { givenBackCount } from './given_back';
import type { Technique } from './port_plan';
import {
  costOf,
  endOfAll,
  hasEnded,
  isForgotten,
  isFreeAgain,
  isOfThisNamespace,
  recall,
  recallAdvice,
  type Refusal,
  type Refused,
  refusalKey,
  remember,
  usualCost,
} from './refusals';
import { recentRange } from './verify';

const { errno } = constants;
const clock = performance;

/** No port is to be had: whether for want of a privilege, and how long it took to find out, in ms. */
export interface NoPort {
  readonly denied: boolean;
  readonly cost: number;
}

/** Of a technique that others follow nobody is told, so there is nothing to explain. */
const UNSAID: Failure = { errno: errno.EADDRNOTAVAIL, syscall: 'connect', reason: undefined, advice: '' };

function as(attempt: Attempt, source: Source, localAddress = attempt.localAddress): Refused {
  const { native, handle, address, port, family } = attempt;
  return { native, handle, address, port, family, localAddress, source };
}

function keyOf(attempt: Attempt, source: Source, plan: readonly Technique[], only = ''): string | undefined {
  // One port is looked up as fast as this.
  if (source.port !== 0) return undefined;
  return refusalKey(as(attempt, source), only + [...new Set(plan.map(({ kind }) => kind))].join('+'));
}

/** The refusal of a moment ago that this attempt would meet as well, and for `left` ms more. */
export function recallRefusal(
  attempt: Attempt,
  source: Source,
  plan: readonly Technique[],
  left = 0,
): Refusal | undefined {
  const key = keyOf(attempt, source, plan);
  return key === undefined ? undefined : recall(as(attempt, source), key, left);
}

/** The same answer as a moment ago: a negative errno. */
export function refuseAgain(attempt: Attempt, { failure }: Refusal): number {
  attempt.localPort = attempt.source.port;
  // There is no descriptor of which core could tell the local end.
  const bare = attempt.family === 6 ? ' - Local (:::0)' : ' - Local (0.0.0.0:0)';
  attempt.failure = attempt.localAddress === null ? { ...failure, bare } : failure;
  return -failure.errno;
}

/**
 * No technique of the plan has found a port, which took `cost` ms, of which {@link rememberNoneToAssign} was told of `charged`. `seen`:
 * {@link givenBackCount} when the first one began. The answer is a negative errno.
 */
export function refuse(
  attempt: Attempt,
  source: Source,
  plan: readonly Technique[],
  cost: number,
  seen = givenBackCount(),
  charged = 0,
): number {
  attempt.localPort = attempt.source.port;
  const key = keyOf(attempt, source, plan);
  const began = clock.now();
  const said = key === undefined ? undefined : recallAdvice(as(attempt, source), key);
  if (said === undefined) fail(attempt, errno.EADDRNOTAVAIL, 'connect', undefined, source);
  else attempt.failure = said;
  const { failure } = attempt;
  // As against: the source is not there (any more), or the route.
  if (key !== undefined && failure?.reason === 'ports-exhausted') {
    // To explain it is no search.
    const explaining = costOf(began, 0);
    remember(as(attempt, source), key, failure, cost + explaining, seen, charged + explaining);
  }
  return -errno.EADDRNOTAVAIL;
}

/** Whether the kernel had no port to assign a moment ago: then only what follows in the plan is tried. */
export function hadNoneToAssign(attempt: Attempt, source: Source, plan: readonly Technique[]): boolean {
  if (plan.at(-1)?.kind === 'assign') return false;
  const key = keyOf(attempt, source, plan, 'first ');
  return key !== undefined && recall(as(attempt, source), key) !== undefined;
}

/** The kernel had none, which took `cost` ms to find out. */
export function rememberNoneToAssign(attempt: Attempt, source: Source, plan: readonly Technique[], cost: number): void {
  const key = keyOf(attempt, source, plan, 'first ');
  if (key !== undefined) remember(as(attempt, source), key, UNSAID, cost, givenBackCount());
}

/** What it took the kernel, in ms, to find no port to assign; `began`, `performance.now()`, is undefined where nobody has looked. */
export function costOfAssigning({ native }: Attempt, technique: Technique, began: number | undefined): number {
  const range = recentRange(native, clock.now());
  const bounds = technique.kind === 'assign' ? technique.range : undefined;
  const searched = range && bounds ? intersect(range, bounds) : range;
  const ports = searched === undefined ? 0 : searched.high - searched.low + 1;
  return began === undefined ? usualCost(ports) : costOf(began, ports);
}

/** A source that was refused, with the range of its ports. */
interface Part {
  readonly local: string | null;
  readonly source: Source;
  readonly refusal: Refusal;
}

interface PoolRefusal {
  readonly failure: Failure;
  /** {@link SourcePool.version} */
  readonly version: number;
  readonly parts: readonly Part[];
  readonly until: number;
  readonly again: () => void;
}

const pools = new WeakMap<Pooled, RecentMap<string, PoolRefusal>>();
const MOST = 64;

/** How long, in ms, a source's refusal must hold on where it is one of many: so that they end together. */
export const TOGETHER = 8;

function poolOf(source: Source): Pooled | undefined {
  // What could be taken over is another list for each source.
  return isPool(source.address) && !source.reuseTimeWait && source.port === 0 && source.chooseRange === undefined
    ? source.address
    : undefined;
}

/**
 * Where every source of a pool was refused a moment ago: the same answer, a negative errno. Undefined: nothing is known. `isUntried`: none of
 * its sources has been tried by this attempt, so none has counted it.
 */
export function refuseFromPool(attempt: Attempt, source: Source, isUntried: boolean): number | undefined {
  const pool = poolOf(source);
  const known = pool && pools.get(pool);
  if (pool === undefined || known === undefined) return undefined;
  const key = refusalKey(as(attempt, source, null), 'pool');
  const refused = key === undefined ? undefined : known.get(key);
  if (key === undefined || refused === undefined) return undefined;
  const { failure, version, again } = refused;
  if (pool.version() !== version || !allHold(attempt, refused)) {
    known.delete(key);
    return undefined;
  }
  if (isUntried) again();
  attempt.localAddress = refused.parts.at(-1)?.local ?? null;
  attempt.localPort = source.port;
  attempt.failure = failure;
  return -failure.errno;
}

// Where the parts were remembered, they were of one network namespace.
function allHold(attempt: Attempt, { parts, until }: PoolRefusal): boolean {
  const [first] = parts;
  if (first === undefined || hasEnded({ until }) || !isOfThisNamespace(attempt, first.refusal)) return false;
  return parts.every(({ local, source, refusal }) => {
    return !isForgotten(refusal) && !isFreeAgain(as(attempt, source, local), refusal);
  });
}

/** A source of the pool was refused; undefined where that is not remembered. */
export function partOf(attempt: Attempt, source: Source, plan: readonly Technique[]): Part | undefined {
  const refusal = recallRefusal(attempt, source, plan);
  return refusal && { local: attempt.localAddress, source, refusal };
}

/** All of them were. */
export function rememberPool(
  attempt: Attempt,
  source: Source,
  sources: Sources | undefined,
  parts: readonly (Part | undefined)[],
): void {
  const pool = poolOf(source);
  const { failure } = attempt;
  const version = pool?.version();
  if (sources === undefined || pool === undefined || version === undefined) return;
  if (failure?.reason !== 'pool-exhausted') return;
  const all = parts.filter((part) => part !== undefined);
  if (
    all.length === 0 ||
    all.length < parts.length ||
    all.some(({ refusal }) => refusal.namespace !== all[0]?.refusal.namespace)
  )
    return;
  const key = refusalKey(as(attempt, source, null), 'pool');
  if (key === undefined) return;
  let known = pools.get(pool);
  if (known === undefined) pools.set(pool, (known = new RecentMap(MOST)));
  const until = endOfAll(all.map(({ refusal }) => refusal));
  known.set(key, { failure, version, parts: all, until, again: sources.countAgain() });
}
