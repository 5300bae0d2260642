// dgram.Socket with a source: bound and connected by UdpSteps, everything else left to Node's core.
import type * as dgram from 'node:dgram';
import { Socket as CoreSocket } from 'node:dgram';
import type { lookup as Lookup, LookupAddress } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { Destination, Family } from '../values/address';
import { badPort, invalidAddress, invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import { ConnectxError, noSource } from '../errors/connectx_error';
import { familyMismatch } from '../connect/explain';
import { refuseOnFallback } from '../connect/without_addon';
import { domainOf } from '../kernel/constants';
import type { Native, SocketOption } from '../kernel/addon';
import { nativeFor, nativeOrFallback } from '../kernel/load';
import { unwrap } from '../kernel/outcome';
import { dnsLookup } from '../connect/dns';
import { readSource, type Source, type SourceOptions } from '../source/options';
import { resolveSource } from '../source/resolve';
import { type Sources, sourcesFor } from '../connect/candidates';
import { beginTrace, type ConnectTrace, finished, returned, threw, type TracedTechnique } from '../connect/trace';
import { connectFallback } from './fallback';
import { UdpMemory } from './port_cache';
import type { DestinationPorts } from './ports';
import { IN_USE, type Lease, NOT_BOUND, type Pause, type Target, type UdpRequest, UdpSteps } from './steps';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_V6ONLY = 26;

type DgramOptions = Omit<dgram.SocketOptions, 'type' | 'reuseAddr' | 'reusePort'>;

const TCP_ONLY = ['fastOpen', 'reuseTimeWait'] as const;

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
}

const kPorts = Symbol('connectx.ports');
const kLocalPort = Symbol('connectx.localPort');
const kPeer = Symbol('connectx.peer');
const kFd6 = Symbol('connectx.fd6');

interface Peer {
  readonly address: string;
  readonly port: number;
}

// The class is public, its constructor is just not typed: dgram.createSocket() is nothing but a call of it.
const DgramSocket = CoreSocket as unknown as new (options: dgram.SocketOptions) => dgram.Socket;

/**
 * The connected socket: a dgram.Socket that hears its peer only, and gives its port back when it is closed. There may be very
 * many of them: no object and no function for each.
 */
class UdpSocket extends DgramSocket {
  /** Where the port is to be given back, once. */
  declare [kPorts]: DestinationPorts | undefined;
  declare [kLocalPort]: number;
  /** Undefined: not known yet. Null: no peer any more. */
  declare [kPeer]: Peer | null | undefined;
  /**
   * Of a socket of type udp6: its descriptor, -1 otherwise. libuv does not look for the family of a descriptor that it adopts, and
   * sets the options of IPv4 (uv__setsockopt).
   */
  declare [kFd6]: number;

  constructor(options: dgram.SocketOptions) {
    super(options);
    this[kPorts] = undefined;
    this[kLocalPort] = 0;
    this[kPeer] = undefined;
    this[kFd6] = -1;
  }

  /** @internal */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    // The kernel may queue a datagram behind connect(2) for which it had found this socket before. Only in that instant, but
    // such a datagram is a stranger's.
    if (event === 'message' && this[kPeer] !== null) {
      const { address, port } = args[1] as dgram.RemoteInfo;
      const peer = (this[kPeer] ??= peerOf(this));
      if (peer !== null && (peer.port !== port || peer.address !== address)) return false;
    }
    if (event === 'error' && this === binding) {
      bindError = args[0];
      return true;
    }
    // dgram.Socket has no emit() of its own to be typed by.
    return super.emit(event as 'message', ...(args as [Buffer, dgram.RemoteInfo]));
  }

  override setTTL(ttl: number): number {
    const set = super.setTTL(ttl);
    setOption6(this[kFd6], IPV6_UNICAST_HOPS, ttl);
    return set;
  }

  override setMulticastTTL(ttl: number): number {
    const set = super.setMulticastTTL(ttl);
    setOption6(this[kFd6], IPV6_MULTICAST_HOPS, ttl);
    return set;
  }

  override setMulticastLoopback(flag: boolean): boolean {
    const set = super.setMulticastLoopback(flag);
    setOption6(this[kFd6], IPV6_MULTICAST_LOOP, flag ? 1 : 0);
    return set;
  }

  override disconnect(): void {
    super.disconnect();
    this[kPeer] = null;
  }

  override close(callback?: () => void): this {
    super.close(callback);
    this[kPorts]?.released(this[kLocalPort]);
    this[kPorts] = undefined;
    return this;
  }
}

