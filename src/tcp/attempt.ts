// One attempt to connect one net.Socket handle to one address: prepares a descriptor, and lets Node's core connect it. This is what
// each connection costs beyond core, so it has no more steps, and takes no more memory, than most of them need; what else there
// is to do is the long way's (see hunt.ts).
import { constants } from 'node:os';
import { type Destination, type Family, mayBeginWithZero } from '../values/address';
import { callConnect, callConnect6, type ConnectRequest, type HandleOwner, type TcpHandle } from './core_handle';
import { addLocalEnd, complete } from '../errors/connectx_error';
import { type Failure, Hunt } from './hunt';
import { kernelOf } from '../kernel/kernel';
import { mayDiffer } from './local_end';
import { domainOf } from '../kernel/constants';
import type { Native, TcpExtras } from '../kernel/addon';
import { netDenial } from '../kernel/permission';
import { isPool } from '../source/pool';
import { planPorts, watchOf } from './port_plan';
import type { PortRange } from '../values/port_range';
import type { Source } from '../source/options';
import { lacksZone, resolveSource } from '../source/resolve';
import type { TracedTechnique } from '../connect/trace';

const { errno } = constants;

// As a global it would be looked up at each connect: it is an accessor.
const clock = performance;

const kAttempt = Symbol('connectx.attempt');

type Shadowed = TcpHandle & { [kAttempt]?: Attempt | undefined };

// Not a closure of each attempt: it would take as much memory as the attempt.
function connectAttempted(this: Shadowed, request: ConnectRequest): number {
  return (this[kAttempt] as Attempt).connect(request);
}

export class Attempt {
  readonly native: Native;
  readonly source: Source;
  readonly owner: HandleOwner;
  readonly handle: Shadowed;
  /** Of the destination. An object for it there is only where somebody asks for one. */
  readonly address: string;
  readonly port: number;
  readonly family: Family;
  /** The source address that was bound, null where the kernel was to choose. */
  localAddress: string | null = null;
  localPort = 0;
  fd = -1;
  failure: Failure | undefined = undefined;
  /** What the source function threw. */
  thrown: { readonly error: unknown } | undefined = undefined;

  readonly #coreConnect: TcpHandle['connect'];
  #hunt: Hunt | undefined = undefined;

  constructor(native: Native, source: Source, owner: HandleOwner, address: string, port: number, family: Family) {
    const handle = owner._handle;
    this.native = native;
    this.source = source;
    this.owner = owner;
    this.handle = handle;
    this.address = address;
    this.port = port;
    this.family = family;
    this.#coreConnect = family === 6 ? handle.connect6 : handle.connect;
  }

  get destination(): Destination {
    const { address, port, family } = this;
    return { address, port, family };
  }

  /**
   * To be called when core announces that it will connect the handle. When it then does (a listener or a block list may
   * prevent it), the handle gets a descriptor with the source bound first.
   */
  begin(): void {
    const { handle } = this;
    handle[kAttempt] = this;
    if (this.family === 6) handle.connect6 = connectAttempted;
    else handle.connect = connectAttempted;
  }

  /** 0 or a negative errno, as everything that answers core. */
  connect(request: ConnectRequest): number {
    const { native, source, handle, family } = this;
    // Back to core's own, so that the handle does not keep the attempt alive.
    handle[kAttempt] = undefined;
    if (family === 6) handle.connect6 = this.#coreConnect;
    else handle.connect = this.#coreConnect;
    const denial = netDenial(native);
    if (denial !== undefined) {
      this.thrown = { error: denial };
      return -errno.EACCES;
    }
    const local = localOf(source, this);
    if (local === undefined) return this.#goHunting().go(request);
    const kernel = kernelOf(native);
    const plan = planPorts(source, local !== null, kernel);
    const [technique] = plan;
    if (technique?.kind !== 'assign') return this.#goHunting().go(request);
    this.localAddress = local;
    const fd = open(native, family, local, technique.range, source.extras);
    if (fd < 0) return this.#goHunting().gaveUp(plan, fd);
    // No function of JavaScript is entered between the two: there V8 stops a worker thread that is being terminated, and
    // the descriptor would be nobody's.
    const opened = handle.open(fd);
    if (opened !== 0) {
      native.close(fd);
      return opened;
    }
    this.fd = fd;
    const watch = watchOf(kernel, technique);
    const before = clock.now();
    const status = this.callCore(request);
    watch?.took(clock.now() - before);
    if (status === 0 && !mayDiffer(native, source, technique, local, this, before)) return 0;
    return this.#goHunting().goOn(request, plan, status, before);
  }

  /** Core's connect of the handle. */
  callCore(request: ConnectRequest): number {
    const { handle, address, port, family } = this;
    const call = family === 6 ? callConnect6 : callConnect;
    return call(this.#coreConnect, handle, request, address, port);
  }

  /** How the port was got, or would have been. */
  get technique(): TracedTechnique | undefined {
    if (this.#hunt === undefined) return this.fd < 0 ? undefined : 'assign';
    const { technique } = this.#hunt;
    if (technique?.kind !== 'assign') return technique?.kind;
    const { range } = technique;
    return range !== undefined && range.low === range.high ? 'pin' : 'assign';
  }

  /** Whether this is the attempt to connect this handle. */
  isOf(handle: unknown): boolean {
    return handle === this.handle;
  }

  /** Completes core's error of this attempt, if that is what it is. */
  complete(error: Error): void {
    if (this.failure !== undefined) complete(error, this, this.failure);
    else if (!('localAddress' in error)) {
      const end = this.localEnd();
      if (end !== undefined) addLocalEnd(error, end.address, end.port);
    }
  }

  /**
   * The local end of a connect that has failed later, which core tells only of what it has bound itself. The kernel has given the
   * port back by then, but still tells it. Undefined where no source was asked for.
   */
  localEnd(): { address: string; port: number } | undefined {
    if (this.localAddress === null) return undefined;
    const end = this.native.getsockname(this.handle.fd);
    return typeof end === 'number' ? undefined : { address: this.localAddress, port: end.port };
  }

  /** The source, if it came from a pool, is in use by this attempt no longer. */
  release(): void {
    this.#hunt?.release();
  }

  #goHunting(): Hunt {
    this.#hunt = new Hunt(this);
    return this.#hunt;
  }
}

function open(
  native: Native,
  family: Family,
  local: string | null,
  range: PortRange | undefined,
  extras: TcpExtras | null,
): number {
  const domain = domainOf(family);
  if (range === undefined && extras === null) return native.tcpPrepare(domain, local);
  return native.tcpPrepare(domain, local, 0, range?.low, range?.high, extras);
}

/** The source address of this destination, null where the kernel is to choose; undefined where the long way has to see to that. */
function localOf(source: Source, destination: Destination): string | null | undefined {
  const { address, port, range } = source;
  if (port !== 0 || range !== undefined) return undefined;
  if (address === undefined) return null;
  if (typeof address === 'function' || isPool(address)) return undefined;
  const local = resolveSource(source, destination);
  if (destination.family === 4 || local === null || local === undefined) return local;
  return mayBeginWithZero(local) || lacksZone(source, local) ? undefined : local;
}
