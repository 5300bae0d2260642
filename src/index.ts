export { type Capabilities, capabilities } from './capabilities';
export { ConnectxError, type ErrorDetails, type Reason } from './errors';
export type { SocketOption } from './native';
export type { Destination, SourceFunction, SourceOptions } from './source';
export { connectUdp, connectUdpSync, type UdpConnectOptions } from './udp';
export { type ConnectOptions, connect, createConnection, Socket, type SocketOptions } from './tcp';
