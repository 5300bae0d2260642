// How most connections are made: one descriptor, prepared by one call of the addon, and Node's core connects it. This is what each
// connection costs beyond core, so it has no more steps than most of them need; the rest is the slow path's.
import { constants } from 'node:os';
import { type Destination, mayBeginWithZero } from '../values/address';
import { openAndAdopt } from './adopt';
import type { Attempt } from './attempt';
import type { ConnectRequest, TcpHandle } from './core_handle';
import type { Failure } from '../connect/failure';
import { turnIsOver } from '../connect/steps';
import { fail, failWith } from './fail';
import { kernelOf } from '../kernel/kernel';
import { netDenial } from '../kernel/permission';
import { connectPinned } from './pin';
import { isLastToAssign, planPorts } from './port_plan';
import { anyRefusals } from './refusals';
import { costOfAssigning, hadNoneToAssign, recallRefusal, refuse, refuseAgain, rememberNoneToAssign } from './refuse';
import { connectSlowly } from './slow_path';
import type { Source } from '../source/options';
import { isPool } from '../source/pooled';
import { lacksZone, resolveSource } from '../source/resolve';
import { connected } from './verify';

const { errno } = constants;

const NOTHING_KNOWN: Failure = { errno: errno.EACCES, syscall: 'connect', reason: undefined, advice: '' };

const kAttempt = Symbol('connectx.attempt');

type Shadowed = TcpHandle & { [kAttempt]?: Attempt | undefined };

/**
 * To be called when core announces that it will connect the handle. When it then does (a listener or a block list may
 * prevent it), the handle gets a descriptor with the source bound first.
 */
export function begin(attempt: Attempt): void {
  const handle: Shadowed = attempt.handle;
  handle[kAttempt] = attempt;
  if (attempt.family === 6) handle.connect6 = connectAttempted;
  else handle.connect = connectAttempted;
}

// Not a closure of each attempt: it would take as much memory as the attempt.
function connectAttempted(this: Shadowed, request: ConnectRequest): number {
  const attempt = this[kAttempt] as Attempt;
  attempt.request = request;
  attempt.oncomplete = request.oncomplete;
  // Back to core's own, so that the handle does not keep the attempt alive.
  this[kAttempt] = undefined;
  if (attempt.family === 6) this.connect6 = attempt.coreConnect;
  else this.connect = attempt.coreConnect;
  return connect(attempt, request);
}

/** 0 or a negative errno, as everything that answers core. */
function connect(attempt: Attempt, request: ConnectRequest): number {
  const { native, source } = attempt;
  const denial = netDenial(native);
  if (denial !== undefined) {
    attempt.failure = { ...NOTHING_KNOWN, thrown: { error: denial } };
    return -errno.EACCES;
  }
  const local = localOf(source, attempt);
  if (local === undefined) return connectSlowly(attempt, request);
  const kernel = kernelOf(native);
  const plan = planPorts(source, local !== null, kernel);
  const [technique] = plan;
  attempt.localAddress = local;
  if (technique?.kind === 'pin') {
    // A source that the slow path has to ask for, or that leads back to itself.
    if (local === null || local === attempt.address) return connectSlowly(attempt, request);
    const status = connectPinned(attempt, request, technique, local);
    return status === 'taken' ? connectSlowly(attempt, request, plan) : status;
  }
  if (technique?.kind !== 'assign') return connectSlowly(attempt, request);
  attempt.technique = technique;
  let began: number | undefined;
  if (anyRefusals()) {
    const known = recallRefusal(attempt, source, plan);
    if (known !== undefined) return turnIsOver() ? connectSlowly(attempt, request) : refuseAgain(attempt, known);
    if (hadNoneToAssign(attempt, source, plan)) return connectSlowly(attempt, request, plan);
    began = performance.now();
  }
  const outcome = openAndAdopt(attempt, local, 0, technique.range);
  if (outcome < 0) return failWith(attempt, outcome);
  const status = attempt.callCore(request);
  if (status === 0) return connected(attempt, request, technique);
  if (status !== -errno.EADDRNOTAVAIL) return fail(attempt, -status, 'connect');
  const cost = costOfAssigning(attempt, technique, began);
  if (plan.length === 1) return refuse(attempt, source, plan, cost);
  if (isLastToAssign(plan, 0)) rememberNoneToAssign(attempt, source, plan, cost);
  return connectSlowly(attempt, request, plan, cost);
}

/** The source address of this destination, null where the kernel is to choose; undefined where the slow path has to see to that. */
function localOf(source: Source, destination: Destination): string | null | undefined {
  const { address, range, chooseRange } = source;
  if (range !== undefined || chooseRange !== undefined) return undefined;
  if (address === undefined) return null;
  if (typeof address === 'function' || isPool(address)) return undefined;
  const local = resolveSource(source, destination);
  if (destination.family === 4 || local === null || local === undefined) return local;
  return mayBeginWithZero(local) || lacksZone(source, local) ? undefined : local;
}
