// The addon's primitives, bare: one function per system call, on descriptors.
import { isIP } from 'node:net';
import { types } from 'node:util';
import type { Family } from './values/address';
import { badPort, invalidAddress, invalidType, invalidValue, outOfRange } from './errors/argument_errors';
import { AF_INET, AF_INET6, domainOf } from './kernel/constants';
import type { Endpoint, Native, SocketOwner } from './kernel/addon';
import { nativeFor } from './kernel/load';
import { unwrap } from './kernel/outcome';
import { forgetRefusals } from './tcp/refusals';
import { nativeWithNet } from './kernel/permission';
import { int32 } from './source/socket_options';

export type { Endpoint };

/** A numeric address and a port, for {@link bind} and {@link connect}. */
export interface SocketAddress {
  /** A numeric IP; an IPv6 zone (`fe80::1%eth0`) is understood. */
  address: string;
  /** 0 to 65535. */
  port: number;
}

/** The numbers of Linux that the functions of this module are most often called with. */
export const constants = {
  /** ip(7). */
  AF_INET,
  /** ipv6(7). */
  AF_INET6,
  /** socket(2). */
  SOCK_STREAM: 1,
  /** socket(2). */
  SOCK_DGRAM: 2,
  /** A level: socket(7). */
  SOL_SOCKET: 1,
  /** socket(7). */
  SO_REUSEADDR: 2,
  /** socket(7). */
  SO_LINGER: 13,
  /** socket(7). */
  SO_BINDTODEVICE: 25,
  /** socket(7). */
  SO_MARK: 36,
  /** Tells sockets apart, for as long as the machine runs: 8 bytes. */
  SO_COOKIE: 57,
  /** A level: ip(7). */
  IPPROTO_IP: 0,
  /** A level: tcp(7). */
  IPPROTO_TCP: 6,
  /** A level: udp(7). */
  IPPROTO_UDP: 17,
  /** A level: ipv6(7). */
  IPPROTO_IPV6: 41,
  /** ip(7). */
  IP_FREEBIND: 15,
  /** ip(7). */
  IP_TRANSPARENT: 19,
  /** ip(7), Linux 4.2. */
  IP_BIND_ADDRESS_NO_PORT: 24,
  /** ip(7), Linux 6.3. */
  IP_LOCAL_PORT_RANGE: 51,
  /** tcp(7), Linux 4.11. */
  TCP_FASTOPEN_CONNECT: 30,
  /** As `IP_TRANSPARENT`. */
  IPV6_TRANSPARENT: 75,
  /** As `IP_FREEBIND`. */
  IPV6_FREEBIND: 78,
} as const;

const FEATURE = 'connectx/sys';

function addon(): Native {
  return nativeWithNet(FEATURE);
}

function integer(name: string, value: unknown, low: number, high: number): number {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < low || value > high) throw outOfRange(name, `>= ${low} && <= ${high}`, value);
  return value;
}

function descriptor(value: unknown): number {
  return integer('fd', value, 0, 0x7fffffff);
}

