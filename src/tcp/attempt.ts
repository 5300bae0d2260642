// One attempt to connect one net.Socket handle to one address: what is known of it. fast_path.ts makes it, slow_path.ts where that is
// not enough. There is one for each connection, so it takes no more memory than most of them need.
import type { Destination, Family } from '../values/address';
import { callConnect, callConnect6, type ConnectRequest, type HandleOwner, type TcpHandle } from './core_handle';
import { addLocalEnd, complete } from '../errors/connectx_error';
import type { Failure } from '../connect/failure';
import type { Native } from '../kernel/addon';
import type { Technique } from './port_plan';
import { Racer } from './racer';
import type { Source } from '../source/options';

export class Attempt extends Racer {
  /** The source address that was bound, null where the kernel was to choose. */
  localAddress: string | null = null;
  localPort = 0;
  fd = -1;
  failure: Failure | undefined = undefined;
  /** How the port was got, or would have been. */
  technique: Technique | undefined = undefined;

  readonly handle: TcpHandle;
  /** What `handle.connect` (or `connect6`) is while nobody shadows it. */
  readonly coreConnect: TcpHandle['connect'];

  constructor(
    readonly native: Native,
    readonly source: Source,
    readonly owner: HandleOwner,
    /** Of the destination. An object for it there is only where somebody asks for one. */
    readonly address: string,
    readonly port: number,
    readonly family: Family,
  ) {
    super();
    const handle = owner._handle as TcpHandle;
    this.handle = handle;
    this.coreConnect = family === 6 ? handle.connect6 : handle.connect;
  }

  get destination(): Destination {
    const { address, port, family } = this;
    return { address, port, family };
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
