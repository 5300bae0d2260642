// How connectx stands beside a socket that is not its own (a TLSSocket, for one) while it connects: its events pass by, and so does the
// error that it is destroyed with, which cannot be had from an event, because `socket.errored` is there before. Listeners would be
// no good: programs count and remove them.
import type * as net from 'node:net';

/** Who stands there. */
export interface Bystander {
  /** An event of the socket, before anybody else hears of it. False: nobody else does. */
  onEvent(
    socket: net.Socket,
    event: string | symbol,
    address: unknown,
    port: unknown,
    family: unknown,
    error: unknown,
  ): boolean;
  /** Whether core gives up with this error although there is something to wait for. */
  isHeldBack(error: Error | undefined): boolean;
  /** The error that the socket is destroyed with while it connects. */
  onDestroy(error: Error | undefined): Error | undefined;
}

type Emit = (this: net.Socket, event: string | symbol, ...args: unknown[]) => boolean;
type Destroy = (this: net.Socket, error?: Error) => net.Socket;

/** Until the socket has connected or is destroyed, or what is returned is called. */
export function standBeside(socket: net.Socket, connection: Bystander): () => void {
  const { emit, destroy } = socket as unknown as { emit: Emit; destroy: Destroy };
  let isThere = true;
  const leave = (): void => {
    isThere = false;
    restoreEmit();
    restoreDestroy();
  };
  const restoreEmit = putOver(socket, 'emit', function (event, ...args): boolean {
    if (!isThere) return emit.call(this, event, ...args);
    if (event === 'connect') leave();
    const [address, port, family, error] = args;
    return connection.onEvent(socket, event, address, port, family, error) && emit.call(this, event, ...args);
  } satisfies Emit);
  const restoreDestroy = putOver(socket, 'destroy', function (error): net.Socket {
    if (!isThere) return destroy.call(this, error);
    if (connection.isHeldBack(error)) return socket;
    leave();
    return destroy.call(this, connection.onDestroy(error));
  } satisfies Destroy);
  return leave;
}

/**
 * Where somebody else puts another one over it, it stays below, and has to let everything pass once it was taken away by the function
 * that this returns.
 */
export function putOver(socket: net.Socket, name: 'emit' | 'destroy' | 'connect', value: unknown): () => void {
  const own = Object.getOwnPropertyDescriptor(socket, name);
  Object.defineProperty(socket, name, { value, configurable: true, writable: true });
  return () => {
    if ((socket[name] as unknown) !== value) return;
    if (own === undefined) Reflect.deleteProperty(socket, name);
    else Object.defineProperty(socket, name, own);
  };
}
