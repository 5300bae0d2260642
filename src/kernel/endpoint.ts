// One end of a socket.

/** An end of a socket, as getsockname(2) and getpeername(2) tell it. */
export interface Endpoint {
  /** Of the socket. */
  family: 'IPv4' | 'IPv6';
  /** A numeric IP, without a zone. */
  address: string;
  /** 0 to 65535; 0: not bound. */
  port: number;
  /** The interface index of a scoped IPv6 address. */
  scope?: number;
}
