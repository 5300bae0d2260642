// Which ports are tried, in which order, and when to wait. A generator, so that the same loop serves a caller who blocks and one who
// takes turns with the event loop (connect/steps.ts).
import { constants } from 'node:os';
import { performance } from 'node:perf_hooks';
import { portLocked, UDP_TUPLE_IN_USE } from '../connect/explain';
import { ask, TURN, turnIsOver, type Work } from '../connect/steps';
import type { Lease } from './socket';
import { deniedError, exhaustedError, failureOf, refusalOf, StartOver, type UdpAttempt } from './attempt';
import { LockHolder } from './lock_holder';
import { areTaken, holderOf, isTaken, type PortState, tryPort, tryPorts } from './port_lock';
import { BELIEVED_MS } from './looks';
import type { DestinationPorts } from './ports';
import { findAddresses } from './source_address';
import { look, WORTH_A_WAIT } from './survey';

const { errno } = constants;

// A program may have replaced the clock (tests do).
const now = performance.now.bind(performance);

/** So many questions to the kernel take about 1 ms: then the event loop has a turn, even if other connects leave time. */
const QUESTIONS_A_TURN = 256;

/** So many ports are asked for in one call. */
const QUESTIONS_AT_ONCE = 64;

/** How often an explicit port that is locked is tried: for 60 ms when blocking, some 300 ms when not. */
const PATIENCE = 64;

/** The first try, which is mostly the last one, too. Undefined: {@link allocate} has to go on. */
export function tryFirst(attempt: UdpAttempt): Lease | undefined {
  const { port } = attempt.request.source;
  findAddresses(attempt);
  try {
    if (port !== 0) return tryPort(attempt, port) === 'connected' ? { ports: undefined, localPort: port } : undefined;
    const ports = portsOf(attempt);
    const offered = ports.take();
    return offered === undefined ? undefined : tryOffered(attempt, ports, offered);
  } catch (error) {
    if (error instanceof StartOver) return undefined;
    throw error;
  }
}

/** Connects the target. Throws a ConnectxError. */
export function* allocate(attempt: UdpAttempt): Work<Lease> {
  const { port } = attempt.request.source;
  if (turnIsOver()) yield TURN;
  let refusal = 0;
  // Only a change of the network namespace or the loss of sock_diag begins again, and neither goes on for ever.
  for (let again = 0; again < 4; again++) {
    findAddresses(attempt);
    try {
      return port === 0 ? yield* anyPort(attempt) : yield* onePort(attempt, port);
    } catch (error) {
      if (!(error instanceof StartOver)) throw error;
      refusal = error.refusal || refusal;
    }
  }
  if (refusal !== 0) throw failureOf(attempt, refusal);
  throw port === 0 ? exhaustedError(attempt) : refusalOf(attempt, errno.EADDRINUSE, 'bind', portLocked(port));
}

function* onePort(attempt: UdpAttempt, port: number): Work<Lease> {
  const holder = new LockHolder();
  let mayLetGo = true;
  for (let tries = 1; tries <= PATIENCE || mayLetGo; tries++) {
    const state = tryPort(attempt, port);
    if (state === 'connected') return { ports: undefined, localPort: port };
    // A contender is not connected yet; one that is connected with this very 4-tuple will not go away.
    if (state === 'taken' || isTaken(attempt, port)) {
      throw refusalOf(attempt, errno.EADDRINUSE, 'connect', UDP_TUPLE_IN_USE);
    }
    if (tries === 1 || tries >= PATIENCE) mayLetGo = holder.mayLetGo(holderOf(attempt, port), now());
    yield pauseAfter(tries, Math.random);
  }
  throw refusalOf(attempt, errno.EADDRINUSE, 'bind', portLocked(port));
}

function* anyPort(attempt: UdpAttempt): Work<Lease> {
  const ports = portsOf(attempt);
  let began = now();
  let told: number | undefined;
  for (let round = 1; ;) {
    // Who only waits for locks does not ask again for what the kernel has just said of all the others.
    if (told !== undefined && now() - told > BELIEVED_MS) {
      began = now();
      told = undefined;
    }
    for (const batch of [offered, noLongerTaken(began), unlocked, noLongerDenied]) {
      const lease = yield* batch(attempt, ports);
      if (lease !== undefined) return lease;
    }
    told ??= now();
    // While this one took turns, another connect of this thread may have released a port.
    if (ports.hasOffer()) continue;
    if (!ports.refused.mayUnlock(now()) && !(yield* mayBeLetGo(attempt, ports))) break;
    yield pauseAfter(round, Math.random);
    round++;
  }
  const { native, cache } = attempt;
  if (native.udpMoved() === 1) {
    // Ports that were ours in another network namespace say nothing of this one, and nobody has asked the kernel for them.
    cache.forget();
    throw new StartOver();
  }
  if (cache.refresh()) throw new StartOver();
  throw ports.areAllDenied() ? deniedError(attempt) : exhaustedError(attempt);
}

// What was never offered, and what was released.
function* offered(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  let asked = 0;
  let mayLook = true;
  for (let port = ports.take(); port !== undefined; port = ports.take()) {
    const lease = tryOffered(attempt, ports, port);
    if (lease !== undefined) return lease;
    yield* afterQuestions(attempt, 1);
    // After a miss questions come first: they are cheaper than a socket that is bound in vain, and several of them than one by one.
    while (!ports.hasFound() && ports.unknownCount > 0) {
      if (mayLook && asked >= WORTH_A_WAIT) {
        const looked = yield* look(attempt, ports, asked);
        if (looked === 'known') break;
        mayLook = looked === 'not yet';
      }
      asked += yield* askSome(attempt, ports);
    }
  }
  return undefined;
}

