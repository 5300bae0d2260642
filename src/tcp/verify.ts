// Is the connection what was asked for? Some requests connect(2) takes, and then does something else. Where that cannot be, the kernel is
// not asked.
import { constants } from 'node:os';
import { type Destination, groupsOf, hexDigit, mayBeginWithZero } from '../values/address';
import { type Explanation, otherAddress, otherPort, SELF_CONNECT } from '../connect/explain';
import type { ConnectRequest } from './core_handle';
import { fail, type Failing } from './fail';
import { kernelOf } from '../kernel/kernel';
import { tcpRedirects } from '../connect/redirects';
import { domainOf, Verdict } from '../kernel/constants';
import { answerOf, errnoOf, syscallOf } from '../kernel/outcome';
import type { Native } from '../kernel/addon';
import { searchesByParity, type Technique } from './port_plan';
import { ALL_PORTS, includesPort, type PortRange } from '../values/port_range';
import { ExpiringMap } from '../values/expiring_map';
import type { Source } from '../source/options';
import { ephemeralRange } from '../kernel/sysctl';

const { errno } = constants;

// As a global it would be looked up at each connect: it is an accessor.
const clock = performance;

const NO_RANGE: PortRange = { low: 0, high: 0 };
const NOTHING_TO_ADD: Explanation = { reason: undefined, advice: '' };

const UNSPECIFIED = '0.0.0.0';

const SOL_SOCKET = 1;
const SO_LINGER = 13;
const RESET_ON_CLOSE = new Uint8Array(new Int32Array([1, 0]).buffer);

/** How long the kernel's word is believed, in ms, and of how many sources and ranges. */
const LIFETIME = 1000;
const MOST = 256;

/** Sources from which the kernel has connected a moment ago, as against: has taken another one instead (broadcast addresses). */
const kept = new ExpiringMap<true>(LIFETIME, MOST);
/** Of the network namespace that the thread was in a moment ago. */
const ranges = new ExpiringMap<PortRange>(LIFETIME, MOST);

/**
 * Whether the kernel has to be asked what it has connected. `now` is `performance.now()`. A source is asked about once a second, and
 * so is the ephemeral range, without which nobody can tell whether a socket may have connected to itself.
 */
export function mayDiffer(
  native: Native,
  source: Source,
  technique: Technique,
  localAddress: string | null,
  { address, port, family }: Destination,
  now: number,
): boolean {
  // A range that was asked for is ignored where it no longer lies in the ephemeral one; with extras anything may be.
  if (source.extras !== null || source.range !== undefined || source.port !== 0) return true;
  if (technique.kind !== 'assign' || isOfSomePorts(technique.range)) return true;
  if (localAddress === null) return mayBeAssigned(native, port, now);
  const maybeSame =
    family === 4
      ? localAddress === address || address === UNSPECIFIED
      : mayBeSame(localAddress, address) || mayBeUnspecified(address);
  return maybeSame || kept.get(localAddress, now) === undefined;
}

// As of a slice of a pool, or of a function. All ports are what the kernel would take anyway.
function isOfSomePorts(range: PortRange | undefined): boolean {
  return range !== undefined && range !== ALL_PORTS;
}

/** To be called when the kernel was asked, and had connected from this address. */
export function hasKept({ extras }: Source, localAddress: string | null, now: number): void {
  if (localAddress === null || extras !== null || kept.has(localAddress, now)) return;
  kept.set(localAddress, true, now);
}

/** Whether the kernel has connected from this address a moment ago. */
export function wasKept(localAddress: string, now: number): boolean {
  return kept.get(localAddress, now) === true;
}

/** An attempt whose connect(2) is under way. */
export interface Begun extends Failing {
  localPort: number;
}

/** connect(2) is under way. 0, or a negative errno for core where it is not what was asked for. */
export function connected(attempt: Begun, request: ConnectRequest, technique: Technique): number {
  const { native, source, localAddress, address, port } = attempt;
  const now = clock.now();
  const { parityScan } = kernelOf(native);
  const wantsPort = searchesByParity(technique) && parityScan.wantsPort();
  const asksPeer = tcpRedirects.mustAsk(address, port);
  if (!wantsPort && !asksPeer && !mayDiffer(native, source, technique, localAddress, attempt, now)) return 0;
  const status = verify(attempt, request, technique, now, asksPeer);
  const range = wantsPort ? recentRange(native, now) : undefined;
  if (range !== undefined) parityScan.saw(attempt.localPort, range.low);
  return status;
}

/** An attempt whose handle has a socket with a port. */
export interface Placed extends Begun {
  callCore(request: ConnectRequest): number;
}

