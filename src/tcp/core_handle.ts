// Node's internal TCP handle, as far as connectx relies on it; see `assertHandle`.

/** Of a net.Socket, while it connects. */
export interface TcpHandle {
  /** -1 while there is none. */
  readonly fd: number;
  /** What the handle of a TLS socket wraps. */
  readonly _parent?: TcpHandle;
  open(fd: number): number;
  bind(address: string, port: number): number;
  bind6(address: string, port: number, flags: number): number;
  connect(request: ConnectRequest, address: string, port: number): number;
  connect6(request: ConnectRequest, address: string, port: number): number;
  close(callback?: () => void): void;
  /** Closes, with RST. */
  reset?(callback?: () => void): number;
  /** Whether it keeps the event loop alive. That of a TLS socket does not tell. */
  hasRef?(): boolean;
  ref?(): void;
  unref?(): void;
  /** What is read goes there (`onread`). */
  useUserBuffer?(buffer: Uint8Array): void;
}

/** A net.Socket: the handle of the current attempt. */
export interface HandleOwner {
  readonly _handle: TcpHandle | null;
  /** Core goes on to no further address. */
  _aborted?: boolean;
}

/** Node's internal TCPConnectWrap. */
export interface ConnectRequest {
  oncomplete?:
    | ((status: number, handle: TcpHandle, request: ConnectRequest, readable: boolean, writable: boolean) => void)
    | undefined;
  readonly address?: string;
  readonly port?: number;
  localAddress?: string | undefined;
  localPort?: number | undefined;
}

/** Core's answer to a connect that has ended. */
export type Oncomplete = NonNullable<ConnectRequest['oncomplete']>;

/** `connect` or `connect6` of a handle. */
export type HandleConnect = TcpHandle['connect'];

type Call = (handle: TcpHandle, request: ConnectRequest, address: string, port: number) => number;

// V8 goes straight to a function of Node's C++ only where it knows it to be always the same one: as a variable that is
// never assigned again, of a closure that there is but once. Hence one for each of the two, of the first handle.
let first: { readonly connect: HandleConnect; readonly call: Call } | undefined;
let first6: { readonly connect: HandleConnect; readonly call: Call } | undefined;

/** Calls core's `connect` of a handle, which may be shadowed. */
export function callConnect(
  connect: HandleConnect,
  handle: TcpHandle,
  request: ConnectRequest,
  address: string,
  port: number,
): number {
  first ??= { connect, call: (self, ...args) => connect.call(self, ...args) };
  return first.connect === connect
    ? first.call(handle, request, address, port)
    : connect.call(handle, request, address, port);
}

/** The same with `connect6`. */
export function callConnect6(
  connect6: HandleConnect,
  handle: TcpHandle,
  request: ConnectRequest,
  address: string,
  port: number,
): number {
  first6 ??= { connect: connect6, call: (self, ...args) => connect6.call(self, ...args) };
  return first6.connect === connect6
    ? first6.call(handle, request, address, port)
    : connect6.call(handle, request, address, port);
}