// Asks for some that nobody knows of. How many they were.
function* askSome(attempt: UdpAttempt, ports: DestinationPorts): Work<number> {
  const some = ports.takeUnknown(Math.min(ports.looks.questions, QUESTIONS_A_TURN - attempt.asked));
  if (some.length === 0) return 0;
  const taken = areTaken(attempt, some);
  let found = 0;
  some.forEach((port, place) => {
    if (taken?.[place] === true) ports.markTaken(port);
    else {
      ports.markFound(port);
      found++;
    }
  });
  ports.looks.noteFound(found, some.length);
  yield* afterQuestions(attempt, some.length);
  return some.length;
}

// What others had and may have given back, unless the kernel has said a moment ago that they still have it.
function noLongerTaken(began: number) {
  return function* (attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
    const { looks } = ports;
    while (ports.takenCount > 0 && !ports.hasOffer() && !looks.isSince(began)) {
      if (looks.isBelieved(ports.takenCount, now())) break;
      const pause = looks.pause(now());
      // Who cannot wait does not rest.
      if (pause > 0 && (yield* ask({ now: () => false, later: () => looks.rest(pause) }))) continue;
      const looked = yield* look(attempt, ports);
      if (looked === 'known') break;
      if (looked !== 'later') yield* askAll(attempt, ports);
    }
    return yield* offered(attempt, ports);
  };
}

// Asks for each port that others have.
function* askAll(attempt: UdpAttempt, ports: DestinationPorts): Work<void> {
  const began = now();
  const all = ports.taken();
  for (let from = 0; from < all.length;) {
    const some = all.subarray(from, from + Math.min(QUESTIONS_AT_ONCE, QUESTIONS_A_TURN - attempt.asked));
    from += some.length;
    const taken = areTaken(attempt, some);
    // Where the kernel does not say, the attempt itself will. Others of this thread ask as well: what they have found is not found twice.
    some.forEach((port, place) => {
      if (taken?.[place] !== true) ports.markUntaken(port);
    });
    yield* afterQuestions(attempt, some.length);
  }
  ports.looks.asked(all.length, began);
}

// What was locked.
function* unlocked(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  const locked = Uint16Array.from(ports.refused.locked());
  for (let from = 0; from < locked.length;) {
    const some = locked.subarray(from, from + QUESTIONS_A_TURN - attempt.asked);
    const { state, place } = tryPorts(attempt, some);
    for (let n = 0; n < place; n++) ports.refused.markLocked(some[n] as number, now());
    const lease = learn(ports, some[place] as number, state);
    if (lease !== undefined) return lease;
    from += place + 1;
    yield* afterQuestions(attempt, place + 1);
  }
  return undefined;
}

// Privileges may have come, and the sysctl may have changed: one of them tells.
function* noLongerDenied(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  const port = ports.refused.takeDenied();
  if (port === undefined) return undefined;
  const state = tryPort(attempt, port);
  if (state !== 'denied') ports.releaseDenied();
  yield* afterQuestions(attempt, 1);
  return learn(ports, port, state);
}

// A port that was locked for long is worth a wait only while its holder may be about to connect.
function* mayBeLetGo(attempt: UdpAttempt, ports: DestinationPorts): Work<boolean> {
  let may = false;
  for (const port of ports.refused.locked()) {
    may = ports.refused.mayLetGo(port, holderOf(attempt, port), now()) || may;
    yield* afterQuestions(attempt, 4);
  }
  return may;
}

function* afterQuestions(attempt: UdpAttempt, count: number): Work<void> {
  attempt.asked += count;
  if (attempt.asked < QUESTIONS_A_TURN && !turnIsOver()) return;
  attempt.asked = 0;
  yield TURN;
}

// What take() offered is never offered again, unless it is released: also when the attempt fails for another reason than the port.
function tryOffered(attempt: UdpAttempt, ports: DestinationPorts, port: number): Lease | undefined {
  try {
    return learn(ports, port, tryPort(attempt, port));
  } catch (error) {
    ports.release(port);
    throw error;
  }
}

function learn(ports: DestinationPorts, port: number, state: PortState): Lease | undefined {
  switch (state) {
    case 'connected':
      ports.markFree(port);
      return { ports, localPort: port };
    case 'taken':
      ports.markTaken(port);
      return undefined;
    case 'locked':
      ports.refused.markLocked(port, now());
      return undefined;
    case 'denied':
      ports.refused.markDenied(port);
      return undefined;
  }
}

function portsOf({ cache, request, localAddress, remoteAddress }: UdpAttempt): DestinationPorts {
  const { extras, range } = request.source;
  return cache.portsTowards(localAddress, remoteAddress, request.destination.port, extras?.interface, range);
}

/** Waits shorter than a timer can measure come first: a lock is held for some 10 microseconds. */
export function pauseAfter(tries: number, random: () => number): number {
  if (tries <= 4) return 0.01 + random() * 0.05 * tries;
  return 0.1 + random() * Math.min(tries / 4, 8);
}
