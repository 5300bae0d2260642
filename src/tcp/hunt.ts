// The long way to a connection: source after source, and technique after technique when the kernel has no port for this one;
// and why, when none of them has led to one. An attempt takes it when its first and mostly only step (see attempt.ts) was not enough.
import { constants } from 'node:os';
import { type Destination, isMapped, mayBeginWithZero, parseAddress, toMapped } from '../values/address';
import type { ConnectRequest, HandleOwner, TcpHandle } from './core_handle';
import { attemptError, type FailedAttempt, type FailureDetails } from '../errors/connectx_error';
import {
  type Circumstances,
  type Explanation,
  explain,
  familyMismatch,
  LOOPBACK_SOURCE,
  MISSING_ZONE,
  otherAddress,
  otherPort,
  SELF_CONNECT,
  type TimeWait,
  TUPLE_IN_USE,
  wildcardOf,
} from '../connect/explain';
import { kernelOf } from '../kernel/kernel';
import { hasKept, mayDiffer } from './local_end';
import { AF_INET, domainOf, RTN_LOCAL, SocketState, Verdict } from '../kernel/constants';
import { errnoOf, syscallOf } from '../kernel/outcome';
import type { Native } from '../kernel/addon';
import { PortSearch, planPorts, type Technique, watchOf } from './port_plan';
import type { PortRange } from '../values/port_range';
import type { PoolLease } from '../source/picker';
import type { Source } from '../source/options';
import { lacksZone, resolveSource } from '../source/resolve';
import { type Sources, sourcesFor } from '../connect/candidates';
import { ephemeralRange, hasTimestamps } from '../kernel/sysctl';

const { errno } = constants;

const IPPROTO_TCP = 6;

/** How many ports are searched before the event loop gets its turn: some 3 ms. */
const TRIES_A_TURN = 256;

/** How many sources of a pool are tried before the event loop gets its turn: some 4 ms, when all their ports are taken. */
const SOURCES_A_TURN = 4;

/** The handle's descriptor is ready to be connected. Above every negative errno, and beside them in one return value. */
const READY = 0;
/** No technique is left. */
const NO_MORE = 1;
/** There are ports left to search, but the event loop has waited long enough. */
const LATER = 2;
/** The kernel has to be asked which ports are in TIME-WAIT, and that takes a while. */
const ASK = 3;

/** rtnetlink refused to answer (sandboxes), as against: answered that there is no route. */
const NO_ROUTE_SERVICE: ReadonlySet<number> = new Set([
  errno.EPERM,
  errno.EACCES,
  errno.EPROTONOSUPPORT,
  errno.EAFNOSUPPORT,
  errno.EOPNOTSUPP,
  errno.EBADMSG,
  errno.EAGAIN,
]);

const NO_RANGE: PortRange = { low: 0, high: 0 };
const NOTHING_TO_ADD: Explanation = { reason: undefined, advice: '' };
const SOURCE_THREW: Explanation = { reason: undefined, advice: 'localAddress() threw' };

const SOL_SOCKET = 1;
const SO_LINGER = 13;
const RESET_ON_CLOSE = new Uint8Array(new Int32Array([1, 0]).buffer);

/** Why an attempt failed, for the error that core makes of it. */
export type Failure = FailureDetails;

/** What is to be connected, and what has come of it so far. */
export interface Hunted extends FailedAttempt, Destination {
  readonly native: Native;
  readonly source: Source;
  readonly destination: Destination;
  readonly owner: HandleOwner;
  readonly handle: TcpHandle;
  /** -1 while there is none. */
  fd: number;
  localAddress: string | null;
  localPort: number;
  failure: Failure | undefined;
  thrown: { readonly error: unknown } | undefined;
  /** Core's connect of the handle: 0 or a negative errno, like everything here that answers core. */
  callCore(request: ConnectRequest): number;
}

export class Hunt {
  readonly #attempt: Hunted;
  readonly #native: Native;
  readonly #source: Source;
  #plan: readonly Technique[] = [];
  #step = 0;
  #next = READY;
  #search: PortSearch | undefined;
  #tries = 0;
  // A port below ip_unprivileged_port_start was among those searched.
  #denied = false;
  /** Where the sources come from a pool. */
  readonly #sources: Sources | undefined;
  #lease: PoolLease | undefined;
  // Whether there is a descriptor with the current source.
  #isPrepared = false;

  constructor(attempt: Hunted) {
    this.#attempt = attempt;
    this.#native = attempt.native;
    this.#source = attempt.source;
    this.#sources = sourcesFor(attempt.source, attempt.destination);
  }

