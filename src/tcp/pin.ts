// One port, wanted by its number, that the kernel is to assign at connect(2): for all other destinations it stays free.
import { constants } from 'node:os';
import { interfaceOf, sourceToBind } from '../connect/route';
import { TUPLE_IN_USE } from '../connect/explain';
import { domainOf } from '../kernel/constants';
import { pinAndAdopt } from './adopt';
import type { Attempt } from './attempt';
import type { ConnectRequest } from './core_handle';
import { fail, failWith, questionOf } from './fail';
import type { Technique } from './port_plan';
import { connectPlaced } from './verify';

const { errno } = constants;

export type Pin = Extract<Technique, { kind: 'pin' }>;

/** 0 or a negative errno for core. 'taken': the port is not to be had in this way, or lies outside of the ephemeral range. */
export function connectPinned(
  attempt: Attempt,
  request: ConnectRequest,
  technique: Pin,
  local: string | null,
): number | 'taken' {
  attempt.technique = technique;
  attempt.localPort = technique.port;
  const outcome = pinAndAdopt(attempt, local, technique.port);
  if (outcome === 'elsewhere') return 'taken';
  if (outcome < 0) return failWith(attempt, outcome);
  // The pin has seen to it that the right network namespace answers.
  if (isHeldWithOtherDevice(attempt, true)) return fail(attempt, errno.EADDRNOTAVAIL, 'connect', TUPLE_IN_USE);
  const status = connectPlaced(attempt, request, technique);
  return status === -errno.EADDRNOTAVAIL && attempt.failure === undefined ? 'taken' : status;
}

/**
 * The kernel refuses a 4-tuple that is in use, but not when a device makes a difference between the two. `isKnown`: the right network
 * namespace was asked a moment ago.
 */
export function isHeldWithOtherDevice(attempt: Attempt, isKnown: boolean): boolean {
  const { native, fd, source, family, address, port } = attempt;
  const local = attempt.localAddress ?? sourceToBind(native, questionOf(attempt));
  // No source, or none that is known: then connect(2) will say why, or find it.
  if (typeof local !== 'string') return false;
  const device = interfaceOf(native, source.extras);
  // Where sock_diag does not answer there is only the kernel's own check.
  return native.tcpHeldWithOtherDevice(fd, domainOf(family), local, source.port, address, port, device, isKnown) === 1;
}
