// How one UDP socket is connected: which ports are tried, what each answer of the kernel means, and when to wait. Written as
// a generator, so that the same steps serve a caller who blocks and one who does not.
import { constants } from 'node:os';
import { type Destination, isMapped, parseAddress, toMapped } from '../values/address';
import { ConnectxError, type ErrorDetails, errnoName } from '../errors/connectx_error';
import {
  addressNotLocal,
  type Explanation,
  explain,
  MISSING_ZONE,
  portLocked,
  UDP_TUPLE_IN_USE,
  udpPortsExhausted,
} from '../connect/explain';
import { AF_INET, domainOf, SocketState, UdpFlag, UdpVerdict } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import type { Native, PortsQuestion } from '../kernel/addon';
import { udpSocketCount } from '../kernel/sockstat';
import type { Source } from '../source/options';
import { lacksZone } from '../source/resolve';
import { udpSharingOf } from '../kernel/sock_diag';
import type { UdpMemory } from './port_cache';
import type { DestinationPorts } from './ports';

const { errno } = constants;

/** One destination, with the source address that it gets. */
export interface UdpRequest {
  readonly destination: Destination;
  /** Null: as the kernel would route. */
  readonly localAddress: string | null;
  readonly source: Source;
  readonly exclusive: boolean;
}

/** Where the connected socket is to be: a descriptor that is not bound, made when it is first needed. */
export interface Target {
  /** The descriptor, or a negative outcome of the addon. */
  fd(): number;
  /**
   * Another descriptor, bound without `SO_REUSEADDR`; `IN_USE` where somebody is on the port; `NOT_BOUND` where it did not come to
   * that. After it comes a connect, or {@link discard}.
   */
  bindAlone(address: string, port: number): number;
  discard(): void;
}

/** What `bindAlone` says. */
export const IN_USE = -1;
export const NOT_BOUND = -2;

/** The ports of the destination, and which one it is: to be given back when the socket is closed. */
export interface Lease {
  readonly ports: DestinationPorts | undefined;
  readonly localAddress: string;
  readonly localPort: number;
}

/** In ms. 0: the event loop shall have a turn. */
export type Pause = number;

/**
 * A look at many ports at once: which of those that were taken may not be taken any more? Undefined where that could not be seen, or
 * where it is cheaper to ask for each of them.
 */
export interface Look {
  /** Off the event loop, and shared by all who wait for one. */
  later(signal: AbortSignal | undefined): Promise<Uint16Array | undefined>;
  /** While the caller waits. */
  now(): Uint16Array | undefined;
}

/** So many questions to the kernel make about 1 ms. */
const QUESTIONS_A_TURN = 256;

/** Beyond so many a look costs less than the questions, and none of it on the event loop. */
const WORTH_A_LOOK = QUESTIONS_A_TURN;

/** A question takes as long as a look takes for so many sockets that are others', or for five that are listed. */
const SOCKETS_A_QUESTION = 16;

/** How often an explicit port that is locked is tried: for 60 ms when blocking, some 300 ms when not. */
const PATIENCE = 64;

/** Waits shorter than a timer can measure come first: a lock is held for some 10 microseconds. */
export function pauseAfter(tries: number, random: () => number): Pause {
  if (tries <= 4) return 0.01 + random() * 0.05 * tries;
  return 0.1 + random() * Math.min(tries / 4, 8);
}

export class UdpSteps {
  readonly #native: Native;
  readonly #memory: UdpMemory;
  readonly #request: UdpRequest;
  readonly #target: Target;
  readonly #domain: number;
  #localAddress = '';
  #questions = 0;
  /** The outcome of the last question that the kernel refused to answer. */
  #refusal = 0;

  constructor(native: Native, memory: UdpMemory, request: UdpRequest, target: Target) {
    this.#native = native;
    this.#memory = memory;
    this.#request = request;
    this.#target = target;
    this.#domain = domainOf(request.destination.family);
  }