/** Connects it. 0: under way. -EADDRNOTAVAIL without a failure: the 4-tuple is in use. Any other negative errno: it has failed. */
export function connectPlaced(attempt: Placed, request: ConnectRequest, technique: Technique): number {
  const status = attempt.callCore(request);
  if (status === 0) return connected(attempt, request, technique);
  return status === -errno.EADDRNOTAVAIL ? status : fail(attempt, -status, 'connect');
}

/**
 * Asks the kernel what it is connecting: 0 where it is what was asked for. Otherwise the connect is abandoned, and the answer is a
 * negative errno for core.
 */
function verify(attempt: Begun, request: ConnectRequest, technique: Technique, now: number, asksPeer: boolean): number {
  const { native, source, localAddress, address, port, family, fd } = attempt;
  const { low, high } = expectedPorts(technique, attempt);
  const verdict = native.tcpCheck(fd, domainOf(family), localAddress, low, high, address, port, asksPeer);
  if (verdict < 0) return abandon(attempt, request, errnoOf(verdict), NOTHING_TO_ADD, syscallOf(native, verdict));
  attempt.localPort = answerOf(native, 'port');
  if (localAddress !== null || source.port !== 0) {
    // Core puts them into the error of a connect that fails later.
    request.localAddress = localAddress ?? undefined;
    request.localPort = attempt.localPort;
  }
  switch (verdict) {
    case Verdict.selfConnected:
      return abandon(attempt, request, errno.ECONNREFUSED, SELF_CONNECT);
    case Verdict.otherAddress:
      return abandon(attempt, request, errno.EADDRNOTAVAIL, otherAddress(localAddress));
    case Verdict.otherPort:
      return abandon(attempt, request, errno.EADDRNOTAVAIL, otherPort({ low, high }));
    case Verdict.rewritten:
      tcpRedirects.wasRewritten();
      break;
    case Verdict.peerUnknown:
      break;
    default:
      if (asksPeer) tcpRedirects.wasAsAsked(address, port);
  }
  hasKept(source, localAddress, now);
  return 0;
}

function expectedPorts(technique: Technique, { source, localPort }: Begun): PortRange {
  if (technique.kind !== 'assign') return { low: localPort, high: localPort };
  // Where no range was asked for, there may be one to make the search short.
  return source.range === undefined ? NO_RANGE : (technique.range ?? NO_RANGE);
}

// libuv is connecting, but core is told that it failed, and closes the handle.
function abandon(
  attempt: Begun,
  request: ConnectRequest,
  code: number,
  explanation: Explanation,
  syscall = 'connect',
): number {
  // libuv's own answer, ECANCELED, comes when nobody waits for it any more.
  request.oncomplete = undefined;
  // Nobody shall find this connection in TIME-WAIT: it never was one.
  attempt.native.setsockopt(attempt.fd, SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE);
  return fail(attempt, code, syscall, explanation);
}

// A socket can connect to itself where nobody listens, when the kernel assigns it the very port that it connects to.
function mayBeAssigned(native: Native, port: number, now: number): boolean {
  const range = recentRange(native, now);
  return range === undefined || includesPort(range, port);
}

/** The ephemeral range of a moment ago; undefined where it cannot be read. */
export function recentRange(native: Native, now: number): PortRange | undefined {
  let range = ranges.get('', now);
  if (range !== undefined) return range;
  range = ephemeralRange(native);
  if (range !== undefined) ranges.set('', range, now);
  return range;
}

/** False only where the two are certainly not the same IPv6 address. (Of IPv4 addresses Node takes one spelling only.) */
function mayBeSame(a: string, b: string): boolean {
  if (a === b) return true;
  // Mostly that settles it, for much less.
  const [lastOfA, lastOfB] = [lastDigit(a), lastDigit(b)];
  if (lastOfA !== undefined && lastOfB !== undefined && lastOfA !== lastOfB) return false;
  return lastGroup(a) === lastGroup(b);
}

// In whatever spelling. The kernel connects to this machine then, and maybe to the very source address.
function mayBeUnspecified(address: string): boolean {
  return mayBeginWithZero(address) && lastGroup(address) === 0;
}

// Undefined: there is none at the end, or it may be a decimal one, or one of a zone.
function lastDigit(address: string): number | undefined {
  if (address.endsWith(':') || address.includes('.') || address.includes('%')) return undefined;
  return hexDigit(address.charCodeAt(address.length - 1));
}

// Enough: in doubt the kernel is asked.
function lastGroup(address: string): number | undefined {
  const percent = address.indexOf('%');
  return groupsOf(percent < 0 ? address : address.slice(0, percent))[7];
}
