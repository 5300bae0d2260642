// Sources that the kernel would take without complaint, or with a bare EINVAL, and then not use as was meant.
import { constants } from 'node:os';
import { mayBeginWithZero, parseAddress } from '../values/address';
import { LOOPBACK_SOURCE, MISSING_ZONE, otherAddress, SELF_CONNECT } from '../connect/explain';
import { isOnThisMachine, routeTo } from '../connect/route';
import { RTN_BROADCAST } from '../kernel/constants';
import type { Source } from '../source/options';
import { isPool } from '../source/pooled';
import { lacksZone } from '../source/resolve';
import type { Attempt } from './attempt';
import { fail, questionOf } from './fail';
import { wasKept } from './verify';

const { errno } = constants;

/** 0, or a negative errno where the source cannot be used. */
export function checkSource(attempt: Attempt, source: Source, local: string): number {
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
