// One connect of a net.Socket that core makes: core's bind(2) is put off until the destination is known, and then an Attempt
// binds and connects.
import type * as net from 'node:net';
import type { Destination, Family } from '../values/address';
import { Attempt } from './attempt';
import type { ConnectRequest, HandleOwner, TcpHandle } from './core_handle';
import type { Native } from '../kernel/addon';
import { netDenial } from '../kernel/permission';
import { readSource, type Source } from '../source/options';

/** What a takeover relies on in Node's internal TCP handle, and in the TLS handle that wraps one. */
const METHODS = ['open', 'bind', 'bind6', 'connect', 'connect6', 'getsockname'] as const;

type Handle = TcpHandle & { getsockname(end: { port?: number }): number };

/** Called with what is missing when Node no longer does what a takeover relies on. */
export type Broken = (what: string) => void;

/**
 * To be called while core has decided to connect the socket from a `localAddress`, but has not bound it yet; once more does no
 * harm. What core asks of the handle is what counts: if it never asks, nothing has been changed.
 */
export function takeOver(socket: net.Socket, native: Native, broken: Broken): void {
  // Core says by itself what has become of it, and that it may not be.
  if (!socket.connecting || netDenial(native) !== undefined) return;
  const handle = (socket as unknown as { _handle?: Partial<Handle> | null })._handle;
  const missing = missingIn(handle);
  if (missing !== undefined) broken(missing);
  // A descriptor that was given to the socket; or a handle that is taken over already, maybe by another copy of connectx.
  else if (isUntouched(handle as Handle)) new Takeover(socket, native, handle as Handle, broken).begin();
}

function missingIn(handle: Partial<Handle> | null | undefined): string | undefined {
  if (typeof handle !== 'object' || handle === null) return 'its sockets have no _handle';
  if (typeof handle.fd !== 'number') return 'its TCP handles have no fd';
  for (const name of METHODS) if (typeof handle[name] !== 'function') return `its TCP handles have no ${name}()`;
  return Object.isExtensible(handle) ? undefined : 'its TCP handles cannot be extended';
}

function isUntouched(handle: Handle): boolean {
  return handle.fd < 0 && handle.bind === (Object.getPrototypeOf(handle) as Partial<Handle> | null)?.bind;
}

class Takeover {
  readonly #socket: net.Socket;
  readonly #native: Native;
  readonly #handle: Handle;
  readonly #broken: Broken;
  #source: Source | undefined;

  constructor(socket: net.Socket, native: Native, handle: Handle, broken: Broken) {
    this.#socket = socket;
    this.#native = native;
    this.#handle = handle;
    this.#broken = broken;
  }

  begin(): void {
    const handle = this.#handle;
    const { bind, bind6 } = handle;
    handle.bind = (address, port) => (this.#putOff(address, port) ? 0 : bind.call(handle, address, port));
    handle.bind6 = (address, port, flags) =>
      this.#putOff(address, port) ? 0 : bind6.call(handle, address, port, flags);
    handle.connect = (request, address, port) => this.#connect(request, address, port, 4);
    handle.connect6 = (request, address, port) => this.#connect(request, address, port, 6);
  }

  // Core's own again, in their places: to delete what was put over them would make each use of the handle slower, for good.
  #release(): void {
    const handle = this.#handle;
    const { bind, bind6, connect, connect6 } = Object.getPrototypeOf(handle) as Handle;
    handle.bind = bind;
    handle.bind6 = bind6;
    handle.connect = connect;
    handle.connect6 = connect6;
  }

  #putOff(localAddress: string, port: unknown): boolean {
    const localPort = port === 0 ? undefined : (port as number | undefined);
    try {
      this.#source = readSource({ localAddress, localPort });
    } catch {
      // What connectx refuses (a multicast address, a port that is none) was core's to refuse or to accept before.
      this.#release();
      return false;
    }
    // After a bind to a port core asks whether it got it (checkBindError in lib/net.js), and there is no descriptor to ask yet.
    if (localPort !== undefined) this.#answerOnce(localPort);
    return true;
  }

  #answerOnce(port: number): void {
    const handle = this.#handle;
    handle.getsockname = (end) => {
      Reflect.deleteProperty(handle, 'getsockname');
      end.port = port;
      return 0;
    };
  }

  #connect(request: ConnectRequest, address: string, port: number, family: Family): number {
    this.#release();
    const handle = this.#handle;
    if (this.#source === undefined) this.#broken('it no longer binds a localAddress before it connects');
    else if (handle.fd < 0) return this.#attempt(this.#source, request, { address, port, family });
    return connectOf(handle, family).call(handle, request, address, port);
  }

  #attempt(source: Source, request: ConnectRequest, { address, port, family }: Destination): number {
    const handle = this.#handle;
    const attempt = new Attempt(this.#native, source, this.#socket as unknown as HandleOwner, address, port, family);
    attempt.begin();
    const status = connectOf(handle, family).call(handle, request, address, port);
    if (status === 0) tellOnFailure(request, attempt);
    else this.#completeNext(attempt);
    return status;
  }

  // Core makes the error, and destroys the socket with it before anything else happens.
  #completeNext(attempt: Attempt): void {
    const socket = this.#socket;
    const own = Object.getOwnPropertyDescriptor(socket, 'destroy');
    const destroy = (error?: Error): net.Socket => {
      if (own === undefined) Reflect.deleteProperty(socket, 'destroy');
      else Object.defineProperty(socket, 'destroy', own);
      if (error !== undefined) attempt.complete(error);
      return socket.destroy(error);
    };
    Object.defineProperty(socket, 'destroy', { value: destroy, configurable: true, writable: true });
  }
}

// Of a connect that fails later core puts what it finds in the request into the error.
function tellOnFailure(request: ConnectRequest, attempt: Attempt): void {
  const { oncomplete } = request;
  request.oncomplete = (status, ...rest) => {
    const end = status < 0 ? attempt.localEnd() : undefined;
    if (end !== undefined) Object.assign(request, { localAddress: end.address, localPort: end.port });
    oncomplete?.call(request, status, ...rest);
  };
}

function connectOf(handle: Handle, family: number): Handle['connect'] {
  return family === 6 ? handle.connect6 : handle.connect;
}
