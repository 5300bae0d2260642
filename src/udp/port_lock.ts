// One port: locked, checked and connected, and what each answer of the kernel means. docs/udp.md tells how the lock works.
import { constants } from 'node:os';
import { parseAddress } from '../values/address';
import { domainOf, SocketState, UdpFlag, UdpVerdict } from '../kernel/constants';
import { answerOf, errnoOf, syscallOf } from '../kernel/outcome';
import { isNetlinkRefused, udpSharingOf } from '../kernel/sock_diag';
import { udpRedirects } from '../connect/redirects';
import { IN_USE } from './adopt';
import { failureOf, StartOver, type UdpAttempt } from './attempt';

const { errno } = constants;

const IPPROTO_UDP = 17;

/**
 * What became of a port. `taken`: a connected socket has the 4-tuple. `locked`: somebody does not share the port, for good or just for
 * the moment in which it connects. `denied`: the process may not bind it.
 */
export type PortState = 'connected' | 'taken' | 'locked' | 'denied';

/** The state of the last port that was tried, and the place of that port among those that were given. */
export interface Tried {
  readonly state: PortState;
  readonly place: number;
}

/** Connects the target from this port. Throws a ConnectxError, or StartOver. */
export function tryPort(attempt: UdpAttempt, port: number): PortState {
  const { native, cache, target, domain, localAddress, remoteAddress } = attempt;
  const { destination, source } = attempt.request;
  let flags = flagsOf(attempt);
  // What it takes to share a port is not needed where nobody is on it. Options have to be set before, and where core's connect(2) leads is
  // not verified.
  const isKnown = !cache.shared || !udpRedirects.mustAsk(remoteAddress, destination.port);
  if ((flags & UdpFlag.alone) !== 0 && source.extras === null && isKnown) {
    const bound = target.bindExclusive(localAddress, port);
    if (bound >= 0) return connectBound(attempt, bound, flags);
    if (bound === IN_USE) {
      cache.noteExclusive(false);
      if (!cache.shared) return 'locked';
      flags &= ~UdpFlag.alone;
    }
  }
  const fd = adopted(attempt);
  return stateOf(
    attempt,
    native.udpConnect(fd, domain, localAddress, port, remoteAddress, destination.port, flags, source.extras),
    flags,
  );
}

/** Port after port, as long as they are locked. */
export function tryPorts(attempt: UdpAttempt, ports: Uint16Array): Tried {
  const { native, domain, localAddress, remoteAddress } = attempt;
  const { destination, source } = attempt.request;
  const flags = flagsOf(attempt);
  const fd = adopted(attempt);
  const { port } = destination;
  const verdict = native.udpConnectFirst(fd, domain, localAddress, ports, remoteAddress, port, flags, source.extras);
  const place = answerOf(native, 'place');
  return { state: stateOf(attempt, verdict, flags), place };
}

/** Whether somebody is connected from this port. Asked without a lock: where the kernel does not say, the attempt itself will. */
export function isTaken(attempt: UdpAttempt, port: number): boolean {
  if (!attempt.cache.shared) return false;
  const { native, domain, localAddress, remoteAddress } = attempt;
  const { destination, source } = attempt.request;
  const owner = native.udpOwner(domain, localAddress, port, remoteAddress, destination.port, 0, source.extras);
  return owner === SocketState.established;
}

/** Whether somebody is connected from each of these ports. Undefined: the kernel does not say. */
export function areTaken(attempt: UdpAttempt, ports: Uint16Array): boolean[] | undefined {
  if (!attempt.cache.shared) return undefined;
  const { native, domain, localAddress, remoteAddress } = attempt;
  const { destination, source } = attempt.request;
  const { port } = destination;
  const states = new Uint8Array(ports.length);
  const asked = native.udpOwners(domain, localAddress, ports, remoteAddress, port, states, source.extras);
  return asked < 0 ? undefined : Array.from(states, (state) => state === SocketState.established);
}

/**
 * Who is bound to this port and not connected: somebody who has it locked to connect, or a server. Undefined: nobody, or nobody can tell.
 */
