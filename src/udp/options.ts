// The options of connectUdp: read once, into a plain record, and validated.
import type * as dgram from 'node:dgram';
import type { lookup as Lookup } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { Destination, Family } from '../values/address';
import { badPort, invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import { unsupported } from '../errors/connectx_error';
import { dnsLookup } from '../connect/dns';
import { refuseOnFallback } from '../connect/without_addon';
import type { Native, SocketOption } from '../kernel/addon';
import { UdpOffload } from '../kernel/constants';
import { nativeOrFallback } from '../kernel/load';
import { requireWay } from '../kernel/runtime';
import { udpOffloads } from '../kernel/udp_offload';
import { readSource, type Source, type SourceOptions } from '../source/options';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const IPPROTO_UDP = 17;
const UDP_SEGMENT = 103;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** Options of `dgram.createSocket` that are passed on as they are. */
export type DgramOptions = Omit<dgram.SocketOptions, 'type' | 'reuseAddr' | 'reusePort'>;

const TCP_ONLY = ['fastOpen', 'reuseTimeWait', 'autoSelectFamilyOverlap'] as const;

/** Options of {@link connectUdp}: the remote end, the source options, and those of `dgram.createSocket` that apply. */
export interface UdpConnectOptions extends Omit<SourceOptions, (typeof TCP_ONLY)[number]>, DgramOptions {
  /** A name or a numeric IP; {@link connectUdpSync} takes a numeric IP only. */
  host: string;
  /** 1 to 65535. */
  port: number;
  /** Default: the family of `host` if numeric, else of the first address found for which there is a source. */
  type?: dgram.SocketType | undefined;
  /**
   * Keep the local address and port locked for as long as the socket lives: from then on nobody else can bind them, whether
   * it cooperates or not. Sockets that share them already stay. Default false.
   */
  exclusive?: boolean | undefined;
  /**
   * Bytes, 1 to 65507: a `send` of more than that leaves as datagrams of this size, the last one shorter (`UDP_SEGMENT`, Linux 4.18). One
   * `send` holds at most 64 of them and 65,000 bytes. Default: each `send` is one datagram.
   */
  segmentSize?: number | undefined;
}

/** The options, valid, and what follows from them. */
export interface Plan {
  readonly native: Native | undefined;
  readonly host: string;
  /** Of the host; 0: it is a name. */
  readonly family: Family | 0;
  readonly port: number;
  readonly type: dgram.SocketType | undefined;
  readonly source: Source;
  readonly exclusive: boolean;
  readonly segmentSize: number | undefined;
  readonly lookup: typeof Lookup;
  readonly signal: AbortSignal | undefined;
  readonly dgramOptions: DgramOptions;
}

/** One destination, with the source address that it gets. */
export interface UdpRequest {
  readonly destination: Destination;
  /** Null: as the kernel would route. */
  readonly localAddress: string | null;
  readonly source: Source;
  readonly exclusive: boolean;
}

/** Options of `dgram.createSocket` that the Node releases which lack them pass over. */
const BLOCK_LISTS = ['receiveBlockList', 'sendBlockList'] as const;

/** What an IPv4 datagram can hold. */
const LARGEST_SEGMENT = 65507;

const TYPES: ReadonlySet<unknown> = new Set(['udp4', 'udp6']);

/**
 * Options that are part of the lock (SO_REUSEADDR, SO_REUSEPORT, SO_BINDTODEVICE, SO_BINDTOIFINDEX) or that change which of
 * several sockets the kernel finds (SO_INCOMING_CPU).
 */
const LOCK_OPTIONS: ReadonlySet<number> = new Set([2, 15, 25, 62, 49]);

function refuseLockOptions(options: readonly SocketOption[] | undefined): void {
  for (const { level, name } of options ?? []) {
    if (level === SOL_SOCKET && LOCK_OPTIONS.has(name)) {
      throw invalidValue('options.socketOptions', { level, name }, 'would break the lock that UDP ports are shared by');
    }
  }
}

/** Throws one of Node's argument errors when an option is wrong. */
export function readOptions(options: UdpConnectOptions, way: 'udp' | 'udpSync'): Plan {
  if (typeof options !== 'object' || (options as unknown) === null)
    throw invalidType('options', 'of type object', options);
  const { host, port, type, exclusive, lookup, signal, recvBufferSize, sendBufferSize, ipv6Only, segmentSize } =
    options;
  if (typeof host !== 'string') throw invalidType('options.host', 'of type string', host);
  if (host === '' || host.includes('\0')) throw invalidValue('options.host', host, 'must be a host name or an address');
  if (typeof port !== 'number') throw invalidType('options.port', 'of type number', port);
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw badPort('options.port', port);
  if (type !== undefined && !TYPES.has(type)) throw invalidValue('options.type', type, "must be 'udp4' or 'udp6'");
  checkType('exclusive', 'boolean', exclusive);
  checkType('ipv6Only', 'boolean', ipv6Only);
  checkType('lookup', 'function', lookup);
  checkBufferSize('recvBufferSize', recvBufferSize);
  checkBufferSize('sendBufferSize', sendBufferSize);
  checkSegmentSize(segmentSize);
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.aborted !== 'boolean') {
    throw invalidType('options.signal', 'an instance of AbortSignal', signal);
  }
  const dgramOptions = readBlockLists(options);
  if (signal !== undefined) dgramOptions.signal = signal;
  for (const name of TCP_ONLY) {
    if ((options as SourceOptions)[name]) throw invalidValue(`options.${name}`, true, 'is for TCP only');
  }
  requireWay(way);
  const native = nativeOrFallback();
  // Then the socket is bound within the call, whichever it is.
  if (native === undefined) requireWay('udpSync');
  const plain = readSource(options);
  refuseLockOptions(plain.extras?.socketOptions);
  const source = withSocketOptions(plain, { recvBufferSize, sendBufferSize, ipv6Only, segmentSize }, native);
  if (native === undefined) refuseOnFallback(source);
  return {
    native,
    host,
    family: isIP(host) as Family | 0,
    port,
    type,
    source,
    exclusive: exclusive === true,
    segmentSize,
    lookup: (lookup as typeof Lookup | undefined) ?? dnsLookup(),
    signal,
    dgramOptions,
  };
}

