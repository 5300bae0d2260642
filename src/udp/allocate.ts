// Which ports are tried, in which order, and when to wait. A generator, so that the same loop serves a caller who blocks and one who
// takes turns with the event loop (connect/steps.ts).
import { constants } from 'node:os';
import { performance } from 'node:perf_hooks';
import { parseAddress } from '../values/address';
import { clearTimeout, setTimeout } from '../values/timers';
import { portLocked, UDP_TUPLE_IN_USE } from '../connect/explain';
import { SocketState } from '../kernel/constants';
import type { PortsQuestion } from '../kernel/addon';
import { ask, TURN, turnIsOver, type Work } from '../connect/steps';
import { udpSocketCount } from '../kernel/sockstat';
import type { Lease } from './adopt';
import { deniedError, exhaustedError, failureOf, refusalOf, StartOver, type UdpAttempt } from './attempt';
import { LockHolder } from './lock_holder';
import { findNotTaken, holderOf, isTaken, type PortState, tryPort, tryPorts } from './port_lock';
import type { DestinationPorts } from './ports';
import { findAddresses } from './source_address';

const { errno } = constants;

// A program may have replaced the clock (tests do).
const now = performance.now.bind(performance);

const IPPROTO_UDP = 17;

/** So many questions to the kernel take about 1 ms: then the event loop has a turn, even if other connects leave time. */
const QUESTIONS_A_TURN = 256;

/** Beyond so many ports one dump costs less than a question for each, and none of it on the event loop. */
const WORTH_A_DUMP = QUESTIONS_A_TURN;

/** A question takes as long as a dump takes for so many sockets that are others', or for five that are listed. */
const SOCKETS_A_QUESTION = 16;

/** A dump takes some ms. Who has waited for this long, in ms, asks for each port. */
const DUMP_MS = 100;

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
  for (let round = 1; ;) {
    for (const batch of [offered, noLongerTaken, unlocked, noLongerDenied]) {
      const lease = yield* batch(attempt, ports);
      if (lease !== undefined) return lease;
    }
    // While this one took turns, another connect of this thread may have released a port.
    if (ports.hasOffer()) continue;
    if (!ports.mayUnlock(now()) && !(yield* mayBeLetGo(attempt, ports))) break;
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
  let misses = 0;
  for (let port = ports.take(); port !== undefined; port = ports.take()) {
    // After a miss a question comes first: it is cheaper than a socket that is bound in vain.
    if (misses > 0 && isTaken(attempt, port)) ports.markTaken(port);
    else {
      const lease = tryOffered(attempt, ports, port);
      if (lease !== undefined) return lease;
    }
    misses++;
    yield* afterQuestions(attempt, 1);
  }
  return undefined;
}

// What others had and may have given back.
function* noLongerTaken(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  const unlisted = yield* dump(attempt, ports);
  // The questions may go to a network namespace that the thread has left, which only an attempt shows.
  const first = unlisted?.find((port) => ports.isTaken(port));
  if (first !== undefined) {
    const lease = learn(ports, first, tryPort(attempt, first));
    if (lease !== undefined) return lease;
  }
  const taken = unlisted ?? Uint16Array.from(ports.taken());
  for (let from = 0; from < taken.length;) {
    const some = taken.subarray(from, from + QUESTIONS_A_TURN - attempt.asked);
    const found = findNotTaken(attempt, some);
    if (!found.isTaken) {
      const port = some[found.place] as number;
      const lease = learn(ports, port, tryPort(attempt, port));
      if (lease !== undefined) return lease;
    }
    from += found.place + 1;
    yield* afterQuestions(attempt, found.place + 1);
  }
  return undefined;
}

// What was locked.
function* unlocked(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  const locked = Uint16Array.from(ports.locked());
  for (let from = 0; from < locked.length;) {
    const some = locked.subarray(from, from + QUESTIONS_A_TURN - attempt.asked);
    const { state, place } = tryPorts(attempt, some);
    for (let n = 0; n < place; n++) ports.markLocked(some[n] as number, now());
    const lease = learn(ports, some[place] as number, state);
    if (lease !== undefined) return lease;
    from += place + 1;
    yield* afterQuestions(attempt, place + 1);
  }
  return undefined;
}

// Privileges may have come, and the sysctl may have changed: one of them tells.
function* noLongerDenied(attempt: UdpAttempt, ports: DestinationPorts): Work<Lease | undefined> {
  const port = ports.takeDenied();
  if (port === undefined) return undefined;
  const state = tryPort(attempt, port);
  if (state !== 'denied') ports.releaseDenied();
  yield* afterQuestions(attempt, 1);
  return learn(ports, port, state);
}

// A port that was locked for long is worth a wait only while its holder may be about to connect.
function* mayBeLetGo(attempt: UdpAttempt, ports: DestinationPorts): Work<boolean> {
  let may = false;
  for (const port of ports.locked()) {
    may = ports.mayLetGo(port, holderOf(attempt, port), now()) || may;
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

// Those of the taken ports that the kernel does not list any more. Undefined: each is to be asked for.
function* dump(attempt: UdpAttempt, ports: DestinationPorts): Work<Uint16Array | undefined> {
  if (ports.takenCount <= WORTH_A_DUMP || !attempt.cache.shared || !isListedAsAnswered(attempt)) return undefined;
  const { native } = attempt;
  const { port } = attempt.request.destination;
  const { domain, localAddress, remoteAddress } = attempt;
  const question: PortsQuestion = [IPPROTO_UDP, SocketState.established, domain, localAddress, remoteAddress, port];
  // An error is no answer: then the questions will tell.
  const unlistedIn = (listed: Uint16Array | number) =>
    typeof listed === 'number' ? undefined : ports.takenExcept(listed);
  return yield* ask({
    // The threads of libuv may be busy with something else for long.
    later: () =>
      within(
        DUMP_MS,
        ports.dump.join(async () => unlistedIn(await native.portsInState(...question)), attempt.signal),
      ),
    now: () => {
      // Where the sockets are not counted, there may be any number of them.
      const sockets = udpSocketCount(native) ?? Infinity;
      if (sockets > SOCKETS_A_QUESTION * ports.takenCount) return undefined;
      return unlistedIn(native.portsInStateNow(...question));
    },
  });
}

/** Undefined where it takes longer. */
function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, undefined);
    void promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}

// Whether a list of sockets says the same as questions for each of them do: not where a device or a zone tells them apart, nor
// where sockets of both families have the same ends.
function isListedAsAnswered({ request, cache, localAddress, remoteAddress }: UdpAttempt): boolean {
  const { destination, source } = request;
  if (source.extras?.interface !== undefined || cache.device !== 0) return false;
  return [localAddress, remoteAddress].every((text) => {
    const address = parseAddress(text);
    if (address?.family !== destination.family || address.zone !== undefined) return false;
    return destination.family === 4 || address.scope !== 'link-local';
  });
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
      ports.markLocked(port, now());
      return undefined;
    case 'denied':
      ports.markDenied(port);
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
