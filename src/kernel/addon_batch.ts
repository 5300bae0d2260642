// The part of the addon that UdpBatch stands on (native/napi/batch.cc).
import type { Endpoint } from './endpoint';

/** Functions of the addon for sockets that are read and written in runs. */
export interface NativeBatch {
  /** A batch of UDP sockets (native/napi/batch.cc). `onTurn`: how many runs there are, -1 where the arrays are gone, and how many events. */
  batchOpen(
    slotBytes: number,
    datagramsPerTurn: number,
    peers: number,
    seed: number,
    seed2: number,
    offloads: number,
    memory: Uint8Array,
    runs: Uint32Array,
    events: Uint32Array,
    onTurn: (runs: number, events: number) => void,
  ): number;
  batchClose(batch: number): number;
  /** Whether it keeps the event loop alive. */
  batchReference(batch: number, on: boolean): number;
  /** As a send of nothing. */
  batchReceive(batch: number, on: boolean): number;
  /** The socket. Sizes of 0 are the kernel's. */
  batchBind(
    batch: number,
    family: number,
    address: string,
    port: number,
    recvBufferSize: number,
    sendBufferSize: number,
    reusePort: boolean,
  ): number;
  /** A descriptor that is the batch's until it is adopted or discarded, so that it is closed whenever the thread ends. */
  batchSocket(batch: number, family: number): number;
  batchDiscard(batch: number, fd: number): number;
  /** The socket. */
  batchAdopt(batch: number, fd: number, family: number, address: string, port: number): number;
  batchCloseSocket(batch: number, socket: number): number;
  /** Twice the datagrams that were taken, and 1 more when there are events. */
  batchForward(batch: number, run: number, target: number): number;
  batchSend(
    batch: number,
    target: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    segmentSize: number,
  ): number;
  /** How many events there are in the array of events now. */
  batchEvents(batch: number): number;
  batchPeer(batch: number, peer: number): Endpoint | number;
  /** Of a flow. */
  batchPeerOf(batch: number, socket: number): number;
  batchAddress(batch: number, socket: number): Endpoint | number;
  batchStats(batch: number, counts: Float64Array): number;
}