function setOption6(fd: number, name: number, value: number): void {
  if (fd < 0) return;
  const native = nativeFor('udp6');
  unwrap(native, native.setsockopt(fd, IPPROTO_IPV6, name, value));
}

function peerOf(socket: dgram.Socket): Peer | null {
  try {
    return socket.remoteAddress();
  } catch {
    // Not connected: there is no stranger either.
    return null;
  }
}

/** The options, valid, and what follows from them. */
interface Plan {
  readonly native: Native | undefined;
  readonly host: string;
  readonly port: number;
  readonly type: dgram.SocketType | undefined;
  readonly source: Source;
  readonly exclusive: boolean;
  readonly lookup: typeof Lookup;
  readonly signal: AbortSignal | undefined;
  readonly dgramOptions: DgramOptions;
}

/** Options of `dgram.createSocket` that the Node releases which lack them pass over. */
const BLOCK_LISTS = ['receiveBlockList', 'sendBlockList'] as const;

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

function readOptions(options: UdpConnectOptions): Plan {
  if (typeof options !== 'object' || (options as unknown) === null)
    throw invalidType('options', 'of type object', options);
  const { host, port, type, exclusive, lookup, signal, recvBufferSize, sendBufferSize, ipv6Only } = options;
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
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.aborted !== 'boolean') {
    throw invalidType('options.signal', 'an instance of AbortSignal', signal);
  }
  for (const name of BLOCK_LISTS) {
    const list = (options as unknown as Record<string, unknown>)[name];
    if (list && !(list instanceof BlockList)) throw invalidType(`options.${name}`, 'an instance of BlockList', list);
  }
  for (const name of TCP_ONLY) {
    if ((options as SourceOptions)[name]) throw invalidValue(`options.${name}`, true, 'is for TCP only');
  }
  const native = nativeOrFallback();
  const plain = readSource(options);
  refuseLockOptions(plain.extras?.socketOptions);
  const source = withSocketOptions(plain, { recvBufferSize, sendBufferSize, ipv6Only }, native);
  if (native === undefined) refuseOnFallback(source);
  return {
    native,
    host,
    port,
    type,
    source,
    exclusive: exclusive === true,
    lookup: (lookup as typeof Lookup | undefined) ?? dnsLookup(),
    signal,
    dgramOptions: dgramOptionsOf(options),
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

// What dgram would set on the descriptor that it makes itself: ours may be another one by the time it is connected.
function withSocketOptions(
  source: Source,
  sizes: Pick<UdpConnectOptions, 'recvBufferSize' | 'sendBufferSize' | 'ipv6Only'>,
  native: Native | undefined,
): Source {
  const options: SocketOption[] = [];
  if (sizes.recvBufferSize) options.push({ level: SOL_SOCKET, name: SO_RCVBUF, value: sizes.recvBufferSize });
  if (sizes.sendBufferSize) options.push({ level: SOL_SOCKET, name: SO_SNDBUF, value: sizes.sendBufferSize });
  if (sizes.ipv6Only === true) options.push({ level: IPPROTO_IPV6, name: IPV6_V6ONLY, value: 1 });
  if (options.length === 0 || native === undefined) return source;
  const others = source.extras?.socketOptions ?? [];
  return { ...source, extras: { ...source.extras, socketOptions: [...options, ...others] } };
}

/** The options for `dgram.createSocket`: those that are not ours, whatever a Node release adds to them. */
function dgramOptionsOf(options: UdpConnectOptions): DgramOptions {
  const rest: Record<string, unknown> = {};
  for (const name of ['signal', ...BLOCK_LISTS] as const) {
    const value = (options as unknown as Record<string, unknown>)[name];
    if (value !== undefined) rest[name] = value;
  }
  return rest;
}

let memory: { readonly native: Native; readonly udp: UdpMemory } | undefined;

/** What this thread remembers of UDP ports. */
export function memoryOf(native: Native): UdpMemory {
  if (memory?.native !== native) memory = { native, udp: new UdpMemory(native) };
  return memory.udp;
}

// dgram has its handle behind a symbol of its own. Where a Node release has it elsewhere, sockets are adopted, which takes longer.
let kState: symbol | undefined;
let isHandleKnown = true;

/** The descriptor of a bound socket of core's, -1 where it cannot be known. */
function descriptorOf(socket: UdpSocket): number {
  kState ??= Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol');
  const states = socket as unknown as Record<symbol, { handle?: { fd?: unknown } | null } | undefined>;
  const state = kState === undefined ? undefined : states[kState];
  const fd = state?.handle?.fd;
  isHandleKnown = typeof fd === 'number';
  return isHandleKnown ? (fd as number) : -1;
}

// The socket that core is binding, and what has become of it: core tells of a failure by an event, before bind() returns.
let binding: UdpSocket | undefined;
let bindError: unknown;

/** A dgram.Socket on a descriptor that is not bound: made when it is first needed, and again after discard(). */
class Adoption implements Target {
  readonly #plan: Plan;
  readonly #family: Family;
  #socket: UdpSocket | undefined;
  #isAdopted = false;
  #fd = -1;

  constructor(plan: Plan, family: Family) {
    this.#plan = plan;
    this.#family = family;
  }

  /**
   * Adopted by Node while it is still unbound, because libuv sets SO_REUSEADDR on what it adopts, which would unlock the
   * port. Only for use within one turn of the event loop: after that, epoll knows the descriptor, and it must not become
   * another socket.
   */
  fd(): number {
    if (this.#socket !== undefined) return this.#fd;
    const native = this.#plan.native as Native;
    const socket = createSocket(this.#plan, this.#family);
    const fd = native.udpSocket(domainOf(this.#family));
    if (fd < 0) {
      socket.close();
      return fd;
    }
    try {
      socket.bind({ fd, exclusive: true });
    } catch (error) {
      // Where bind() throws, it has not opened the descriptor.
      native.close(fd);
      socket.close();
      throw error;
    }
    this.#fd = fd;
    this.#socket = socket;
    this.#isAdopted = true;
    return fd;
  }

  /**
   * By core, as for any other socket: that takes half the system calls. Core's code runs while the port is locked then, but
   * nobody else's: nobody has the socket yet. A thread that is terminated in between closes the descriptor, which unlocks it.
   */
  bindAlone(address: string, port: number): number {
    if (!isHandleKnown) return NOT_BOUND;
    const socket = createSocket(this.#plan, this.#family);
    binding = socket;
    try {
      socket.bind({ address, port, exclusive: true });
    } catch (error) {
      bindError = error;
    } finally {
      binding = undefined;
    }
    const error = bindError;
    bindError = undefined;
    const fd = error === undefined ? descriptorOf(socket) : -1;
    if (fd < 0) {
      socket.close();
      return (error as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE' ? IN_USE : NOT_BOUND;
    }
    this.#socket?.close();
    this.#socket = socket;
    this.#isAdopted = false;
    this.#fd = fd;
    return fd;
  }

  discard(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** Tells dgram what the kernel knows: the descriptor is connected. */
  take(lease: Lease, destination: { address: string; port: number }, done: (error?: Error) => void): UdpSocket {
    const socket = this.#socket as UdpSocket;
    this.#socket = undefined;
    socket[kPorts] = lease.ports;
    socket[kLocalPort] = lease.localPort;
    if (this.#family === 6 && this.#isAdopted) socket[kFd6] = this.#fd;
    // The lookup answers at once, so connect(2) is made within this call, to the peer that the socket has already.
    socket.connect(destination.port, destination.address, done);
    return socket;
  }
}

function createSocket(plan: Plan, family: Family): UdpSocket {
  return new UdpSocket({
    ...plan.dgramOptions,
    type: family === 6 ? 'udp6' : 'udp4',
    lookup: lookupAtOnce(plan.lookup) as NonNullable<dgram.SocketOptions['lookup']>,
  });
}

type Callback = (error: NodeJS.ErrnoException | null, address: string, family: number) => void;

type LookupAtOnce = (host: string, family: number, callback: Callback) => void;

let lastLookup: { readonly given: typeof Lookup; readonly atOnce: LookupAtOnce } | undefined;

/** A numeric address is its own answer, at once. The same function again for the same lookup. */
function lookupAtOnce(lookup: typeof Lookup): LookupAtOnce {
  if (lastLookup?.given === lookup) return lastLookup.atOnce;
  const atOnce: LookupAtOnce = (host, family, callback) => {
    const numeric = isIP(host);
    if (numeric === 0) lookup(host, family, callback);
    else callback(null, host, numeric);
  };
  lastLookup = { given: lookup, atOnce };
  return atOnce;
}

function familyOfType(type: dgram.SocketType | undefined): Family | undefined {
  return type === undefined ? undefined : type === 'udp4' ? 4 : 6;
}

/** What is to be connected for one destination address: once, or source after source of a pool. */
class Requests {
  readonly #plan: Plan;
  readonly #destination: Destination;
  readonly #sources: Sources | undefined;

  constructor(plan: Plan, address: string) {
    this.#plan = plan;
    this.#destination = { address, port: plan.port, family: isIP(address) as Family };
    this.#sources = sourcesFor(plan.source, this.#destination);
  }

  /** Throws where the destination and the source, or the type, have no family in common, and when no source is left. */
  next(): UdpRequest {
    const { type, source, exclusive } = this.#plan;
    const destination = this.#destination;
    const asked = familyOfType(type);
    if (asked !== undefined && asked !== destination.family) throw mismatch(destination, this.#plan);
    const resolved = this.#sources === undefined ? resolveSource(source, destination) : this.#sources.next();
    if (resolved === undefined) throw this.#sources?.exhaustedError() ?? mismatch(destination, this.#plan);
    return { destination, localAddress: resolved, source, exclusive };
  }

  /** To be called with what a request has failed with. Throws it where no other source may do better. */
  failed(error: unknown): void {
    if (error instanceof ConnectxError && this.#sources?.failed(error) === true) return;
    throw error;
  }

  /** To be called with the socket that a request has led to. */
  succeeded<S extends dgram.Socket>(socket: S): S {
    const lease = this.#sources?.lease();
    if (lease !== undefined) {
      socket.once('close', () => {
        lease.release();
      });
    }
    return socket;
  }
}

function mismatch(destination: { address: string; port: number; family: Family }, plan: Plan): ConnectxError {
  const { address, port, family } = destination;
  const asked = familyOfType(plan.type);
  const explanation =
    asked !== undefined && asked !== family
      ? { reason: 'family-mismatch', advice: `the destination is IPv${family}, and type is ${plan.type}` }
      : familyMismatch(address, plan.source);
  return noSource(address, port, explanation);
}

const cell = new Int32Array(new SharedArrayBuffer(4));

function block(ms: number): void {
  Atomics.wait(cell, 0, 0, ms);
}

/** Waits shorter than this are not worth a turn of the event loop, in ms. */
const BLOCK_MS = 0.3;
/** No longer one is made by a caller who blocks. A process that has a port locked may have lost its processor for some ms. */
const LONGEST_BLOCK_MS = 1;

/** Connects while the caller waits. `done` hears what dgram makes of the connected descriptor. */
function connectNow(plan: Plan, address: string, done: (error?: Error) => void): dgram.Socket {
  const requests = new Requests(plan, address);
  for (;;) {
    const request = requests.next();
    try {
      return requests.succeeded(connectOneNow(plan, request, done));
    } catch (error) {
      requests.failed(error);
    }
  }
}

function connectOneNow(plan: Plan, request: UdpRequest, done: (error?: Error) => void): dgram.Socket {
  const { native } = plan;
  if (native === undefined) return connectFallback(createSocket(plan, request.destination.family), request, done);
  const target = new Adoption(plan, request.destination.family);
  const steps = new UdpSteps(native, memoryOf(native), request, target);
  try {
    const lease = steps.first();
    if (lease !== undefined) return target.take(lease, request.destination, done);
    const rest = steps.run();
    let seen: Uint16Array | undefined;
    for (;;) {
      const step = rest.next(seen);
      seen = undefined;
      if (step.done === true) return target.take(step.value, request.destination, done);
      if (typeof step.value !== 'number') seen = step.value.now();
      else if (step.value > 0) block(Math.min(step.value, LONGEST_BLOCK_MS));
    }
  } catch (error) {
    target.discard();
    throw error;
  }
}

async function connectInTurns(plan: Plan, address: string): Promise<dgram.Socket> {
  const requests = new Requests(plan, address);
  for (;;) {
    const request = requests.next();
    let socket: dgram.Socket | undefined;
    try {
      socket = await connectOneInTurns(plan, request);
    } catch (error) {
      requests.failed(error);
      // Each of them may have searched a whole range.
      await turn(0);
    }
    // It closes the socket, too: then 'close' has been emitted, which a lease of the source would wait for.
    plan.signal?.throwIfAborted();
    if (socket !== undefined) return requests.succeeded(socket);
  }
}

async function connectOneInTurns(plan: Plan, request: UdpRequest): Promise<dgram.Socket> {
  const { native, signal } = plan;
  if (native === undefined) {
    return whenDone((done) => connectFallback(createSocket(plan, request.destination.family), request, done));
  }
  const target = new Adoption(plan, request.destination.family);
  const steps = new UdpSteps(native, memoryOf(native), request, target);
  try {
    const lease = steps.first();
    if (lease !== undefined) return await whenDone((done) => target.take(lease, request.destination, done));
    const rest = steps.run();
    let seen: Uint16Array | undefined;
    for (;;) {
      const step = rest.next(seen);
      seen = undefined;
      if (step.done === true) {
        return await whenDone((done) => target.take(step.value, request.destination, done));
      }
      if (typeof step.value === 'number' && step.value > 0 && step.value < BLOCK_MS) block(step.value);
      else {
        target.discard();
        if (typeof step.value === 'number') await turn(step.value);
        else seen = await abortable(step.value.later(signal), signal);
        signal?.throwIfAborted();
      }
    }
  } catch (error) {
    target.discard();
    throw error;
  }
}

function turn(ms: Pause): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0) setImmediate(resolve);
    else setTimeout(resolve, ms);
  });
}

// dgram calls back in the next tick, with an error where it would not have the peer (sendBlockList).
function whenDone(start: (done: (error?: Error) => void) => dgram.Socket): Promise<dgram.Socket> {
  return new Promise((resolve, reject) => {
    const socket = start((error) => {
      if (error === undefined) resolve(socket);
      else {
        socket.close();
        reject(error);
      }
    });
  });
}

function resolveHost({ host, type, lookup }: Plan): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true, family: familyOfType(type) ?? 0 }, (error, addresses: unknown, family?: number) => {
      if (error) reject(error);
      // A lookup of the user's may know nothing of `all`.
      else if (Array.isArray(addresses)) resolve(addresses as LookupAddress[]);
      else resolve([{ address: String(addresses), family: family ?? isIP(String(addresses)) }]);
    });
  });
}

function abortError(signal: AbortSignal): Error {
  return Object.assign(new Error('The operation was aborted', { cause: signal.reason as unknown }), {
    code: 'ABORT_ERR',
    name: 'AbortError',
  });
}

/**
 * Opens a UDP socket that is bound and connected, and shares its local address and port with the sockets that are connected
 * to other destinations. No two cooperating sockets of this machine ever have the same 4-tuple.
 *
 * @returns a `dgram.Socket` of which `'connect'` has been emitted. Rejects with a {@link ConnectxError} (EAGAIN
 *   `ports-exhausted`, EADDRINUSE `tuple-in-use` or `port-locked`, EADDRNOTAVAIL `address-not-local`, EAFNOSUPPORT
 *   `family-mismatch`, ENETUNREACH ...), with the error of the lookup, or with an AbortError.
 * @throws one of Node's argument errors, at once, when an option is wrong
 * @example
 * const socket = await connectUdp({ host: '192.0.2.53', port: 53, localAddress: '192.0.2.7' });
 * socket.on('message', (message) => console.log(message));
 * socket.send(query);
 */
export function connectUdp(options: UdpConnectOptions): Promise<dgram.Socket> {
  const plan = readOptions(options);
  const trace = beginTrace('udp', plan.host, plan.port);
  const connecting = connectByName(plan);
  if (trace === undefined) return connecting;
  returned(trace);
  return connecting.then(
    (socket) => {
      traceConnected(trace, plan, socket);
      finished(trace);
      return socket;
    },
    (error: unknown) => {
      traceFailed(trace, plan, error);
      finished(trace);
      throw error;
    },
  );
}

function techniqueOf({ native, exclusive }: Plan): TracedTechnique {
  if (native === undefined) return 'core';
  return exclusive || !memoryOf(native).shared ? 'exclusive' : 'shared';
}

function traceConnected(trace: ConnectTrace, plan: Plan, socket: dgram.Socket): void {
  const { address, port } = socket.address();
  const remote = socket.remoteAddress();
  trace.source = { address, port };
  trace.destination = { address: remote.address, port: remote.port, family: isIP(remote.address) as Family };
  trace.technique = techniqueOf(plan);
  const { destination, technique } = trace;
  trace.attempts = [{ destination, localAddress: address, technique, reason: undefined }];
}

function traceFailed(trace: ConnectTrace, plan: Plan, error: unknown): void {
  trace.error = error;
  const failures = error instanceof ConnectxError ? (error.errors ?? [error]) : [];
  trace.attempts = failures.map(({ address = plan.host, port = plan.port, localAddress, reason }) => ({
    destination: { address, port, family: isIP(address) as Family },
    localAddress,
    technique: techniqueOf(plan),
    reason,
  }));
}

async function connectByName(plan: Plan): Promise<dgram.Socket> {
  const { signal } = plan;
  try {
    signal?.throwIfAborted();
    if (isIP(plan.host) !== 0) return await connectInTurns(plan, plan.host);
    const addresses = await abortable(resolveHost(plan), signal);
    if (addresses.length === 0) throw noAddress(plan);
    let failure: unknown;
    for (const { address } of addresses) {
      if (isIP(address) === 0) throw invalidAddress(address);
      try {
        return await connectInTurns(plan, address);
      } catch (error) {
        if (signal?.aborted === true) throw error;
        // Of several addresses the first one's error tells most, unless it could not be tried at all.
        if (failure === undefined || (failure as ConnectxError).reason === 'family-mismatch') failure = error;
      }
    }
    throw failure;
  } catch (error) {
    if (signal?.aborted === true) throw abortError(signal);
    throw error;
  }
}

function noAddress({ host, port }: Plan): ConnectxError {
  const code = 'ENOTFOUND';
  return new ConnectxError(`connect ${code} ${host}:${port}; the lookup gave no address`, {
    code,
    syscall: 'connect',
    port,
  });
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  let ignore = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    ignore = onAbort(signal, () => {
      reject(abortError(signal));
    });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    ignore();
  }
}

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

// One listener for all calls with a signal: Node warns of more than ten. Returns what takes `callback` back.
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    callbacks = new Set();
    waiting.set(signal, callbacks);
    signal.addEventListener('abort', tellAborted, { once: true });
  }
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0) return;
    waiting.delete(signal);
    signal.removeEventListener('abort', tellAborted);
  };
}

