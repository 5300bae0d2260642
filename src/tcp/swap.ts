// Handles of a socket that is connecting: one in the place of another, and one closed beside it. That of a TLSSocket wraps the one
// of TCP, and is also the socket's `ssl`, of which its close() believes that it is the one to be closed.
import type * as net from 'node:net';
import type { TcpHandle } from './core_handle';

/** Node's internal TLSWrap. */
interface TlsHandle extends TcpHandle {
  readonly _parent: TcpHandle;
  readonly _secureContext?: { singleUse?: boolean };
  getServername(): string | false | null;
  setServername(name: string): void;
  getSession(): Buffer | undefined;
  setSession(session: Buffer): void;
  enableSessionCallbacks(): void;
}

type HandleHolder = net.Socket & { _handle: TcpHandle | null; ssl?: TcpHandle | null };

function isTls(handle: TcpHandle): handle is TlsHandle {
  return handle._parent !== undefined;
}

/**
 * The handles of a socket share one TLS context. Core would end it with the first one that is closed, if it is for one connection only,
 * and fail at the next one (before Node 26). It is then the garbage collector's.
 */
export function keepContext(handle: TcpHandle): void {
  const context = isTls(handle) ? handle._secureContext : undefined;
  if (context?.singleUse === true) context.singleUse = false;
}

/** Closes a handle that is not, or no longer, the socket's. */
export function closeOne(socket: net.Socket, handle: TcpHandle): void {
  if (!isTls(handle)) {
    handle.close();
    return;
  }
  const holder = socket as HandleHolder;
  const { ssl } = holder;
  holder.ssl = handle;
  handle.close();
  holder.ssl = ssl === handle ? null : (ssl ?? null);
}

/** The socket gets this handle, and the one that it has is closed. */
export function putInPlace(socket: net.Socket, handle: TcpHandle): void {
  const holder = socket as HandleHolder;
  const before = holder._handle;
  if (before === handle) return;
  holder._handle = handle;
  if (before !== null) {
    inherit(socket, handle, before);
    closeOne(socket, before);
  }
  if (isTls(handle)) holder.ssl = handle;
}

/** The socket has no handle, as before its first connect. One of TLS has it from the beginning. */
export function takeAway(socket: net.Socket): void {
  const holder = socket as HandleHolder;
  const { _handle: handle } = holder;
  if (handle === null || isTls(handle)) return;
  holder._handle = null;
  handle.close();
}

// What the program has set since the handle was overtaken went to the one that was the socket's.
function inherit(socket: net.Socket, handle: TcpHandle, before: TcpHandle): void {
  const buffer = bufferOf(socket);
  if (buffer !== undefined) handle.useUserBuffer?.(buffer);
  if (!isTls(handle) || !isTls(before)) return;
  const name = before.getServername();
  if (name) handle.setServername(name);
  const session = before.getSession();
  if (session) handle.setSession(session);
  if (socket.listenerCount('session') > 0) handle.enableSessionCallbacks();
}

// Of the option `onread`: a new one for each handle, where a function makes them.
function bufferOf(socket: net.Socket): Uint8Array | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'kBuffer');
  const buffer = symbol && (socket as unknown as Record<symbol, unknown>)[symbol];
  return buffer instanceof Uint8Array ? buffer : undefined;
}

/** Passes the socket's `ref()` and `unref()` on. */
export interface Follower {
  leave(): void;
}

/**
 * The handle that core has just given to the socket keeps the event loop alive if the one `before` it does, and so do `others` from now
 * on.
 */
export function followReferences(
  socket: net.Socket,
  handle: TcpHandle,
  before: TcpHandle | undefined,
  others: () => readonly TcpHandle[],
): Follower {
  // Core leaves the one that was closed there.
  if (isTls(handle)) (socket as HandleHolder).ssl = handle;
  if (before !== undefined && (isTls(before) ? before._parent : before).hasRef?.() === false) handle.unref?.();
  const { ref, unref } = handle;
  handle.ref = () => {
    ref?.call(handle);
    for (const other of others()) other.ref?.();
  };
  handle.unref = () => {
    unref?.call(handle);
    for (const other of others()) other.unref?.();
  };
  return {
    leave: () => {
      if (ref !== undefined) handle.ref = ref;
      if (unref !== undefined) handle.unref = unref;
    },
  };
}
