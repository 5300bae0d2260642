// The source address that the kernel would take: rtnetlink is asked, which needs no free port. Where it may not be, a socket is.
import { constants } from 'node:os';
import { isMapped, parseAddress, toMapped } from '../values/address';
import { addressNotLocal, MISSING_ZONE, udpPortsExhausted } from '../connect/explain';
import { AF_INET } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import { lacksZone } from '../source/resolve';
import { failureOf, refusalOf, type UdpAttempt } from './attempt';

const { errno } = constants;

const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SO_MARK = 36;
const IPPROTO_UDP = 17;

/** The address to bind, with its zone. Throws where there is none. */
export function sourceAddressOf(attempt: UdpAttempt): string {
  const { localAddress, source } = attempt.request;
  if (localAddress === null) return askRoute(attempt);
  if (!lacksZone(source, localAddress)) return localAddress;
  throw refusalOf(attempt, errno.EINVAL, 'bind', MISSING_ZONE);
}

function askRoute(attempt: UdpAttempt): string {
  const { native } = attempt;
  const { destination, source } = attempt.request;
  const mapped = destination.family === 6 && isMapped(destination.address);
  const target = mapped ? (parseAddress(destination.address)?.ip ?? '') : destination.address;
  const name = source.extras?.interface;
  const index = name === undefined ? 0 : native.interfaceIndex(name);
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
    if (isNetlinkRefused(syscallOf(native, route), errnoOf(route))) return askSocket(attempt);
    throw failureOf(attempt, route, 'connect');
  }
  if (route.source === undefined) throw refusalOf(attempt, errno.EADDRNOTAVAIL, 'connect', addressNotLocal(null));
  if (mapped) return toMapped(route.source);
  if (destination.family !== 6 || parseAddress(route.source)?.scope !== 'link-local') return route.source;
  // An address of this machine is routed over the loopback interface, and yet its zone is the one it was asked for with.
  return `${route.source}%${name ?? parseAddress(destination.address)?.zone ?? route.interface}`;
}

// A socket is connected to the destination and asked where from. It needs a port for that moment, one that nobody else is on, so
// it cannot overshadow anybody.
function askSocket(attempt: UdpAttempt): string {
  const { native, domain } = attempt;
  const { destination, source } = attempt.request;
  const must = (outcome: number): number => {
    if (outcome >= 0) return outcome;
    if (errnoOf(outcome) !== errno.EAGAIN) throw failureOf(attempt, outcome);
    throw refusalOf(attempt, errno.EAGAIN, 'connect', udpPortsExhausted(attempt.cache.rangeOf(undefined)));
  };
  const fd = must(native.socket(domain, SOCK_DGRAM, 0));
  try {
    const { interface: name, mark } = source.extras ?? {};
    if (name !== undefined) must(native.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(name)));
    if (mark !== undefined) must(native.setsockopt(fd, SOL_SOCKET, SO_MARK, mark));
    must(native.connect(fd, domain, destination.address, destination.port));
    const local = native.getsockname(fd);
    if (typeof local === 'number') throw failureOf(attempt, local);
    return local.scope === undefined ? local.address : `${local.address}%${local.scope}`;
  } finally {
    native.close(fd);
  }
}

/** Whether it looks as if netlink itself was refused. (EACCES may also be a route that prohibits.) */
export function isNetlinkRefused(syscall: string, code: number): boolean {
  return NETLINK_CALLS.has(syscall) && REFUSED.has(code);
}

const NETLINK_CALLS: ReadonlySet<string> = new Set(['socket', 'send', 'recv', 'netlink']);

/** What sandboxes and kernels without sock_diag for UDP answer. */
const REFUSED: ReadonlySet<number> = new Set([
  errno.EPERM,
  errno.EACCES,
  errno.EPROTONOSUPPORT,
  errno.EAFNOSUPPORT,
  errno.EOPNOTSUPP,
  errno.EINVAL,
  errno.ENOSYS,
]);
