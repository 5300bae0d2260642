// One address from one source, with a dgram.Socket: while the caller waits, or in turns with the event loop.
import { runNow, turnIsOver } from '../connect/steps';
import { abortable, abortError, inTurnsUntilAborted } from './abort';
import { DgramTarget } from './adopt';
import { allocate, tryFirst } from './allocate';
import { attemptOf, type UdpAttempt } from './attempt';
import { type Done, startedWith } from './connect_outcome';
import { connectFallback } from './fallback';
import type { Plan, UdpRequest } from './options';
import { portCacheOf } from './port_cache';
import { closeIfOpen, createSocket, type Lease, type UdpSocket } from './socket';

/** While the caller waits. `done` hears what dgram makes of the connected descriptor. */
export function connectOneNow(plan: Plan, request: UdpRequest, done: Done): UdpSocket {
  const { native } = plan;
  const { destination } = request;
  if (native === undefined) return connectFallback(() => createSocket(plan, destination.family), request, done);
  const target = new DgramTarget(native, plan, destination.family);
  try {
    const attempt = attemptOf(native, portCacheOf(native), request, target);
    const lease = tryFirst(attempt) ?? runNow(allocate(attempt));
    return target.take(lease, attempt.remoteAddress, destination.port, done);
  } catch (error) {
    target.discard();
    throw error;
  }
}

/** In turns with the event loop. Mostly the first try is all, and then there is no promise but the one that is returned. */
export function connectOneInTurns(plan: Plan, request: UdpRequest): Promise<UdpSocket> {
  const { native, signal } = plan;
  const { family } = request.destination;
  if (native === undefined) {
    return whenDone((done) => connectFallback(() => createSocket(plan, family), request, done));
  }
  const target = new DgramTarget(native, plan, family);
  const attempt = attemptOf(native, portCacheOf(native), request, target, signal);
  try {
    // Whoever opens many sockets one after the other, each as soon as the one before is there, gives the event loop no turn otherwise.
    const lease = turnIsOver() ? undefined : tryFirst(attempt);
    return lease === undefined ? goOnInTurns(attempt, target) : taken(attempt, target, lease);
  } catch (error) {
    target.discard();
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what was thrown
    return Promise.reject(error);
  }
}

async function goOnInTurns(attempt: UdpAttempt, target: DgramTarget): Promise<UdpSocket> {
  const { signal } = attempt;
  try {
    const lease = await inTurns(attempt, signal);
    if (signal?.aborted !== true) return await taken(attempt, target, lease);
    // Meanwhile, and dgram has closed the socket.
    lease.ports?.release(lease.localPort);
    throw abortError(signal);
  } catch (error) {
    target.discard();
    throw error;
  }
}

export function inTurns(attempt: UdpAttempt, signal: AbortSignal | undefined): Promise<Lease> {
  // Once the event loop has had a turn, epoll knows the descriptor, and it must not become another socket.
  return inTurnsUntilAborted(allocate(attempt), signal, () => {
    attempt.target.discard();
  });
}

function taken(attempt: UdpAttempt, target: DgramTarget, lease: Lease): Promise<UdpSocket> {
  const { remoteAddress, request, signal } = attempt;
  // Where dgram connects later (Bun), an abort closes the socket, and nobody calls back.
  return abortable(
    whenDone((done) => target.take(lease, remoteAddress, request.destination.port, done)),
    signal,
  );
}

// dgram calls back in the next tick, with an error where it would not have the peer (sendBlockList).
function whenDone(start: (done: Done) => UdpSocket): Promise<UdpSocket> {
  return new Promise((resolve, reject) => {
    startedWith(start, (socket, error) => {
      if (error === undefined) resolve(socket);
      else {
        closeIfOpen(socket);
        reject(error);
      }
    });
  });
}
