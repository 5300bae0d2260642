// Port after port of a range that the kernel does not assign from. All connects to one destination share one circle, and go through it one
// after the other: the next one begins where the last one has found a port; and where one has come round in vain, all that waited
// for it are refused.
import { constants } from 'node:os';
import { ask, TURN, turnIsOver, type Work } from '../connect/steps';
import { domainOf } from '../kernel/constants';
import { answerOf } from '../kernel/outcome';
import type { Native, PortsQuestion } from '../kernel/addon';
import { hasBit, type PortBits, setBit } from '../values/port_bits';
import { type PortRange, portsOf, shuffled } from '../values/port_range';
import { RecentMap } from '../values/recent_map';
import { openAndAdopt } from './adopt';
import { givenBackCount } from './given_back';
import type { Attempt } from './attempt';
import type { ConnectRequest } from './core_handle';
import { failWith } from './fail';
import { placeOf, type Technique } from './port_plan';
import type { NoPort } from './refuse';
import { connectPlaced } from './verify';

const { errno } = constants;

const IPPROTO_TCP = 6;
/** In `portsInState`: every state that holds a 4-tuple, but TIME-WAIT, which an explicit bind takes over. */
const ANY_STATE = 0;

type Search = Extract<Technique, { kind: 'search' }>;

/** So many ports are tried in one call of the addon: half a millisecond. */
const AT_ONCE = 512;

/** After so many ports that could be bound, but whose 4-tuple was in use, the kernel is asked for all that are. */
const IN_USE = 16;

/** How long, in ms, its answer is believed. */
const BELIEVED = 25;

/** How long one search waits for another one that waits for the kernel, in ms. */
const WAIT_MS = 1;

interface Circle {
  readonly ports: Uint16Array;
  /** How many were tried, since it was made, and so the place of the next one. */
  position: number;
  /** By port, 1: its 4-tuple is in use; of a moment ago. */
  inUse: PortBits | undefined;
  believedUntil: number;
  asked: Promise<PortBits | number> | undefined;
  /** Somebody is trying its ports; others wait for what comes of it. */
  isBusy: boolean;
  /** How often somebody was refused, and what is known of the last time. */
  refusals: number;
  denied: boolean;
  /** {@link givenBackCount} when that search began. */
  seen: number;
}

const clock = performance;
const circles = new RecentMap<string, Circle>(64);
const orders = new RecentMap<string, Uint16Array>(8);
/** The port that a search of this thread that begins always at the same one has found first; 0: none yet. */
let searchedFrom = 0;

/** 0: the connect is under way. A negative errno: it has failed. */
export function* search(
  attempt: Attempt,
  request: ConnectRequest,
  technique: Search,
  local: string,
): Work<number | NoPort> {
  // To list the ports takes a while, too.
  if (turnIsOver()) yield TURN;
  const circle = circleOf(attempt, technique, local);
  const seen = givenBackCount();
  const { refusals } = circle;
  while (circle.isBusy) {
    yield circle.asked === undefined ? TURN : WAIT_MS;
    // Another search has gone round in the meantime, and nothing has come back since it began.
    const isKnown = circle.refusals !== refusals && circle.seen === givenBackCount();
    if (isKnown) return { denied: circle.denied, cost: 0 };
  }
  circle.isBusy = true;
  if (technique.fromOnePort && searchedFrom !== 0) circle.position = placeOf(circle.ports, searchedFrom);
  try {
    const status = yield* goRound(attempt, request, technique, local, circle);
    if (status === 0) {
      if (technique.fromOnePort) searchedFrom ||= attempt.localPort;
      markInUse(circle, attempt.localPort);
    }
    if (typeof status === 'object') {
      Object.assign(circle, { refusals: circle.refusals + 1, denied: status.denied, seen });
    }
    return status;
  } finally {
    // Also when the attempt was abandoned meanwhile.
    circle.isBusy = false;
  }
}

