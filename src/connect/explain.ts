// What a failed attempt means and what to do about it: errno and circumstances in, words out.
import { constants } from 'node:os';
import { parseAddress, toMapped } from '../values/address';
import { isPool } from '../source/pooled';
import { formatRange, type PortRange } from '../values/port_range';
import type { Source } from '../source/options';

const { errno } = constants;

/** What is known of an attempt when it fails. */
export interface Circumstances {
  /** Positive. */
  readonly errno: number;
  readonly syscall: string;
  /** The pinned source address, null when the kernel was to choose. */
  readonly localAddress: string | null;
  readonly source: Source;
  /** `net.ipv4.ip_local_port_range`. */
  readonly ephemeral: PortRange | undefined;
  /** Asked of the kernel when it matters: can this source, or any, be used towards this destination? */
  sourceIsUsable(): boolean;
  /** Asked of the kernel when it matters: how many of a few ports towards this destination are in TIME-WAIT. */
  timeWait?(): TimeWait | undefined;
}

/** A sample of ports that are taken. */
export interface TimeWait {
  /** So many were looked at. */
  readonly of: number;
  /** So many of them were in TIME-WAIT. */
  readonly found: number;
  /** `net.ipv4.tcp_timestamps`, without which there is no taking over. */
  readonly timestamps: boolean;
}

export interface Explanation {
  readonly reason: string | undefined;
  /** One clause; empty when the errno says it all. */
  readonly advice: string;
}

const NOTHING: Explanation = { reason: undefined, advice: '' };

export function explain(of: Circumstances): Explanation {
  if (of.errno === errno.EADDRINUSE && of.syscall === 'bind') return portLocked(of.source.port);
  // Among socketOptions there are some that take an address (IP_MULTICAST_IF), and say EADDRNOTAVAIL of that.
  if (of.syscall === 'setsockopt') return explainOption(of);
  if (of.errno === errno.EADDRNOTAVAIL) return explainNotAvailable(of);
  if (of.errno === errno.ENODEV) return noSuchZone(of.localAddress);
  if (of.errno === errno.EACCES && of.syscall === 'bind') return PRIVILEGED_PORT;
  // What IPv4 says by itself; see LOOPBACK_SOURCE for IPv6.
  if (of.errno === errno.EINVAL && of.syscall === 'connect' && isLoopback(of.localAddress)) return LOOPBACK_SOURCE;
  // Of a connect that pins nothing, core's error says all there is to say.
  return of.syscall === 'connect' && of.localAddress !== null ? unreachable(of.errno, of.localAddress) : NOTHING;
}

const ROUTE_ADVICE: ReadonlyMap<number, string> = new Map([
  [errno.ENETUNREACH, 'there is no route to it: see `ip route get`'],
  [errno.EHOSTUNREACH, 'the route to it says unreachable: see `ip route get`'],
  [errno.EACCES, 'a route or rule prohibits it, or it is a broadcast address: see `ip route get` and `ip rule`'],
  [errno.EINVAL, 'its route is a blackhole, or it is a link-local address without its interface: see `ip route get`'],
  [errno.EPERM, 'a firewall or a cgroup program forbids it'],
]);
const ROUTE_CODES: ReadonlySet<string> = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL', 'EPERM']);

/** Whether connect(2) could not even begin, because of the route between the two addresses. */
export function isUnreachable({ code, syscall }: { readonly code: string; readonly syscall?: string }): boolean {
  return syscall === 'connect' && ROUTE_CODES.has(code);
}

/** What connect(2) means by these errnos: the route, and neither the ports nor the source address, of which so many were tried. */
export function unreachable(code: number, localAddress: string | null, sources = 1): Explanation {
  const why = ROUTE_ADVICE.get(code);
  if (why === undefined) return NOTHING;
  const from = sources === 1 ? 'this source' : `any of the ${sources} sources that were tried`;
  const zone = sources === 1 && localAddress !== null ? zoneOf(localAddress) : undefined;
  return { reason: undefined, advice: `the destination cannot be reached from ${from}: ${zone ?? why}` };
}

// bind(2) has bound the socket to the link of a link-local address, and it routes over no other one.
function zoneOf(localAddress: string): string | undefined {
  const parsed = parseAddress(localAddress);
  if (parsed?.scope !== 'link-local' || parsed.zone === undefined) return undefined;
  const { zone } = parsed;
  return `a link-local source leads over its own interface only, and there is no way to it over ${zone}: see \`ip route get ... oif ${zone}\``;
}

function explainNotAvailable(of: Circumstances): Explanation {
  // EADDRNOTAVAIL is also what bind(2) and, on IPv6, connect(2) say of a source that cannot be used at all.
  if (of.syscall === 'bind' || !of.sourceIsUsable()) return addressNotLocal(of.localAddress);
  if (of.source.port !== 0) return TUPLE_IN_USE;
  return portsExhausted(of.source.range ?? of.ephemeral, of.source.reuseTimeWait, of.timeWait?.());
}

function portsExhausted(range: PortRange | undefined, reuse: boolean, timeWait: TimeWait | undefined): Explanation {
  const which = range === undefined ? 'every ephemeral port' : `every usable port of ${formatRange(range)}`;
  const taken = `${which} is taken towards this destination`;
  const reason = 'ports-exhausted';
  if (timeWait === undefined || timeWait.found === 0) {
    const advice = 'add source addresses, widen net.ipv4.ip_local_port_range, or close connections';
    return { reason, advice: `${taken}: ${advice}` };
  }
  const { found, of, timestamps } = timeWait;
  const share = `${found} of ${of} that were looked at by connections in TIME-WAIT`;
  if (!timestamps) {
    const advice = 'these cannot be taken over while TCP timestamps are off: set net.ipv4.tcp_timestamps=1';
    return { reason, advice: `${taken}, ${share}: ${advice}, add source addresses, or keep connections alive` };
  }
  const advice = reuse
    ? 'these could not be taken over, for which the other side has to use TCP timestamps too: add source addresses'
    : 'set reuseTimeWait, let the other side close first, add source addresses';
  return { reason, advice: `${taken}, ${share}: ${advice}, or keep connections alive` };
}

