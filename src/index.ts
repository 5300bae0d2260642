export type { Destination } from './values/address';
export { type Capabilities, capabilities } from './kernel/capabilities';
export type { Runtime } from './kernel/runtime';
export { type ListenerConflict, listenerConflicts } from './usage/conflicts';
export { ConnectxError, type ErrorDetails, type Reason } from './errors/connectx_error';
export type { SocketOption } from './kernel/addon';
export {
  type PoolSource,
  type PoolSourceStats,
  type PoolStats,
  SourcePool,
  type SourcePoolOptions,
} from './source/pool';
export { PortMonitor, type PortMonitorEvents, type PortMonitorOptions } from './usage/port_monitor';
export { type PortUsage, portUsage, type UsageFilter } from './usage/port_usage';
export type { SocketProcess } from './kernel/processes';
export type { SourceAddresses, SourceFunction, SourceOptions } from './source/options';
export type { ChooseSource } from './source/strategies';
export type { ConnectTrace, TracedAttempt, TracedTechnique } from './connect/trace';
export { connectUdp, connectUdpSync } from './udp/connect';
export type { UdpConnectOptions } from './udp/options';
export { connect, createConnection, Socket } from './tcp/socket';
export type { ConnectOptions, SocketOptions } from './tcp/options';
