// One attempt to connect one net.Socket handle to one address: prepares a descriptor, and lets Node's core connect it. This is what
// each connection costs beyond core, so it has no more steps, and takes no more memory, than most of them need; the rest is
// the slow path's.
import { constants } from 'node:os';
import { type Destination, type Family, mayBeginWithZero } from '../values/address';
import { openAndAdopt } from './adopt';
import { callConnect, callConnect6, type ConnectRequest, type HandleOwner, type TcpHandle } from './core_handle';
import { addLocalEnd, complete } from '../errors/connectx_error';
import type { Failure } from '../connect/failure';
import { fail, failWith } from './fail';
import { kernelOf } from '../kernel/kernel';
import type { Native } from '../kernel/addon';
import { netDenial } from '../kernel/permission';
import { planPorts, type Technique } from './port_plan';
import { connectSlowly } from './slow_path';
import type { Source } from '../source/options';
import { isPool } from '../source/pool';
import { lacksZone, resolveSource } from '../source/resolve';
import { connected } from './verify';

const { errno } = constants;

const kAttempt = Symbol('connectx.attempt');

type Shadowed = TcpHandle & { [kAttempt]?: Attempt | undefined };

// Not a closure of each attempt: it would take as much memory as the attempt.
function connectAttempted(this: Shadowed, request: ConnectRequest): number {
  return (this[kAttempt] as Attempt).connect(request);
}

export class Attempt {
  /** The source address that was bound, null where the kernel was to choose. */
  localAddress: string | null = null;
  localPort = 0;
  fd = -1;
  failure: Failure | undefined = undefined;
  /** How the port was got, or would have been. */
  technique: Technique | undefined = undefined;

  readonly handle: Shadowed;
  private readonly coreConnect: TcpHandle['connect'];

  constructor(
    readonly native: Native,
    readonly source: Source,
    readonly owner: HandleOwner,
    /** Of the destination. An object for it there is only where somebody asks for one. */
    readonly address: string,
    readonly port: number,
    readonly family: Family,
  ) {
    const handle = owner._handle as TcpHandle;
    this.handle = handle;
    this.coreConnect = family === 6 ? handle.connect6 : handle.connect;
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
    if (family === 6) handle.connect6 = this.coreConnect;
    else handle.connect = this.coreConnect;
    const denial = netDenial(native);
    if (denial !== undefined) {
      this.failure = { ...NOTHING_KNOWN, thrown: { error: denial } };
      return -errno.EACCES;
    }
    const local = localOf(source, this);
    if (local === undefined) return connectSlowly(this, request);
    const kernel = kernelOf(native);
    const plan = planPorts(source, local !== null, kernel);
    const [technique] = plan;
    if (technique?.kind !== 'assign') return connectSlowly(this, request);
    this.localAddress = local;
    this.technique = technique;
    const outcome = openAndAdopt(this, local, 0, technique.range);
    if (outcome < 0) return failWith(this, outcome);
    const status = this.callCore(request);
    if (status === -errno.EADDRNOTAVAIL && plan.length > 1) return connectSlowly(this, request, plan);
    if (status !== 0) return fail(this, -status, 'connect');
    return connected(this, request, technique);
  }

  /** Core's connect of the handle. */
  callCore(request: ConnectRequest): number {
    const { handle, address, port, family } = this;
    const call = family === 6 ? callConnect6 : callConnect;
    return call(this.coreConnect, handle, request, address, port);
  }

  /** Whether this is the attempt to connect this handle. */
  isOf(handle: unknown): boolean {
    return handle === this.handle;
  }

  /** Completes core's error of this attempt, if that is what it is. */
  complete(error: Error): void {
    if (this.failure !== undefined) complete(error, this, this.failure);
    else if (!('localAddress' in error) && !error.message.includes(' - Local (')) {
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
}

const NOTHING_KNOWN: Failure = { errno: errno.EACCES, syscall: 'connect', reason: undefined, advice: '' };

/** The source address of this destination, null where the kernel is to choose; undefined where the slow path has to see to that. */
function localOf(source: Source, destination: Destination): string | null | undefined {
  const { address, port, range } = source;
  if (port !== 0 || range !== undefined) return undefined;
  if (address === undefined) return null;
  if (typeof address === 'function' || isPool(address)) return undefined;
  const local = resolveSource(source, destination);
  if (destination.family === 4 || local === null || local === undefined) return local;
  return mayBeginWithZero(local) || lacksZone(source, local) ? undefined : local;
}
