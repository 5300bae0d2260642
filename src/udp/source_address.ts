// The ends that the kernel would give this very socket. rtnetlink is asked, which needs no free port. Where it may not be asked, or
// cannot be asked the same question, a socket is connected and asked.
import { constants } from 'node:os';
import { isMapped, mayBeginWithZero, parseAddress, toMapped } from '../values/address';
import { addressNotLocal, MISSING_ZONE, udpPortsExhausted } from '../connect/explain';
import { AF_INET } from '../kernel/constants';
import { errnoOf } from '../kernel/outcome';
import { askUdpSocket } from '../kernel/question_socket';
import { isNetlinkRefused } from '../kernel/sock_diag';
import type { Endpoint } from '../kernel/addon';
import { canAskRoute } from '../connect/route';
import { lacksZone } from '../source/resolve';
import { failureOf, refusalOf, type UdpAttempt } from './attempt';

const { errno } = constants;

const SOL_SOCKET = 1;
const IPPROTO_UDP = 17;
const SO_BINDTODEVICE = 25;
const SO_MARK = 36;

/** Sets both addresses of the attempt. Throws where there is no source. */
export function findAddresses(attempt: UdpAttempt): void {
  const { destination, localAddress, source } = attempt.request;
  attempt.remoteAddress = destination.address;
  if (localAddress === null) {
    if (isUnspecified(destination.address) || !canAskRoute(source.extras)) askSocket(attempt);
    else askRoute(attempt);
    return;
  }
  if (lacksZone(source, localAddress)) throw refusalOf(attempt, errno.EINVAL, 'bind', MISSING_ZONE);
  attempt.localAddress = localAddress;
  // As connect(2) does it (ip_route_output_key_hash_rcu, __ip6_datagram_connect).
  if (isUnspecified(destination.address)) {
    attempt.remoteAddress = parseAddress(destination.address)?.family === 6 ? '::1' : localAddress;
  }
}

function isUnspecified(address: string): boolean {
  return mayBeginWithZero(address) && parseAddress(address)?.scope === 'unspecified';
}

function askRoute(attempt: UdpAttempt): void {
  const { native } = attempt;
  const { destination, source } = attempt.request;
  const mapped = destination.family === 6 && isMapped(destination.address);
  const target = mapped ? (parseAddress(destination.address)?.ip ?? '') : destination.address;
  const name = source.extras?.interface;
  const index = name === undefined ? attempt.cache.device : native.interfaceIndex(name);
  const domain = mapped ? AF_INET : attempt.domain;
  const ask = (remembered: boolean) =>
    native.routeLookup(
      domain,
      target,
      Math.max(index, 0),
      source.extras?.mark ?? 0,
      remembered,
      IPPROTO_UDP,
      destination.port,
      source.port,
    );
  let route = ask(true);
  // Answered for a network namespace that the thread may have left, which only the attempt that follows would show.
  if (typeof route === 'number' || route.source === undefined) route = ask(false);
  if (typeof route === 'number') {
    if (!isNetlinkRefused(native, route)) throw failureOf(attempt, route, 'connect');
    askSocket(attempt);
    return;
  }
  if (route.source === undefined) throw refusalOf(attempt, errno.EADDRNOTAVAIL, 'connect', addressNotLocal(null));
  if (mapped) attempt.localAddress = toMapped(route.source);
  else if (destination.family !== 6 || parseAddress(route.source)?.scope !== 'link-local') {
    attempt.localAddress = route.source;
  } else {
    // An address of this machine is routed over the loopback interface, and yet its zone is the one it was asked for with.
    const zone = name ?? parseAddress(destination.address)?.zone ?? route.interface;
    attempt.localAddress = `${route.source}%${zone}`;
  }
}

/** So many ports are tried for a socket that is only asked. */
const TRIES = 64;

// With the same options, connected to the destination. It has a port that nobody else is on, so it cannot overshadow anybody: not one
// of the ephemeral range, of which there may be none left.
function askSocket(attempt: UdpAttempt): void {
  for (let tries = 0; tries < TRIES; tries++) {
    const asked = askUdpSocket(attempt.native, attempt.domain, (fd) => isAnswered(attempt, fd));
    if (asked === true) return;
    if (asked !== false) throw failureOf(attempt, asked);
  }
  throw refusalOf(attempt, errno.EAGAIN, 'connect', udpPortsExhausted('1024-65535'));
}

/** False: another port, please. */
function isAnswered(attempt: UdpAttempt, fd: number): boolean {
  const { native, domain } = attempt;
  const { address, port } = attempt.request.destination;
  setOptions(attempt, fd);
  const bound = native.bind(fd, domain, domain === AF_INET ? '0.0.0.0' : '::', randomPort());
  if (bound < 0) {
    if (BUSY.has(errnoOf(bound))) return false;
    throw failureOf(attempt, bound);
  }
  const connected = native.connect(fd, domain, address, port);
  if (connected < 0) throw failureOf(attempt, connected);
  attempt.localAddress = textOf(attempt, native.getsockname(fd));
  if (isUnspecified(address)) attempt.remoteAddress = textOf(attempt, native.getpeername(fd));
  return true;
}

/** Somebody is on the port, or it is below `net.ipv4.ip_unprivileged_port_start`. */
const BUSY: ReadonlySet<number> = new Set([errno.EADDRINUSE, errno.EACCES]);

function randomPort(): number {
  return 1024 + Math.floor(Math.random() * (65536 - 1024));
}

function setOptions(attempt: UdpAttempt, fd: number): void {
  const { native } = attempt;
  const { interface: name, mark, socketOptions = [] } = attempt.request.source.extras ?? {};
  const set = (level: number, option: number, value: number | Uint8Array): void => {
    const outcome = native.setsockopt(fd, level, option, value);
    if (outcome < 0) throw failureOf(attempt, outcome);
  };
  if (name !== undefined) set(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(name));
  if (mark !== undefined) set(SOL_SOCKET, SO_MARK, mark);
  for (const { level, name: option, value } of socketOptions) set(level, option, value);
}

function textOf(attempt: UdpAttempt, end: Endpoint | number): string {
  if (typeof end === 'number') throw failureOf(attempt, end);
  return end.scope === undefined ? end.address : `${end.address}%${end.scope}`;
}
