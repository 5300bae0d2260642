// Which source address would the kernel take? Asked of the routing table, which uses up no port, unlike connecting a socket.
import { constants } from 'node:os';
import { type Family, isMapped, parseAddress, toMapped } from '../values/address';
import { AF_INET, domainOf, RTN_LOCAL } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import type { Native, Route, TcpExtras } from '../kernel/addon';
import { isNetlinkRefused, NOT_ALLOWED } from '../kernel/sock_diag';
import { wildcardOf } from './explain';

const { errno } = constants;

/** A destination, and what its route may depend on. */
export interface RouteQuestion {
  readonly address: string;
  readonly family: Family;
  readonly extras: TcpExtras | null;
  /** Rules may depend on them (`ip rule ... ipproto tcp dport 443`). Absent: any. */
  readonly flow?: { readonly protocol: number; readonly port: number; readonly localPort: number };
  /** Asked on a socket that is kept, and so of the network namespace that the thread was in when it was opened. Default false. */
  readonly remembered?: boolean;
}

/**
 * What sandboxes, and kernels without the service, answer. The routing table itself says some of it too (EACCES: prohibited, EINVAL:
 * blackhole); connect(2) then says the same.
 */
const REFUSED: ReadonlySet<number> = new Set([...NOT_ALLOWED, errno.EBADMSG, errno.EAGAIN]);

/** Whether netlink itself was refused, as against: the kernel has answered, or could not even be asked (EMFILE, say). */
export function isRouteRefused(native: Native, outcome: number): boolean {
  return isNetlinkRefused(native, outcome, REFUSED);
}

/** Whether the routing table has answered that there is no way. */
export function isNoRoute(native: Native, outcome: number): boolean {
  return syscallOf(native, outcome) === 'netlink' && !REFUSED.has(errnoOf(outcome));
}

const IPPROTO_IP = 0;
const SOL_SOCKET = 1;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** SO_BINDTODEVICE, SO_MARK, SO_BINDTOIFINDEX. */
const ROUTING_OPTIONS: ReadonlySet<number> = new Set([25, 36, 62]);

/**
 * Whether netlink can be told all that the route and the source of a socket with these options depend on: not TOS, UNICAST_IF, address
 * preferences, and what else there is at these levels, nor a device or mark that has no option of its own here.
 */
export function canAskRoute(extras: TcpExtras | null): boolean {
  return (extras?.socketOptions ?? []).every(({ level, name }) => {
    if (level === SOL_SOCKET) return !ROUTING_OPTIONS.has(name);
    return level === IPPROTO_IPV6 ? name === IPV6_V6ONLY : level !== IPPROTO_IP;
  });
}

/** The index of the interface that was asked for; 0: none, or none of that name. */
export function interfaceOf(native: Native, extras: TcpExtras | null): number {
  const name = extras?.interface;
  return name === undefined ? 0 : Math.max(native.interfaceIndex(name), 0);
}

/** The route to a destination, or a negative outcome. */
export function routeTo(
  native: Native,
  { address, family, extras, flow, remembered = false }: RouteQuestion,
): Route | number {
  const mapped = isMappedDestination(address, family);
  const parsed = parseAddress(address);
  let target = mapped ? (parsed?.ip ?? address) : address;
  // connect(2) takes it as an address of this machine.
  if (parsed?.scope === 'unspecified') target = parsed.family === 4 ? '127.0.0.1' : '::1';
  const domain = mapped ? AF_INET : domainOf(family);
  const { protocol = 0, port = 0, localPort = 0 } = flow ?? {};
  const device = interfaceOf(native, extras);
  return native.routeLookup(domain, target, device, extras?.mark ?? 0, remembered, protocol, port, localPort);
}

/** The source address of a route, as a socket of the destination's family binds it; undefined where there is none. */
export function sourceOf(route: Route, { address, family, extras }: RouteQuestion): string | undefined {
  const { source } = route;
  if (source === undefined) return undefined;
  if (isMappedDestination(address, family)) return toMapped(source);
  if (family !== 6 || parseAddress(source)?.scope !== 'link-local') return source;
  // To an address of this machine the route leads over lo, whatever its zone.
  return `${source}%${extras?.interface ?? parseAddress(address)?.zone ?? route.interface}`;
}

/**
 * The source to bind together with a port: without an address the port would be locked for all addresses, so the one that the kernel
 * would take is asked for. Null: it cannot be asked for, and has to be left to connect(2). A negative outcome: there is none, and
 * connect(2) would say the same.
 */
export function sourceToBind(native: Native, question: RouteQuestion): string | number | null {
  if (!canAskRoute(question.extras)) return null;
  const route = routeTo(native, question);
  if (typeof route !== 'number') return sourceOf(route, question) ?? -errno.EADDRNOTAVAIL;
  if (isRouteRefused(native, route)) return null;
  return isNoRoute(native, route) ? -errnoOf(route) : route;
}

/** Whether the destination is an address of this machine. Where nobody can tell, the kernel's own behaviour is to stand: true. */
export function isOnThisMachine(native: Native, question: RouteQuestion): boolean {
  const scope = parseAddress(question.address)?.scope;
  if (scope === 'loopback' || scope === 'unspecified') return true;
  const route = routeTo(native, question);
  return typeof route === 'number' || route.type === RTN_LOCAL;
}

/** The wildcard address, as a socket that reaches this destination binds it. */
export function wildcardFor({ address, family }: RouteQuestion): string {
  return wildcardOf(family, isMappedDestination(address, family));
}

/** Whether an AF_INET6 socket reaches this destination by IPv4. */
export function isMappedDestination(address: string, family: Family): boolean {
  return family === 6 && isMapped(address);
}