function tellAborted({ target }: Event): void {
  for (const callback of waiting.get(target as AbortSignal) ?? []) callback();
}

/**
 * Like {@link connectUdp}, at once: for a numeric host. It blocks for some ten microseconds as a rule; longer while it
 * searches a range that is nearly full, or waits for a port that is locked (some 60 ms;
 * longer where there is no processor to spare).
 *
 * @throws one of Node's argument errors (ERR_INVALID_ARG_VALUE for a host that is a name), or a {@link ConnectxError}
 * @example
 * const socket = connectUdpSync({ host: '192.0.2.53', port: 53, localAddress: '192.0.2.7', localPort: 40000 });
 */
export function connectUdpSync(options: UdpConnectOptions): dgram.Socket {
  const plan = readOptions(options);
  if (isIP(plan.host) === 0)
    throw invalidValue('options.host', plan.host, 'must be a numeric address for connectUdpSync');
  if (plan.signal?.aborted === true) throw abortError(plan.signal);
  const trace = beginTrace('udp', plan.host, plan.port);
  try {
    const socket = connectNow(plan, plan.host, (error) => {
      if (error === undefined) return;
      socket.close();
      socket.emit('error', error);
    });
    if (trace !== undefined) traceConnected(trace, plan, socket);
    returned(trace);
    return socket;
  } catch (error) {
    if (trace !== undefined) traceFailed(trace, plan, error);
    threw(trace, error);
    throw error;
  }
}
