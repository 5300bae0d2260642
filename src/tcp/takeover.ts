// One connect of a net.Socket that core makes: core's bind(2) is put off until the destination is known, and then an Attempt
// binds and connects.
import type * as net from 'node:net';
import { standBeside } from './beside';
import { Connection } from './connection';
import type { TcpHandle } from './core_handle';
import type { Native } from '../kernel/addon';
import { netDenial } from '../kernel/permission';
import { readSource } from '../source/options';

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
  else if (isUntouched(handle as Handle)) putOff(socket, native, handle as Handle, broken);
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

function putOff(socket: net.Socket, native: Native, handle: Handle, broken: Broken): void {
  // Core's own again, in their places: to delete what was put over them would make each use of the handle slower, for good.
  const release = (): void => {
    const { bind, bind6, connect, connect6 } = Object.getPrototypeOf(handle) as Handle;
    Object.assign(handle, { bind, bind6, connect, connect6 });
  };
  const isPutOff = (localAddress: string, port: unknown): boolean => {
    release();
    const localPort = port === 0 ? undefined : (port as number | undefined);
    const connection = connectionFor(native, localAddress, localPort);
    if (connection === undefined) return false;
    // After a bind to a port core asks whether it got it (checkBindError in lib/net.js), and there is no descriptor to ask yet.
    if (localPort !== undefined) answerOnce(handle, localPort);
    standBeside(socket, connection);
    return true;
  };
  handle.bind = (address, port) => (isPutOff(address, port) ? 0 : handle.bind(address, port));
  handle.bind6 = (address, port, flags) => (isPutOff(address, port) ? 0 : handle.bind6(address, port, flags));
  for (const name of ['connect', 'connect6'] as const) {
    handle[name] = (request, address, port) => {
      release();
      broken('it no longer binds a localAddress before it connects');
      return handle[name](request, address, port);
    };
  }
}

// What connectx refuses (a multicast address, a port that is none) was core's to refuse or to accept before.
function connectionFor(native: Native, localAddress: string, localPort: number | undefined): Connection | undefined {
  try {
    return new Connection(readSource({ localAddress, localPort, autoSelectFamilyOverlap: false }), native);
  } catch {
    return undefined;
  }
}

function answerOnce(handle: Handle, port: number): void {
  handle.getsockname = (end) => {
    Reflect.deleteProperty(handle, 'getsockname');
    end.port = port;
    return 0;
  };
}