export const TUPLE_IN_USE: Explanation = {
  reason: 'tuple-in-use',
  advice:
    'another connection has this exact 4-tuple (TIME-WAIT, FIN-WAIT-2 and CLOSE-WAIT count): use another localPort',
};

export function portLocked(port: number): Explanation {
  return {
    reason: 'port-locked',
    advice:
      `a socket that does not share port ${port} (it listens, or was bound without SO_REUSEADDR) holds it: use another ` +
      'localPort, or keep the port free with net.ipv4.ip_local_reserved_ports',
  };
}

export function addressNotLocal(address: string | null): Explanation {
  const advice =
    address === null
      ? 'this machine has no usable source address towards this destination: is the interface up and configured?'
      : `${address} cannot be used as a source: it is not an address of this machine, is tentative, or its interface is down`;
  return { reason: 'address-not-local', advice };
}

function isLoopback(address: string | null): boolean {
  return address !== null && parseAddress(address)?.scope === 'loopback';
}

// From bind(2) for an index, from if_nametoindex(3) for a name.
function noSuchZone(address: string | null): Explanation {
  return { reason: undefined, advice: `there is no interface of the zone in "${address}"` };
}

function explainOption(of: Circumstances): Explanation {
  const { extras } = of.source;
  if (of.errno === errno.ENODEV && extras?.interface !== undefined) {
    return { reason: undefined, advice: `there is no interface "${extras.interface}"` };
  }
  if (of.errno === errno.EPERM) {
    return {
      reason: undefined,
      advice: 'mark, transparent and some socketOptions need CAP_NET_ADMIN (or CAP_NET_RAW)',
    };
  }
  return { reason: undefined, advice: 'one of the socket options was refused by the kernel' };
}

/** UDP has no TIME-WAIT: a 4-tuple is free as soon as its socket is closed. */
export function udpPortsExhausted(ports: string): Explanation {
  return {
    reason: 'ports-exhausted',
    advice:
      `every usable port of ${ports} is taken towards this destination: add source addresses, widen ` +
      'net.ipv4.ip_local_port_range, or close sockets',
  };
}

export const UDP_TUPLE_IN_USE: Explanation = {
  reason: 'tuple-in-use',
  advice:
    'another socket is connected with this exact 4-tuple, and would get no datagrams any more: use another localPort',
};

/** Every source of a pool was tried. */
export function poolExhausted(tried: number): Explanation {
  const each =
    tried === 1 ? 'the one source of the pool that was tried' : `each of the ${tried} sources that were tried`;
  return {
    reason: 'pool-exhausted',
    advice: `${each} has failed (see errors): add sources to the pool, or close connections`,
  };
}

/** No source of a pool was tried: each is paused or rests, or, with `outOfSlice`, has none of the ports that were asked for. */
export function allHeldBack(outOfSlice: boolean): Explanation {
  const why = outOfSlice
    ? 'has none of the ports that were asked for, or is paused or resting'
    : 'is paused or resting';
  const advice = outOfSlice ? 'ask for ports of its `ports`' : 'resume() one, or add sources';
  return { reason: 'pool-exhausted', advice: `every source of the pool that could serve it ${why}: ${advice}` };
}

/** There is no source of the destination's family. */
export function familyMismatch(destination: string, source: Source): Explanation {
  // An IPv4-mapped destination needs an IPv4 source.
  const family = parseAddress(destination)?.family === 6 ? 'IPv6' : 'IPv4';
  const { address } = source;
  const why =
    typeof address === 'function'
      ? 'localAddress() gave none for it'
      : `${isPool(address) ? 'the pool' : 'localAddress'} has none`;
  const advice = `the destination needs an ${family} source address, and ${why}`;
  const other = family === 'IPv6' ? 4 : 6;
  return {
    reason: 'family-mismatch',
    advice: `${advice}: add one, or connect with family: ${other} where the name allows it`,
  };
}

export const PRIVILEGED_PORT: Explanation = {
  reason: undefined,
  advice: 'source ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE',
};

export const MISSING_ZONE: Explanation = {
  reason: undefined,
  advice: 'a link-local source address needs its interface: write it as address%interface, or set options.interface',
};

export const LOOPBACK_SOURCE: Explanation = {
  reason: undefined,
  advice: 'a loopback source address reaches only this machine, and the destination is not on it',
};

export const SELF_CONNECT: Explanation = {
  reason: undefined,
  advice: 'nothing listens there, and the kernel had connected the socket to itself',
};

export function otherAddress(address: string | null): Explanation {
  return {
    reason: 'address-not-local',
    advice: `the kernel would not use ${address} as a source and took another address; is it a broadcast address?`,
  };
}

export function otherPort(range: PortRange): Explanation {
  return {
    reason: 'ports-exhausted',
    advice: `the kernel did not keep to ports ${formatRange(range)}: net.ipv4.ip_local_port_range changed meanwhile; try again`,
  };
}

/** The wildcard of a family, as a socket of it writes it. */
export function wildcardOf(family: number, mapped: boolean): string {
  if (family === 4) return '0.0.0.0';
  return mapped ? toMapped('0.0.0.0') : '::';
}