  /** The technique that is being tried, or was the last one. */
  get technique(): Technique | undefined {
    return this.#plan[this.#step];
  }

  /** The source, if it came from a pool, is in use no longer. */
  release(): void {
    this.#lease?.release();
    this.#lease = undefined;
  }

  /** Where the first technique of this plan has been tried already; `status` is what connect(2) has answered at that time. */
  goOn(request: ConnectRequest, plan: readonly Technique[], status: number, time: number): number {
    this.#plan = plan;
    this.#isPrepared = true;
    return this.#conclude(request, status, time) ?? this.go(request);
  }

  /** Where not even the descriptor of the first one could be had. */
  gaveUp(plan: readonly Technique[], outcome: number): number {
    this.#plan = plan;
    return this.#failWith(outcome);
  }

  /** From the beginning: source after source, where there is more than one. */
  go(request: ConnectRequest): number {
    for (let sources = 1; ; sources++) {
      let status = this.#isPrepared ? 0 : this.#prepare();
      this.#isPrepared = status === 0;
      if (status === 0) status = this.#run(request);
      if (status === 0 || !this.#mayTryAnother(request)) return status;
      this.#isPrepared = false;
      if (sources === SOURCES_A_TURN) return this.#postpone(request);
    }
  }

  #mayTryAnother(request: ConnectRequest): boolean {
    const { failure } = this.#attempt;
    // A request that has been abandoned belongs to libuv, which is connecting the handle.
    if (this.#sources === undefined || failure === undefined || request.oncomplete === undefined) return false;
    return (
      failure.errors === undefined &&
      this.#attempt.thrown === undefined &&
      this.#sources.failed(attemptError(this.#attempt, failure))
    );
  }

  #prepare(): number {
    const { destination } = this.#attempt;
    // Of the source before.
    this.#attempt.failure = undefined;
    let resolved: ReturnType<typeof resolveSource>;
    try {
      resolved = this.#sources === undefined ? resolveSource(this.#source, destination) : this.#sources.next();
    } catch (error) {
      this.#attempt.thrown = { error };
      return this.#fail(errno.EINVAL, 'bind', SOURCE_THREW);
    }
    if (resolved === undefined) {
      this.#attempt.failure = this.#sources?.exhausted();
      if (this.#attempt.failure !== undefined) return -this.#attempt.failure.errno;
      return this.#fail(errno.EAFNOSUPPORT, 'connect', familyMismatch(destination.address, this.#source));
    }
    this.#attempt.localAddress = resolved;
    this.#attempt.localPort = this.#source.port;
    const refusal = this.#refuse();
    if (refusal !== 0) return refusal;
    this.#step = 0;
    this.#next = READY;
    this.#search = undefined;
    this.#plan = planPorts(this.#source, this.#attempt.localAddress !== null, kernelOf(this.#native));
    return this.#openFirst();
  }

  // What the kernel would take without complaint, or with a bare EINVAL, and then not do what was meant.
  #refuse(): number {
    const { address, port } = this.#attempt;
    const source = this.#attempt.localAddress;
    if (source === null) return 0;
    if (source === address && port !== 0 && this.#source.port === port) {
      return this.#fail(errno.ECONNREFUSED, 'connect', SELF_CONNECT);
    }
    if (this.#attempt.family === 4) return 0;
    if (lacksZone(this.#source, source)) return this.#fail(errno.EINVAL, 'bind', MISSING_ZONE);
    // IPv4 says EINVAL by itself; IPv6 sends SYNs that nobody answers.
    if (mayBeginWithZero(source) && parseAddress(source)?.scope === 'loopback' && !this.#isOnThisMachine()) {
      return this.#fail(errno.EINVAL, 'connect', LOOPBACK_SOURCE);
    }
    return 0;
  }

  #isOnThisMachine(): boolean {
    if (parseAddress(this.#attempt.address)?.scope === 'loopback') return true;
    const route = this.#route();
    // Where nobody can tell, the kernel's own behaviour stands.
    return typeof route === 'number' || route.type === RTN_LOCAL;
  }

  #openFirst(): number {
    const technique = this.#technique();
    switch (technique.kind) {
      case 'assign': {
        const { low, high } = technique.range ?? NO_RANGE;
        return this.#open(this.#attempt.localAddress, 0, low, high);
      }
      case 'pin':
        return this.#open(this.#attempt.localAddress, technique.port, 0, 0, true);
      case 'bind': {
        const source = this.#sourceToBind();
        return typeof source === 'number' ? this.#failWith(source) : this.#open(source, technique.port, 0, 0);
      }
      case 'search':
        // Only the number of it: the search puts a descriptor in its place for each port that it tries.
        this.#step = -1;
        this.#next = LATER;
        return this.#open(null, 0, 0, 0);
      case 'take-over':
        throw new Error('connectx: a plan takes over only at its end');
    }
  }

  #open(source: string | null, port: number, low: number, high: number, isPin = false): number {
    const native = this.#native;
    const { extras } = this.#source;
    let fd = isPin
      ? native.tcpPin(this.#domain, source, port, extras)
      : native.tcpPrepare(this.#domain, source, port, low, high, extras);
    if (fd < 0) return this.#failWith(fd);
    if (isPin) {
      // Outside of the ephemeral range it is a number only, too.
      if ((fd & 1) === 0) this.#next = LATER;
      fd >>= 1;
    }
    if (this.#attempt.fd >= 0) return this.#replaceWith(fd);
    // No function of JavaScript is entered between the two: there V8 stops a worker thread that is being terminated, and
    // the descriptor would be nobody's.
    const status = this.#attempt.handle.open(fd);
    if (status !== 0) {
      this.#native.close(fd);
      return status;
    }
    this.#attempt.fd = fd;
    return 0;
  }

  // Connects, technique after technique.
  #run(request: ConnectRequest): number {
    this.#tries = 0;
    if (this.#next === LATER) this.#next = this.#advance();
    if (this.#next === READY && this.#source.port !== 0 && this.#isHeldWithOtherDevice()) {
      return this.#fail(errno.EADDRNOTAVAIL, 'connect', TUPLE_IN_USE);
    }
    while (this.#next === READY) {
      const crowding = watchOf(kernelOf(this.#native), this.#technique());
      const before = performance.now();
      const status = this.#attempt.callCore(request);
      crowding?.took(performance.now() - before);
      const concluded = this.#conclude(request, status, before);
      if (concluded !== undefined) return concluded;
    }
    if (this.#next === LATER) return this.#postpone(request);
    if (this.#next === ASK && this.#askForTimeWait(request)) return 0;
    if (this.#next < 0) return this.#next;
    this.#attempt.localPort = this.#source.port;
    return this.#denied ? this.#fail(errno.EACCES, 'bind') : this.#fail(errno.EADDRNOTAVAIL, 'connect');
  }

  // Undefined: it goes on, as `#next` says.
  #conclude(request: ConnectRequest, status: number, time: number): number | undefined {
    if (status === 0) return this.#begun(request, time);
    if (status !== -errno.EADDRNOTAVAIL) return this.#fail(-status, 'connect');
    this.#next = this.#advance();
    return undefined;
  }

  // The kernel refuses a 4-tuple that is in use, but not when a device makes a difference between the two.
  #isHeldWithOtherDevice(): boolean {
    const { address, port } = this.#attempt;
    const source = this.#sourceToBind();
    // No source: then connect(2) will say why.
    if (typeof source === 'number') return false;
    const { port: sourcePort } = this.#source;
    const native = this.#native;
    // A moment ago tcpPin has seen to it that the right network namespace answers.
    const fd = this.#plan[0]?.kind === 'pin' ? -1 : this.#attempt.fd;
    // Where sock_diag does not answer there is only the kernel's own check.
    return native.tcpHeldWithOtherDevice(fd, this.#domain, source, sourcePort, address, port, this.#device()) === 1;
  }

  // The index of the interface that was asked for; 0: none.
  #device(): number {
    const name = this.#source.extras?.interface;
    return name === undefined ? 0 : Math.max(this.#native.interfaceIndex(name), 0);
  }

  // READY, NO_MORE, LATER or a negative errno.
  #advance(): number {
    if (this.#search !== undefined) {
      const next = this.#nextPort(this.#search);
      if (next !== NO_MORE) return next;
      this.#search = undefined;
    }
    this.#step++;
    const technique = this.#plan[this.#step];
    if (technique === undefined) return NO_MORE;
    if (technique.kind === 'search') {
      this.#search = new PortSearch(technique.ports(), Math.random());
      return this.#advance();
    }
    if (technique.kind === 'take-over') return ASK;
    if (technique.kind !== 'bind') throw new Error('connectx: a plan assigns only at its beginning');
    // After connect(2) has said EADDRNOTAVAIL the socket has no port yet, so that the same one can be bound explicitly.
    const source = this.#sourceToBind();
    const outcome =
      typeof source === 'number' ? source : this.#native.bind(this.#attempt.fd, this.#domain, source, technique.port);
    return outcome < 0 ? this.#failWith(outcome) : READY;
  }

  #nextPort(search: PortSearch): number {
    const source = this.#sourceToBind();
    if (typeof source === 'number') return this.#failWith(source);
    for (; this.#tries < TRIES_A_TURN; this.#tries++) {
      const port = search.next();
      if (port === undefined) return NO_MORE;
      const prepared = this.#native.tcpPrepare(this.#domain, source, port, 0, 0, this.#source.extras);
      if (prepared >= 0) {
        const status = this.#replaceWith(prepared);
        if (status !== 0) return status;
        this.#attempt.localPort = port;
        this.#tries++;
        return READY;
      }
      const code = errnoOf(prepared);
      if (code === errno.EACCES) this.#denied = true;
      else if (code !== errno.EADDRINUSE) return this.#failWith(prepared);
    }
    return LATER;
  }

  // Node has not yet told epoll about the handle's descriptor: that comes with a connect(2) that is under way.
  #replaceWith(fd: number): number {
    const replaced = this.#native.replace(fd, this.#attempt.fd);
    return replaced < 0 ? this.#failWith(replaced) : 0;
  }

  // Core believes that the connect is under way. It goes on in the event loop's next turn, and core hears of a failure as
  // it would from libuv.
  #postpone(request: ConnectRequest): number {
    setImmediate(() => {
      const { oncomplete } = request;
      // Core takes it away when the attempt has timed out; it forgets the handle when the socket is destroyed.
      if (oncomplete === undefined || this.#attempt.owner._handle !== this.#attempt.handle) return;
      const status = this.go(request);
      if (status !== 0) oncomplete.call(request, status, this.#attempt.handle, request, true, true);
    });
    return 0;
  }

  // Each of the ports is then tried once, from a random one on: other processes may be at the same.
  #askForTimeWait(request: ConnectRequest): boolean {
    const technique = this.#technique();
    const source = this.#sourceToBind();
    if (technique.kind !== 'take-over' || typeof source === 'number') return false;
    const { address, port } = this.#attempt;
    const asked = this.#native.portsInState(IPPROTO_TCP, SocketState.timeWait, this.#domain, source, address, port);
    // Where sock_diag does not answer, there is nothing to take over.
    if (typeof asked === 'number') return false;
    void asked.then((found) => {
      const usable = technique.ports();
      const ports = typeof found === 'number' ? [] : [...found].filter((one) => usable.has(one));
      this.#search = new PortSearch(ports, Math.random());
      this.#next = LATER;
      this.#postpone(request);
    });
    return true;
  }

  // connect(2) is under way.
  #begun(request: ConnectRequest, now: number): number {
    const source = this.#attempt.localAddress;
    if (mayDiffer(this.#native, this.#source, this.#technique(), source, this.#attempt, now)) {
      const status = this.#check(request);
      if (status !== 0) return status;
      hasKept(this.#source, source, now);
    }
    this.#lease = this.#sources?.lease();
    return 0;
  }

  // Is it what was asked for?
  #check(request: ConnectRequest): number {
    const { address, port } = this.#attempt;
    const range = this.#expectedPorts();
    const source = this.#attempt.localAddress;
    const outcome = this.#native.tcpCheck(this.#attempt.fd, this.#domain, source, range.low, range.high, address, port);
    if (outcome < 0) return this.#abandon(request, errnoOf(outcome), NOTHING_TO_ADD, syscallOf(this.#native, outcome));
    this.#attempt.localPort = outcome & 0xffff;
    if (source !== null || this.#source.port !== 0) {
      // Core puts them into the error of a connect that fails later.
      request.localAddress = source ?? undefined;
      request.localPort = this.#attempt.localPort;
    }
    switch (outcome >> 16) {
      case Verdict.selfConnected:
        return this.#abandon(request, errno.ECONNREFUSED, SELF_CONNECT);
      case Verdict.otherAddress:
        return this.#abandon(request, errno.EADDRNOTAVAIL, otherAddress(source));
      case Verdict.otherPort:
        return this.#abandon(request, errno.EADDRNOTAVAIL, otherPort(range));
      default:
        return 0;
    }
  }

  #expectedPorts(): PortRange {
    const technique = this.#technique();
    if (technique.kind === 'assign') return technique.range ?? NO_RANGE;
    return { low: this.#attempt.localPort, high: this.#attempt.localPort };
  }

  // libuv is connecting, but core is told that it failed, and closes the handle.
  #abandon(request: ConnectRequest, code: number, explanation: Explanation, syscall = 'connect'): number {
    // libuv's own answer, ECANCELED, comes when nobody waits for it any more.
    request.oncomplete = undefined;
    // Nobody shall find this connection in TIME-WAIT: it never was one.
    this.#native.setsockopt(this.#attempt.fd, SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE);
    return this.#fail(code, syscall, explanation);
  }

  // The source to bind explicitly: without an address it would lock the port for all addresses, so the one that the kernel
  // would take is asked for first. A negative outcome: no route.
  #sourceToBind(): string | number {
    if (this.#attempt.localAddress !== null) return this.#attempt.localAddress;
    const route = this.#route();
    if (typeof route === 'number') {
      // What connect(2) would have said.
      if (!NO_ROUTE_SERVICE.has(errnoOf(route))) return this.#isAnswer(route) ? -errnoOf(route) : route;
      return wildcardOf(this.#attempt.family, this.#isMapped());
    }
    if (route.source === undefined) return -errno.EADDRNOTAVAIL;
    const linkLocal = parseAddress(route.source)?.scope === 'link-local' && route.source.includes(':');
    const source = this.#isMapped() ? toMapped(route.source) : route.source;
    // To an address of this machine the route leads over lo, whatever its zone.
    const zone = parseAddress(this.#attempt.address)?.zone ?? route.interface;
    this.#attempt.localAddress = linkLocal ? `${source}%${zone}` : source;
    return this.#attempt.localAddress;
  }

  #route(): ReturnType<Native['routeLookup']> {
    const { address } = this.#attempt;
    const { extras } = this.#source;
    const mapped = this.#isMapped();
    const target = mapped ? (parseAddress(address)?.ip ?? address) : address;
    const domain = mapped ? AF_INET : this.#domain;
    return this.#native.routeLookup(domain, target, this.#device(), extras?.mark ?? 0, false);
  }

  // Whether the kernel has said so of the route; otherwise it could not even be asked (EMFILE, say).
  #isAnswer(outcome: number): boolean {
    return syscallOf(this.#native, outcome) === 'netlink';
  }

  #isMapped(): boolean {
    return this.#attempt.family === 6 && isMapped(this.#attempt.address);
  }

  #sourceIsUsable(): boolean {
    if (this.#attempt.localAddress !== null) {
      const probe = this.#native.tcpPrepare(this.#domain, this.#attempt.localAddress, 0, 0, 0, this.#source.extras);
      if (probe >= 0) this.#native.close(probe);
      else if (errnoOf(probe) === errno.EADDRNOTAVAIL) return false;
    }
    const route = this.#route();
    if (typeof route === 'number') return !this.#isAnswer(route) || NO_ROUTE_SERVICE.has(errnoOf(route));
    return this.#attempt.localAddress !== null || route.source !== undefined;
  }

  // Of a few ports of those that there were to be had.
  #timeWait(): TimeWait | undefined {
    const native = this.#native;
    const range = this.#source.range ?? ephemeralRange(native);
    const { localAddress } = this.#attempt;
    const source = this.#sourceToBind();
    // What the error says of the local end is what was asked for.
    this.#attempt.localAddress = localAddress;
    if (range === undefined || typeof source === 'number' || this.#attempt.fd < 0) return undefined;
    const { address, port } = this.#attempt;
    const start = Math.floor(Math.random() * 65536);
    const counted = native.countTimeWait(
      this.#attempt.fd,
      this.#domain,
      source,
      address,
      port,
      range.low,
      range.high,
      start,
    );
    if (counted < 0) return undefined;
    return { of: counted >> 16, found: counted & 0xffff, timestamps: hasTimestamps(native) };
  }

  #technique(): Technique {
    return this.#plan[this.#step] as Technique;
  }

  get #domain(): number {
    return domainOf(this.#attempt.family);
  }

  #failWith(outcome: number): number {
    return this.#fail(errnoOf(outcome), syscallOf(this.#native, outcome) || 'connect');
  }

  #fail(code: number, syscall: string, explanation?: Explanation): number {
    const circumstances: Circumstances = {
      errno: code,
      syscall,
      localAddress: this.#attempt.localAddress,
      source: this.#source,
      ephemeral: ephemeralRange(this.#native),
      sourceIsUsable: () => this.#sourceIsUsable(),
      timeWait: () => this.#timeWait(),
    };
    this.#attempt.failure = { errno: code, syscall, ...(explanation ?? explain(circumstances)) };
    return -code;
  }
}