function* goRound(
  attempt: Attempt,
  request: ConnectRequest,
  technique: Search,
  local: string,
  circle: Circle,
): Work<number | NoPort> {
  const { native, family } = attempt;
  const size = circle.ports.length;
  const end = circle.position + size;
  let cost = 0;
  let isDenied = false;
  let isBare = false;
  let inUse = 0;
  while (circle.position < end) {
    const began = clock.now();
    const count = nextRun(circle, Math.min(AT_ONCE, end - circle.position));
    if (count === 0) continue;
    if (!isBare) {
      const opened = openAndAdopt(attempt, null, 0, undefined);
      if (opened < 0) return failWith(attempt, opened);
      isBare = true;
    }
    const start = circle.position % size;
    const passed = native.tcpBindFirst(attempt.fd, domainOf(family), local, circle.ports, start, count);
    if (passed < 0) return failWith(attempt, passed);
    isDenied ||= answerOf(native, 'denied') === 1;
    circle.position += Math.min(passed + 1, count);
    if (passed < count) {
      isBare = false;
      attempt.localPort = circle.ports[(start + passed) % size] as number;
      const status = connectPlaced(attempt, request, technique);
      if (status !== -errno.EADDRNOTAVAIL || attempt.failure !== undefined) return status;
      markInUse(circle, attempt.localPort);
      inUse++;
    }
    cost += clock.now() - began;
    if (inUse === IN_USE) yield* learnWhatIsInUse(attempt, circle, local);
    if (circle.position < end && turnIsOver()) yield TURN;
  }
  return { denied: isDenied, cost };
}

function markInUse({ inUse }: Circle, port: number): void {
  if (inUse !== undefined) setBit(inUse, port);
}

// How many of the next ports are worth a try; those that are not are passed over.
function nextRun(circle: Circle, most: number): number {
  const { ports, inUse } = circle;
  if (inUse === undefined) return most;
  if (clock.now() >= circle.believedUntil) {
    circle.inUse = undefined;
    return most;
  }
  const size = ports.length;
  const isInUse = (ahead: number): boolean => hasBit(inUse, ports[(circle.position + ahead) % size] as number);
  let passed = 0;
  while (passed < most && isInUse(passed)) passed++;
  circle.position += passed;
  let count = 0;
  while (count < most - passed && !isInUse(count)) count++;
  return count;
}

function* learnWhatIsInUse(attempt: Attempt, circle: Circle, local: string): Work<void> {
  if (circle.inUse !== undefined) return;
  const { native, family, address, port } = attempt;
  const question = [IPPROTO_TCP, ANY_STATE, domainOf(family), local, address, port] as const;
  const began = clock.now();
  const found = yield* ask<PortBits | number>({
    now: () => native.portsInStateNow(...question),
    later: () => (circle.asked = askOnce(native, circle, question)),
  });
  // Where sock_diag does not answer, each port is tried.
  if (typeof found === 'number') return;
  circle.inUse = found;
  circle.believedUntil = began + BELIEVED;
}

async function askOnce(native: Native, circle: Circle, question: PortsQuestion): Promise<PortBits | number> {
  try {
    return await native.portsInState(...question);
  } finally {
    circle.asked = undefined;
  }
}

function inOrder({ ranges, fromOnePort }: Search, reserved: readonly PortRange[]): Uint16Array {
  const ports = portsOf(ranges, reserved);
  return fromOnePort ? Uint16Array.from(ports) : shuffled(ports, Math.random);
}

function circleOf({ address, port, family, source }: Attempt, technique: Search, local: string): Circle {
  const reserved = technique.reserved();
  const listed = JSON.stringify([technique.ranges, reserved, technique.fromOnePort]);
  const settings = source.extras === null ? '' : JSON.stringify(source.extras);
  const key = `${family} ${local} ${address} ${port} ${settings} ${listed}`;
  let circle = circles.get(key);
  if (circle === undefined) {
    const ports = orders.get(listed) ?? inOrder(technique, reserved);
    orders.set(listed, ports);
    circle = {
      ports,
      position: Math.floor(Math.random() * ports.length),
      inUse: undefined,
      believedUntil: 0,
      asked: undefined,
      isBusy: false,
      refusals: 0,
      denied: false,
      seen: 0,
    };
  }
  circles.set(key, circle);
  return circle;
}
