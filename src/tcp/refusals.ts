// What a connect was refused a moment ago: no port is left towards this destination. To find that out, the kernel searches the whole range
// each time; to say it again for a moment costs next to nothing. A hint with a short life: the kernel is asked again soon, and at once
// when a port comes back.
import type { Failure } from '../connect/failure';
import { domainOf, SocketState } from '../kernel/constants';
import type { Native, TcpExtras } from '../kernel/addon';
import type { Source } from '../source/options';
import type { Family } from '../values/address';
import { includesPort } from '../values/port_range';
import { RecentMap } from '../values/recent_map';
import type { TcpHandle } from './core_handle';
import { type GivenBack, givenBackCount, givenBackLately, givenBackSince, INTEREST, watchCloses } from './given_back';
import { recentRange } from './verify';

/** For so long, in ms, a port that another process gives back may go unnoticed, as long as searches have not used up their share. */
const LONGEST = 25;
/** A refusal is believed for this many times as long as it took to get it. */
const TIMES = 40;
/**
 * The share of a processor that all searches together may take. Once it is used up, each refusal is believed until it is paid for, but for
 * no longer than so many ms: many destinations that are full at once must not keep the event loop busy with searches.
 */
const SHARE = 0.05;
const USED_UP = 1000;
/** What a search of the default range takes the kernel at the most, in ms: if it took longer, somebody else had the processor. */
const DEAREST = 1.25;
/** In the default range. */
const PORTS = 28_232;
/** How long, in ms, the advice of an error is true: which share of the ports is in TIME-WAIT. */
const ADVICE = 100;
const MOST = 1024;

const UNSPECIFIED = '0.0.0.0';

const clock = performance;

/** Whose connect was refused. */
export interface Refused {
  readonly native: Native;
  readonly source: Source;
  readonly handle: TcpHandle;
  readonly address: string;
  readonly port: number;
  readonly family: Family;
  readonly localAddress: string | null;
}

export interface Refusal {
  readonly failure: Failure;
  readonly explained: number;
  /** When it was found, and what that took, in ms. */
  readonly found: number;
  readonly cost: number;
  readonly until: number;
  readonly forgotten: number;
  /** `tcpNamespace()` */
  readonly namespace: number;
  /** So many of the ports that were given back are known to make no difference. */
  seen: number;
  /** Those that may yet. */
  closing: readonly GivenBack[];
}

const refusals = new RecentMap<string, Refusal>(MOST);
/** Until then, `performance.now()`, the share of the processor is used up. */
let paidUntil = 0;
/** From then on all that is remembered is of no use. */
let usefulUntil = 0;
/** How often all was forgotten. */
let forgotten = 0;

/** Whether anything is remembered at all: mostly not, and then nothing needs to be looked up. */
export function anyRefusals(): boolean {
  if (refusals.size === 0) return false;
  if (clock.now() < usefulUntil) return true;
  refusals.clear();
  return false;
}

/** Nothing is known any more: a port was given back in a way that nobody has watched. */
export function forgetRefusals(): void {
  refusals.clear();
  forgotten++;
}

/** Whether {@link forgetRefusals} was called since: of what is remembered elsewhere. */
export function isForgotten(refusal: Refusal): boolean {
  return refusal.forgotten !== forgotten;
}

/** What a refusal depends on; `ways` are the techniques that were tried. Undefined: on more than can be remembered. */
export function refusalKey(of: Refused, ways: string): string | undefined {
  const { source, localAddress, address, port, family } = of;
  const extras = source.extras === null ? '' : settingsOf(source.extras);
  if (extras === undefined) return undefined;
  const range = source.range === undefined ? '' : `${source.range.low}-${source.range.high}`;
  return `${ways} ${family} ${localAddress ?? '*'} ${address} ${port} ${range} ${extras}`;
}

function settingsOf({ socketOptions, ...others }: TcpExtras): string | undefined {
  return socketOptions === undefined || socketOptions.length === 0 ? JSON.stringify(others) : undefined;
}

/** The refusal of a moment ago, if it still holds, and will for `left` ms more. */
export function recall(of: Refused, key: string, left = 0): Refusal | undefined {
  const refusal = refusals.get(key);
  return refusal !== undefined && holds(of, refusal, left) ? refusal : undefined;
}

/** Whether its time is over, or will be in `left` ms. */
export function hasEnded({ until }: Pick<Refusal, 'until'>, left = 0): boolean {
  return clock.now() + left >= until;
}

/** Whether nothing has happened that might have ended it. */
export function holds(of: Refused, refusal: Refusal, left = 0): boolean {
  return !hasEnded(refusal, left) && isOfThisNamespace(of, refusal) && !isFreeAgain(of, refusal);
}

