export { type Batch, UdpBatch } from './udp/batch';
export type { UdpBatchStats } from './udp/batch_engine';
export type { UdpBatchOptions, UdpBindOptions, UdpFlowOptions, UdpSendOptions } from './udp/batch_options';
export type { Target, UdpFlow, UdpServer } from './udp/batch_socket';