function checkType(name: keyof UdpConnectOptions, type: string, value: unknown): void {
  if (value !== undefined && typeof value !== type) throw invalidType(`options.${name}`, `of type ${type}`, value);
}

function checkBufferSize(name: 'recvBufferSize' | 'sendBufferSize', value: unknown): void {
  if (value === undefined) return;
  if (typeof value !== 'number') throw invalidType(`options.${name}`, 'of type number', value);
  if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) {
    throw outOfRange(`options.${name}`, 'an integer >= 0 && <= 2147483647', value);
  }
}

function checkSegmentSize(value: unknown): void {
  if (value === undefined) return;
  if (typeof value !== 'number') throw invalidType('options.segmentSize', 'of type number', value);
  if (!Number.isInteger(value) || value < 1 || value > LARGEST_SEGMENT) {
    throw outOfRange('options.segmentSize', `an integer >= 1 && <= ${LARGEST_SEGMENT}`, value);
  }
}

function refuseSegments(native: Native | undefined): void {
  if (native === undefined)
    throw unsupported('segmentSize', 'it needs connectx on Linux; send each datagram by itself');
  const offloads = udpOffloads(native);
  // Where it cannot be asked just now, opening the socket fails too, and says why.
  if (offloads < 0 || (offloads & UdpOffload.segment) !== 0) return;
  throw unsupported('segmentSize', 'this kernel has no UDP_SEGMENT (Linux 4.18); send each datagram by itself');
}

// What dgram would set on the descriptor that it makes itself: ours may be another one by the time it is connected.
function withSocketOptions(
  source: Source,
  sizes: Pick<UdpConnectOptions, 'recvBufferSize' | 'sendBufferSize' | 'ipv6Only' | 'segmentSize'>,
  native: Native | undefined,
): Source {
  const { recvBufferSize, sendBufferSize, ipv6Only, segmentSize } = sizes;
  if (!recvBufferSize && !sendBufferSize && ipv6Only !== true && segmentSize === undefined) return source;
  if (segmentSize !== undefined) refuseSegments(native);
  if (native === undefined) return source;
  const options: SocketOption[] = [];
  if (recvBufferSize) options.push({ level: SOL_SOCKET, name: SO_RCVBUF, value: recvBufferSize });
  if (sendBufferSize) options.push({ level: SOL_SOCKET, name: SO_SNDBUF, value: sendBufferSize });
  if (ipv6Only === true) options.push({ level: IPPROTO_IPV6, name: IPV6_V6ONLY, value: 1 });
  if (segmentSize !== undefined) options.push({ level: IPPROTO_UDP, name: UDP_SEGMENT, value: segmentSize });
  const others = source.extras?.socketOptions ?? [];
  return { ...source, extras: { ...source.extras, socketOptions: [...options, ...others] } };
}

/** What `dgram.createSocket` is given of them, whatever a Node release makes of it. */
function readBlockLists(options: object): { signal?: AbortSignal } & Record<string, unknown> {
  const lists: Record<string, unknown> = {};
  for (const name of BLOCK_LISTS) {
    const list = (options as Record<string, unknown>)[name];
    if (list && !(list instanceof BlockList)) throw invalidType(`options.${name}`, 'an instance of BlockList', list);
    if (list !== undefined) lists[name] = list;
  }
  return lists;
}

/** The family of a socket of this type. */
export function familyOfType(type: dgram.SocketType | undefined): Family | undefined {
  return type === undefined ? undefined : type === 'udp4' ? 4 : 6;
}