export function isOfThisNamespace({ native }: Pick<Refused, 'native'>, { namespace }: Refusal): boolean {
  return native.tcpNamespace() === namespace;
}

/** Until when all of these hold, as one answer: what they took together has to be paid for, too. */
export function endOfAll(refusals: readonly Refusal[]): number {
  const cost = refusals.reduce((sum, refusal) => sum + refusal.cost, 0);
  const oldest = refusals.reduce((first, { found }) => Math.min(first, found), Infinity);
  return Math.max(endOf(oldest, cost), Math.min(paidUntil, oldest + USED_UP));
}

function endOf(found: number, cost: number): number {
  return found + Math.min(cost * TIMES, LONGEST);
}

/** The failure that was explained a moment ago, of a connect that has failed in the same way now. */
export function recallAdvice(of: Refused, key: string): Failure | undefined {
  const known = refusals.get(key);
  // An IPv6 socket without a source is told the same where no interface is up.
  if (known === undefined || (of.localAddress === null && of.family === 6)) return undefined;
  return clock.now() - known.explained < ADVICE ? known.failure : undefined;
}

/** What it takes the kernel, in ms, to search so many ports. */
export function usualCost(ports: number): number {
  return (DEAREST * ports) / PORTS;
}

/** What it took since `began`, `performance.now()`. */
export function costOf(began: number, ports: number): number {
  return Math.min(clock.now() - began, Math.max(DEAREST, usualCost(ports)));
}

/**
 * To be called when no port was found, which took `cost` ms, `charged` of which were told before. `seen`: {@link givenBackCount} when the
 * search began.
 */
export function remember(of: Refused, key: string, failure: Failure, cost: number, seen: number, charged = 0): void {
  const now = clock.now();
  const namespace = of.native.tcpNamespace();
  // Where it cannot be told from others (0), or not be asked, another one may be meant the next time.
  if (namespace <= 0 || !watchCloses(of.handle, now)) return;
  paidUntil = Math.min(Math.max(paidUntil, now) + (cost - charged) / SHARE, now + USED_UP);
  const until = Math.max(endOf(now, cost), paidUntil);
  const explained = refusals.get(key)?.failure === failure ? (refusals.get(key)?.explained ?? now) : now;
  // What was free by then the search has not found: it is not to be had in this way.
  const before = (givenBackSince(givenBackLately(now)) ?? []).filter(({ serial }) => serial < seen);
  const closing = before.filter((port) => stateOf(of, port) === 'closing');
  refusals.set(key, { failure, explained, found: now, cost, until, forgotten, namespace, seen, closing });
  usefulUntil = Math.max(usefulUntil, until, now + ADVICE);
}

/** Whether a port that was given back since may be had now. */
export function isFreeAgain(of: Refused, refusal: Refusal): boolean {
  const { seen, closing } = refusal;
  if (closing.length === 0 && seen === givenBackCount()) return false;
  const more = givenBackSince(seen);
  if (more === undefined) return true;
  const left: GivenBack[] = [];
  for (const port of [...closing, ...more]) {
    const state = stateOf(of, port);
    if (state === 'free') return true;
    if (state === 'closing' && clock.now() - port.at < INTEREST) left.push(port);
  }
  refusal.closing = left;
  refusal.seen = givenBackCount();
  return false;
}

// Asked of the kernel, about this very 4-tuple: most ports that a busy process gives back led elsewhere.
function stateOf(of: Refused, { address, port, at }: GivenBack): 'free' | 'closing' | 'taken' {
  const { native, source, localAddress, family } = of;
  const range = source.range ?? recentRange(native, at);
  if (range !== undefined && !includesPort(range, port)) return 'taken';
  // Of IPv4 addresses there is one spelling.
  if (localAddress !== null && localAddress !== address && isIPv4(localAddress) && isIPv4(address)) {
    if (address !== UNSPECIFIED && localAddress !== UNSPECIFIED) return 'taken';
  }
  const local = localAddress ?? addressFor(family, address);
  if (local === undefined) return 'taken';
  const state = native.tcpTupleState(domainOf(family), local, port, of.address, of.port);
  // Nobody can tell: then connect(2) will.
  if (state <= 0) return 'free';
  if (state === SocketState.established) return 'taken';
  if (state !== SocketState.timeWait) return 'closing';
  return source.reuseTimeWait ? 'free' : 'taken';
}

function isIPv4(address: string): boolean {
  return !address.includes(':');
}

// Where the kernel was to choose the source, that of the socket that was closed: one of the other family led elsewhere.
function addressFor(family: Family, address: string): string | undefined {
  const isIPv6 = address.includes(':');
  if (family === 4) return isIPv6 ? /^::ffff:([\d.]+)$/i.exec(address)?.[1] : address;
  return isIPv6 ? address : `::ffff:${address}`;
}