export function holderOf(attempt: UdpAttempt, port: number): bigint | undefined {
  if (!attempt.cache.shared) return undefined;
  const { native, cache, localAddress, remoteAddress } = attempt;
  const { destination, source } = attempt.request;
  const name = source.extras?.interface;
  const device = name === undefined ? cache.device : Math.max(native.interfaceIndex(name), 0);
  const domain = domainOf(parseAddress(localAddress)?.family ?? 4);
  const owner = native.diagLookup(
    IPPROTO_UDP,
    domain,
    unmapped(localAddress),
    port,
    unmapped(remoteAddress),
    destination.port,
    device,
  );
  return typeof owner === 'object' && owner?.state === SocketState.closed ? owner.cookie : undefined;
}

/** An IPv4-mapped end lives in the table of IPv4. */
function unmapped(address: string): string {
  const parsed = parseAddress(address);
  return parsed?.family === 4 ? parsed.ip : address;
}

function adopted(attempt: UdpAttempt): number {
  const fd = attempt.target.adopted();
  if (fd < 0) throw failureOf(attempt, fd);
  return fd;
}

// By core, which has to know of it anyway, while the port is locked: nobody else can be on it, so it does not matter to which peer a
// BPF program leads it.
function connectBound(attempt: UdpAttempt, fd: number, flags: number): PortState {
  const { native, domain, target, remoteAddress } = attempt;
  const { port } = attempt.request.destination;
  // Either connect(2) says why not, or core has not called it (a block list of dgram's), and tells of that itself.
  const connected = target.connectBound(remoteAddress, port) ? 0 : native.connect(fd, domain, remoteAddress, port);
  const isToBeShared = (flags & (UdpFlag.shared | UdpFlag.exclusive)) === UdpFlag.shared;
  const outcome = connected < 0 ? connected : native.udpSettle(fd, isToBeShared);
  if (outcome !== UdpVerdict.connectedAlone) target.discard();
  return stateOf(attempt, outcome, flags, false);
}

function flagsOf({ cache, request }: UdpAttempt): number {
  return (
    (cache.shared ? UdpFlag.shared : 0) |
    (request.exclusive ? UdpFlag.exclusive : 0) |
    (cache.shouldTryExclusive() ? UdpFlag.alone : 0) |
    (request.source.port === 0 ? UdpFlag.automatic : 0)
  );
}

// `isVerified`: whether the kernel was asked where the connect has led.
function stateOf(attempt: UdpAttempt, outcome: number, flags: number, isVerified = attempt.cache.shared): PortState {
  const { native, cache, request } = attempt;
  if (outcome < 0) {
    // Of several ports another one may do.
    if (request.source.port === 0 && errnoOf(outcome) === errno.EACCES && syscallOf(native, outcome) === 'bind') {
      return 'denied';
    }
    // sock_diag is refused here, or is not there at all.
    if (!cache.shared || !isNetlinkRefused(native, outcome)) {
      throw failureOf(attempt, outcome);
    }
    udpSharingOf(native).recheck();
    throw new StartOver(outcome);
  }
  if ((flags & UdpFlag.alone) !== 0) cache.noteExclusive(outcome === UdpVerdict.connectedAlone);
  switch (outcome) {
    case UdpVerdict.connected:
    case UdpVerdict.connectedAlone:
      if (isVerified) udpRedirects.wasAsAsked(attempt.remoteAddress, request.destination.port);
      return 'connected';
    case UdpVerdict.connectedElsewhere:
      udpRedirects.wasRewritten();
      attempt.target.redirect(native.udpPeer());
      return 'connected';
    case UdpVerdict.tupleInUse:
      return 'taken';
    case UdpVerdict.portLocked:
    case UdpVerdict.contended:
      return 'locked';
    case UdpVerdict.moved:
      cache.forget();
      throw new StartOver();
    default:
      // Our own socket was not seen.
      udpSharingOf(native).recheck();
      throw new StartOver();
  }
}
