export type { Destination } from './address';
export { type Capabilities, capabilities } from './capabilities';
export { ConnectxError, type ErrorDetails, type Reason } from './errors';
export type { SocketOption } from './native';
export { type PoolSource, type PoolSourceStats, type PoolStats, SourcePool, type SourcePoolOptions } from './pool';
export type { SourceFunction, SourceOptions } from './source';
export type { ChooseSource } from './strategies';
export { connectUdp, connectUdpSync, type UdpConnectOptions } from './udp';
export { type ConnectOptions, connect, createConnection, Socket, type SocketOptions } from './tcp';