  /** The first step alone, as it mostly is the last one, too; undefined when {@link run} has to go on. */
  first(): Lease | undefined {
    const { source } = this.#request;
    this.#localAddress = this.#findSource();
    if (source.port !== 0) {
      if (this.#connect(source.port) !== UdpVerdict.connected) return undefined;
      return { ports: undefined, localAddress: this.#localAddress, localPort: source.port };
    }
    const ports = this.#memory.portsTowards(this.#key(), source.range);
    const port = ports.take();
    if (port === undefined) return undefined;
    const lease = this.#tryOffered(ports, port);
    return lease === MISSED ? undefined : lease;
  }

  /** Connects the target. Throws a {@link ConnectxError}. */
  *run(): Steps<Lease> {
    const { source } = this.#request;
    // Only a change of the network namespace or the loss of sock_diag begins again, and neither goes on for ever.
    for (let again = 0; again < 4; again++) {
      this.#localAddress = this.#findSource();
      const lease = source.port === 0 ? yield* this.#anyPort() : yield* this.#onePort(source.port);
      if (lease !== undefined) return lease;
    }
    if (this.#refusal !== 0) throw this.#failed(this.#refusal, syscallOf(this.#native, this.#refusal));
    throw this.#error(errno.EAGAIN, 'connect', udpPortsExhausted(this.#memory.rangeOf(source.range)));
  }

  *#onePort(port: number): Steps<Lease | undefined> {
    for (let tries = 1; tries <= PATIENCE; tries++) {
      const verdict = this.#connect(port);
      switch (verdict) {
        case UdpVerdict.connected:
          return { ports: undefined, localAddress: this.#localAddress, localPort: port };
        case UdpVerdict.tupleInUse:
          throw this.#error(errno.EADDRINUSE, 'connect', UDP_TUPLE_IN_USE);
        case UdpVerdict.portLocked:
          // A contender is not connected yet; one that is connected with this very 4-tuple will not go away.
          if (this.#owner(port) === SocketState.established) {
            throw this.#error(errno.EADDRINUSE, 'connect', UDP_TUPLE_IN_USE);
          }
          break;
        case UdpVerdict.contended:
          break;
        default: {
          this.#startOver(verdict);
          return;
        }
      }
      yield pauseAfter(tries, Math.random);
    }
    throw this.#error(errno.EADDRINUSE, 'bind', portLocked(port));
  }

  *#anyPort(): Steps<Lease | undefined> {
    const { source } = this.#request;
    const ports = this.#memory.portsTowards(this.#key(), source.range);
    let misses = 0;
    for (let port = ports.take(); port !== undefined; port = ports.take()) {
      // After a miss a question comes first: it is cheaper than a socket that is bound in vain.
      if (misses > 0 && this.#owner(port) === SocketState.established) ports.isTaken(port);
      else {
        const lease = this.#tryOffered(ports, port);
        if (lease !== MISSED) return lease;
      }
      misses++;
      if (this.#turnIsOver()) yield 0;
    }
    return yield* this.#lastResort(ports);
  }

  // Every port has been offered. Those that others had may be free by now, and those that were locked, unlocked.
  *#lastResort(ports: DestinationPorts): Steps<Lease | undefined> {
    const { source } = this.#request;
    for (let tries = 1; ; tries++) {
      const unlisted = yield* this.#look(ports);
      // The questions may go to a network namespace that the thread has left, which only an attempt shows.
      const first = unlisted?.find((port) => ports.wasTaken(port));
      if (first !== undefined) {
        const lease = this.#tryPort(ports, first);
        if (lease !== MISSED) return lease;
      }
      const taken = unlisted ?? Uint16Array.from(ports.taken());
      for (let from = 0; from < taken.length;) {
        const some = taken.subarray(from, from + QUESTIONS_A_TURN - this.#questions);
        const { answer, place } = this.#firstWithoutOwner(some);
        if (answer !== SocketState.established) {
          const lease = this.#tryPort(ports, some[place] as number);
          if (lease !== MISSED) return lease;
        }
        from += place + 1;
        if (this.#turnIsOver()) yield 0;
      }
      const locked = Uint16Array.from(ports.locked());
      for (let from = 0; from < locked.length;) {
        const some = locked.subarray(from, from + QUESTIONS_A_TURN - this.#questions);
        const { answer, place } = this.#connectFirst(some);
        for (let n = 0; n < place; n++) ports.isLocked(some[n] as number, performance.now());
        const lease = this.#learn(ports, some[place] as number, answer);
        if (lease !== MISSED) return lease;
        from += place + 1;
        if (this.#turnIsOver()) yield 0;
      }
      // While this one waited, another connect of this thread may have given a port back.
      const port = ports.take();
      if (port !== undefined) {
        const lease = this.#tryOffered(ports, port);
        if (lease !== MISSED) return lease;
      } else if (!ports.mayUnlock(performance.now())) break;
      yield pauseAfter(tries, Math.random);
    }
    // Ports that were ours in another network namespace say nothing of this one, and nobody has asked the kernel for them.
    if (this.#native.udpMoved() === 1) {
      this.#memory.forget();
      return undefined;
    }
    if (this.#memory.refresh()) return undefined;
    throw this.#error(errno.EAGAIN, 'connect', udpPortsExhausted(this.#memory.rangeOf(source.range)));
  }

  // Those of the taken ports that the kernel does not list any more. Undefined: each is to be asked for.
  *#look(ports: DestinationPorts): Steps<Uint16Array | undefined> {
    if (ports.takenCount <= WORTH_A_LOOK || !this.#memory.shared || !this.#isListedAsAnswered()) return undefined;
    const { address, port } = this.#request.destination;
    const { established } = SocketState;
    const native = this.#native;
    const question: PortsQuestion = [IPPROTO_UDP, established, this.#domain, this.#localAddress, address, port];
    // An error is no answer: then the questions will tell.
    const unlistedIn = (listed: Uint16Array | number) =>
      typeof listed === 'number' ? undefined : ports.takenExcept(listed);
    const unlisted = yield {
      later: (signal) => ports.survey.join(async () => unlistedIn(await native.portsInState(...question)), signal),
      now: () => {
        // Where the sockets are not counted, there may be any number of them.
        const sockets = udpSocketCount(native) ?? Infinity;
        if (sockets > SOCKETS_A_QUESTION * ports.takenCount) return undefined;
        return unlistedIn(native.portsInStateNow(...question));
      },
    };
    if (unlisted !== undefined) this.#questions = 0;
    return unlisted;
  }

  // Whether a list of sockets says the same as questions for each of them do: not where a device or a zone tells them apart, nor
  // where sockets of both families have the same ends.
  #isListedAsAnswered(): boolean {
    const { destination, source } = this.#request;
    if (source.extras?.interface !== undefined) return false;
    return [this.#localAddress, destination.address].every((text) => {
      const address = parseAddress(text);
      if (address?.family !== destination.family || address.zone !== undefined) return false;
      return destination.family === 4 || address.scope !== 'link-local';
    });
  }

  // As tryPort. What take() offered is never offered again, unless it is given back: also when the attempt came to nothing for
  // another reason than the port.
  #tryOffered(ports: DestinationPorts, port: number): Lease | undefined | typeof MISSED {
    let lease: Lease | undefined | typeof MISSED;
    try {
      lease = this.#tryPort(ports, port);
    } finally {
      if (lease === undefined) ports.released(port);
    }
    return lease;
  }

  // MISSED: go on. Undefined: start over.
  #tryPort(ports: DestinationPorts, port: number): Lease | undefined | typeof MISSED {
    return this.#learn(ports, port, this.#connect(port));
  }

  #learn(ports: DestinationPorts, port: number, verdict: number): Lease | undefined | typeof MISSED {
    switch (verdict) {
      case UdpVerdict.connected:
        ports.becameFree(port);
        return { ports, localAddress: this.#localAddress, localPort: port };
      case UdpVerdict.tupleInUse:
        ports.isTaken(port);
        return MISSED;
      case UdpVerdict.portLocked:
      case UdpVerdict.contended:
        ports.isLocked(port, performance.now());
        return MISSED;
      default: {
        this.#startOver(verdict);
        return;
      }
    }
  }

  #startOver(verdict: number): undefined {
    if (verdict === UdpVerdict.moved) {
      this.#memory.forget();
      return undefined;
    }
    udpSharingOf(this.#native).recheck();
    return undefined;
  }

  // A UdpVerdict, never connectedAlone.
  #connect(port: number): number {
    const { destination, source } = this.#request;
    const { address } = destination;
    let flags = this.#flags();
    this.#questions++;
    // What it takes to share a port is not needed where nobody is on it.
    if ((flags & UdpFlag.alone) !== 0 && source.extras === null) {
      const bound = this.#target.bindAlone(this.#localAddress, port);
      if (bound >= 0) return this.#connectLocked(bound, flags);
      if (bound === IN_USE) {
        this.#memory.wasAlone(false);
        if (!this.#memory.shared) return UdpVerdict.portLocked;
        flags &= ~UdpFlag.alone;
      }
    }
    const fd = this.#target.fd();
    if (fd < 0) throw this.#failed(fd, syscallOf(this.#native, fd));
    const native = this.#native;
    const local = this.#localAddress;
    return this.#verdict(
      native.udpConnect(fd, this.#domain, local, port, address, destination.port, flags, source.extras),
      flags,
    );
  }

  #connectLocked(fd: number, flags: number): number {
    const { address, port } = this.#request.destination;
    const unlock = (flags & (UdpFlag.shared | UdpFlag.exclusive)) === UdpFlag.shared;
    const outcome = this.#native.udpConnectLocked(fd, this.#domain, address, port, unlock);
    if (outcome !== UdpVerdict.connectedAlone) this.#target.discard();
    return this.#verdict(outcome, flags);
  }

  // Port after port, as long as they are locked.
  #connectFirst(ports: Uint16Array): Answer {
    const { destination, source } = this.#request;
    const { address, port } = destination;
    const flags = this.#flags();
    const fd = this.#target.fd();
    if (fd < 0) throw this.#failed(fd, syscallOf(this.#native, fd));
    const native = this.#native;
    const outcome = native.udpConnectFirst(
      fd,
      this.#domain,
      this.#localAddress,
      ports,
      address,
      port,
      flags,
      source.extras,
    );
    const place = outcome < 0 ? 0 : outcome >> 4;
    this.#questions += place + 1;
    return { answer: this.#verdict(outcome < 0 ? outcome : outcome & 15, flags), place };
  }

  #flags(): number {
    const memory = this.#memory;
    return (
      (memory.shared ? UdpFlag.shared : 0) |
      (this.#request.exclusive ? UdpFlag.exclusive : 0) |
      (memory.expectsToBeAlone() ? UdpFlag.alone : 0)
    );
  }

  #verdict(outcome: number, flags: number): number {
    if (outcome >= 0) {
      const wasAlone = outcome === UdpVerdict.connectedAlone;
      if ((flags & UdpFlag.alone) !== 0) this.#memory.wasAlone(wasAlone);
      return wasAlone ? UdpVerdict.connected : outcome;
    }
    const syscall = syscallOf(this.#native, outcome);
    // sock_diag is refused here, or is not there at all.
    if (this.#memory.shared && isRefusal(syscall, errnoOf(outcome))) {
      this.#refusal = outcome;
      return UdpVerdict.unseen;
    }
    throw this.#failed(outcome, syscall);
  }

  #owner(port: number): number {
    const { destination, source } = this.#request;
    if (!this.#memory.shared) return 0;
    this.#questions++;
    const { address, port: remotePort } = destination;
    // An error is no answer: then the attempt itself will tell.
    return this.#native.udpOwner(this.#domain, this.#localAddress, port, address, remotePort, 0, source.extras);
  }

  // Port after port, as long as somebody is connected.
  #firstWithoutOwner(ports: Uint16Array): Answer {
    const { destination, source } = this.#request;
    // Where nobody can tell, the attempt itself will.
    if (!this.#memory.shared) return { answer: 0, place: 0 };
    const { address, port } = destination;
    const { extras } = source;
    const outcome = this.#native.udpOwnerFirst(this.#domain, this.#localAddress, ports, address, port, 0, extras);
    if (outcome < 0) return { answer: outcome, place: 0 };
    this.#questions += (outcome >> 4) + 1;
    return { answer: outcome & 15, place: outcome >> 4 };
  }

  #turnIsOver(): boolean {
    if (this.#questions < QUESTIONS_A_TURN) return false;
    this.#questions = 0;
    return true;
  }

  #key(): string {
    const { address, port } = this.#request.destination;
    return `${this.#localAddress} ${address} ${port} ${this.#request.source.extras?.interface ?? ''}`;
  }

  // As the kernel would route: asked, and not tried with a socket, which would need a free port.
  #findSource(): string {
    const { destination, localAddress, source } = this.#request;
    if (localAddress !== null) {
      if (lacksZone(source, localAddress)) throw this.#error(errno.EINVAL, 'bind', MISSING_ZONE);
      return localAddress;
    }
    const mapped = destination.family === 6 && isMapped(destination.address);
    const target = mapped ? (parseAddress(destination.address)?.ip ?? '') : destination.address;
    const name = source.extras?.interface;
    const index = name === undefined ? 0 : this.#native.interfaceIndex(name);
    const domain = mapped ? AF_INET : this.#domain;
    const ask = (remembered: boolean) =>
      this.#native.routeLookup(domain, target, Math.max(index, 0), source.extras?.mark ?? 0, remembered);
    let route = ask(true);
    // Answered for a network namespace that the thread may have left, which only the attempt that follows would show.
    if (typeof route === 'number' || route.source === undefined) route = ask(false);
    if (typeof route === 'number') {
      if (isRefusal(syscallOf(this.#native, route), errnoOf(route))) return this.#scratchSource();
      throw this.#failed(route, 'connect');
    }
    if (route.source === undefined) throw this.#error(errno.EADDRNOTAVAIL, 'connect', addressNotLocal(null));
    if (mapped) return toMapped(route.source);
    if (destination.family !== 6 || parseAddress(route.source)?.scope !== 'link-local') return route.source;
    // An address of this machine is routed over the loopback interface, and yet its zone is the one it was asked for with.
    return `${route.source}%${name ?? parseAddress(destination.address)?.zone ?? route.interface}`;
  }

  // Where rtnetlink is refused: a socket is connected to the destination and asked where from. It needs a port for that moment,
  // one that nobody else is on, so that it cannot overshadow anybody.
  #scratchSource(): string {
    const native = this.#native;
    const { destination, source } = this.#request;
    const must = (outcome: number): number => {
      if (outcome >= 0) return outcome;
      if (errnoOf(outcome) !== errno.EAGAIN) throw this.#failed(outcome, syscallOf(native, outcome));
      throw this.#error(errno.EAGAIN, 'connect', udpPortsExhausted(this.#memory.rangeOf(undefined)));
    };
    const fd = must(native.socket(this.#domain, SOCK_DGRAM, 0));
    try {
      const { interface: name, mark } = source.extras ?? {};
      if (name !== undefined) must(native.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(name)));
      if (mark !== undefined) must(native.setsockopt(fd, SOL_SOCKET, SO_MARK, mark));
      must(native.connect(fd, this.#domain, destination.address, destination.port));
      const local = native.getsockname(fd);
      if (typeof local === 'number') throw this.#failed(local, 'getsockname');
      return local.scope === undefined ? local.address : `${local.address}%${local.scope}`;
    } finally {
      native.close(fd);
    }
  }

  #failed(outcome: number, syscall: string): ConnectxError {
    const code = errnoOf(outcome);
    const { source } = this.#request;
    const explanation = explain({
      errno: code,
      syscall,
      localAddress: this.#localAddress || null,
      source,
      ephemeral: undefined,
      sourceIsUsable: () => false,
    });
    return this.#error(code, syscall || 'connect', explanation);
  }

  #error(code: number, syscall: string, { reason, advice }: Explanation): ConnectxError {
    const { destination, source } = this.#request;
    const name = errnoName(code);
    const local = this.#localAddress === '' ? undefined : this.#localAddress;
    const localPort = source.port === 0 ? undefined : source.port;
    const from = local === undefined ? '' : ` - Local (${local}:${localPort ?? 0})`;
    const details: ErrorDetails = {
      code: name,
      errno: -code,
      syscall,
      address: destination.address,
      port: destination.port,
      localAddress: local,
      localPort,
      reason: reason,
    };
    const message = `${syscall} ${name} ${destination.address}:${destination.port}${from}${advice && `; ${advice}`}`;
    return new ConnectxError(message, details);
  }
}

/** What is to be waited for between the steps; a look is to be answered with what was seen. */
type Steps<T> = Generator<Pause | Look, T, Uint16Array | undefined>;

const MISSED = Symbol('missed');

/** What the kernel says of the last port that it was asked about, and the place of that port among those that it was given. */
interface Answer {
  readonly answer: number;
  readonly place: number;
}

const IPPROTO_UDP = 17;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SO_MARK = 36;

/** Whether it looks as if netlink itself was refused. (EACCES may also be a route that prohibits.) */
function isRefusal(syscall: string, code: number): boolean {
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