function checkedAddress(value: SocketAddress): { family: Family; address: string; port: number } {
  if (typeof value !== 'object' || (value as unknown) === null) throw invalidType('address', 'of type object', value);
  const { address, port } = value;
  if (typeof address !== 'string') throw invalidType('address.address', 'of type string', address);
  if (typeof port !== 'number') throw invalidType('address.port', 'of type number', port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw badPort('address.port', port);
  const family = isIP(address);
  if (family !== 4 && family !== 6) throw invalidAddress(address);
  return { family, address, port };
}

/**
 * socket(2), non-blocking and close-on-exec from birth.
 *
 * The descriptor is yours: close it with {@link close}, exactly once, or give it away (`net.Socket`'s `fd`, an `open()` of
 * a handle), after which it is Node's to close and must not be passed to {@link close} any more.
 *
 * @param domain e.g. `constants.AF_INET`
 * @param type e.g. `constants.SOCK_STREAM`
 * @param protocol default 0
 * @returns the descriptor
 * @throws {ConnectxError} EMFILE, ENFILE, EAFNOSUPPORT, EPROTONOSUPPORT, EACCES ...
 * @example
 * const fd = socket(constants.AF_INET, constants.SOCK_STREAM);
 */
export function socket(domain: number, type: number, protocol = 0): number {
  const native = addon();
  return unwrap<number>(
    native,
    native.socket(int32('domain', domain), int32('type', type), int32('protocol', protocol)),
  );
}

/**
 * close(2), for sockets only: any other descriptor is ENOTSOCK and stays open.
 *
 * Whose number this is, is for you to know: a number that was closed before may already be somebody else's socket.
 *
 * @throws {ConnectxError} EBADF, ENOTSOCK
 */
export function close(fd: number): void {
  // Whatever the process may do: what it has, it can give up.
  const native = nativeFor(FEATURE);
  unwrap(native, native.close(descriptor(fd)));
  // It may have had a port that a connect has just been refused for want of.
  forgetRefusals();
}

/**
 * setsockopt(2).
 *
 * @param value a number is passed as a C `int`, bytes as they are
 * @throws {ConnectxError} EBADF, ENOTSOCK, ENOPROTOOPT, EINVAL, EPERM ...
 * @example
 * setsockopt(fd, constants.SOL_SOCKET, constants.SO_REUSEADDR, 1);
 */
export function setsockopt(fd: number, level: number, name: number, value: number | Uint8Array): void {
  const native = addon();
  const bytes = types.isUint8Array(value) ? value : int32('value', value);
  unwrap(native, native.setsockopt(descriptor(fd), int32('level', level), int32('name', name), bytes));
}

/**
 * getsockopt(2): a C `int` as a number.
 *
 * @throws {ConnectxError} EBADF, ENOTSOCK, ENOPROTOOPT, EINVAL ...
 * @example
 * const type = getsockopt(fd, constants.SOL_SOCKET, 3);
 */
export function getsockopt(fd: number, level: number, name: number): number;
/**
 * getsockopt(2): `length` bytes at most, 1 to 65536.
 *
 * @throws {ConnectxError} EBADF, ENOTSOCK, ENOPROTOOPT, EINVAL ...
 * @example
 * const cookie = getsockopt(fd, constants.SOL_SOCKET, constants.SO_COOKIE, 8);
 */
export function getsockopt(fd: number, level: number, name: number, length: number): Buffer;
export function getsockopt(fd: number, level: number, name: number, length?: number): number | Buffer {
  const native = addon();
  const capacity = length === undefined ? 4 : integer('length', length, 1, 65536);
  const answer = native.getsockopt(descriptor(fd), int32('level', level), int32('name', name), capacity);
  const bytes = unwrap<Buffer>(native, answer);
  if (length !== undefined) return bytes;
  if (bytes.length === 4) return new Int32Array(Uint8Array.from(bytes).buffer)[0] ?? 0;
  // ip(7) lets an option answer with one byte; SO_BINDTODEVICE answers with none where there is no device.
  return bytes[0] ?? 0;
}

/**
 * bind(2).
 *
 * @throws {ConnectxError} EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL (bound already, or a zone is missing) ...
 * @example
 * bind(fd, { address: '192.0.2.7', port: 0 });
 */
export function bind(fd: number, address: SocketAddress): void {
  const native = addon();
  const { family, address: ip, port } = checkedAddress(address);
  unwrap(native, native.bind(descriptor(fd), domainOf(family), ip, port));
}

/**
 * connect(2). On a stream socket, which is non-blocking, EINPROGRESS means that it is under way.
 *
 * @throws {ConnectxError} EINPROGRESS, EADDRNOTAVAIL, ENETUNREACH, EISCONN ...
 */
export function connect(fd: number, address: SocketAddress): void {
  const native = addon();
  const { family, address: ip, port } = checkedAddress(address);
  unwrap(native, native.connect(descriptor(fd), domainOf(family), ip, port));
}

/** getsockname(2): the local end. @throws {ConnectxError} EBADF, ENOTSOCK, EAFNOSUPPORT (neither IPv4 nor IPv6) */
export function getsockname(fd: number): Endpoint {
  const native = addon();
  return unwrap<Endpoint>(native, native.getsockname(descriptor(fd)));
}

/** getpeername(2): the remote end. @throws {ConnectxError} ENOTCONN, EBADF, ENOTSOCK, EAFNOSUPPORT */
export function getpeername(fd: number): Endpoint {
  const native = addon();
  return unwrap<Endpoint>(native, native.getpeername(descriptor(fd)));
}

/** Who owns a UDP 4-tuple, as {@link udpLookup} tells it. */
export type UdpOwner = SocketOwner;

/**
 * Asks the kernel over sock_diag(7) which UDP socket would get a datagram from `remote` to `local`. Without a lock the answer
 * is true of the moment only.
 *
 * @param options `interface`: the name or index of a network interface. A socket that is bound to a device is found only when
 *   that device is named; one that is bound to none is always found. Default: none.
 * @returns undefined when there is none, which is what ENOENT says, and nothing else
 * @throws {ConnectxError} EPERM, EPROTONOSUPPORT ... when the kernel does not answer; EBADMSG for an answer that is none
 * @example
 * const owner = udpLookup({ address: '192.0.2.7', port: 40000 }, { address: '192.0.2.53', port: 53 });
 * if (owner?.state === 1) console.log(`connected, uid ${owner.uid}`);
 */
export function udpLookup(
  local: SocketAddress,
  remote: SocketAddress,
  options: { interface?: string | number | undefined } = {},
): UdpOwner | undefined {
  const native = addon();
  const from = checkedAddress(local);
  const to = checkedAddress(remote);
  if (from.family !== to.family)
    throw invalidValue('remote', remote, `must be of the family of local, IPv${from.family}`);
  const index = interfaceIndex(native, options.interface);
  const answer = native.diagLookup(
    constants.IPPROTO_UDP,
    domainOf(from.family),
    from.address,
    from.port,
    to.address,
    to.port,
    index,
  );
  return unwrap<SocketOwner | null>(native, answer) ?? undefined;
}

function interfaceIndex(native: Native, value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === 'string') return unwrap<number>(native, native.interfaceIndex(value));
  if (typeof value !== 'number') throw invalidType('options.interface', 'of type string or number', value);
  if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) {
    throw outOfRange('options.interface', '>= 0 && <= 2147483647', value);
  }
  return value;
}
