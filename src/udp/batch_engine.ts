// What a UdpBatch stands on: the addon's runs (batch_native.ts), or a dgram.Socket for each (batch_dgram.ts).
import type { AddressInfo } from 'node:net';
import { BatchSize } from '../kernel/constants';
import type { Endpoint } from '../kernel/addon';

/** Where a turn is received into: made once, and written again in each turn. */
export class BatchColumns {
  readonly data: Uint8Array;
  /** The five columns, one behind the other, in the order in which the addon writes them. */
  readonly all = new Uint32Array(5 * BatchSize.runs);
  readonly offset = this.#column(0);
  readonly length = this.#column(1);
  readonly segmentSize = this.#column(2);
  readonly socket = this.#column(3);
  readonly peer = this.#column(4);

  constructor(bytes: number) {
    this.data = new Uint8Array(bytes);
  }

  #column(index: number): Uint32Array {
    return this.all.subarray(index * BatchSize.runs, (index + 1) * BatchSize.runs);
  }
}

/** What is valid of the options of a UdpBatch. */
export interface BatchPlan {
  readonly slots: number;
  readonly datagramsPerTurn: number;
  readonly peers: number;
}

/** What is valid of the options of `bind()`. */
export interface BindPlan {
  /** Numeric. */
  readonly host: string;
  readonly port: number;
  readonly recvBufferSize: number;
  readonly sendBufferSize: number;
  readonly reusePort: boolean;
}

/** In place of a socket. */
export const WHOLE_BATCH = 0;

/** Who hears of what happens. */
export interface BatchListener {
  /** So many runs are in the columns. */
  turn(runs: number): void;
  /** `errno` 0: a send would be taken again. Of {@link WHOLE_BATCH}: it cannot go on. */
  event(socket: number, errno: number): void;
  /** The memory is gone: the program has transferred it away. */
  lost(): void;
}

/** Counts since the beginning: what was received, forwarded and sent, and what was dropped and why. */
export interface UdpBatchStats {
  /** What listening sockets and flows have received. */
  received: {
    /** Single datagrams, those inside of runs too. */
    datagrams: number;
    /** Runs: datagrams of one sender that arrived as one. */
    runs: number;
    /** Bytes of payload. */
    bytes: number;
  };
  /** What the kernel has taken to send. */
  sent: {
    /** Single datagrams, those inside of runs too. */
    datagrams: number;
    /** System calls that sent them. */
    runs: number;
    /** Bytes of payload. */
    bytes: number;
  };
  /** Datagrams that got lost, and why. */
  dropped: {
    /** Not sent: the send buffer was full. */
    blocked: number;
    /** Not sent: the kernel refused. */
    failed: number;
    /** Not sent: longer than a datagram, or the route, can be. */
    tooLong: number;
    /** Not sent: the flow was closed, or the peer forgotten. */
    stale: number;
    /** Received cut off, and not delivered. */
    truncated: number;
    /** Received by a flow from somebody else than its peer, and not delivered. */
    strangers: number;
    /** Not received: the receive buffer was full. */
    overflow: number;
  };
  /** Runs that the kernel refused to cut, because of the MTU or IPsec, and that were sent one by one. */
  refusedRuns: number;
  /** Turns of the event loop in which something was received. */
  turns: number;
  /** Open now. */
  sockets: number;
  /** Known now. */
  peers: number;
  /** Forgotten because there were too many. */
  evictedPeers: number;
}

export interface Engine {
  readonly columns: BatchColumns;
  receive(on: boolean): void;
  /** The new socket. Throws what bind(2) says. */
  bind(plan: BindPlan): number;
  closeSocket(socket: number): void;
  /** How many datagrams were taken. */
  forward(run: number, target: number): number;
  send(target: number, bytes: Uint8Array, offset: number, length: number, segmentSize: number): number;
  peer(peer: number): Endpoint | undefined;
  /** Throws when the socket is closed. */
  address(socket: number): Endpoint;
  stats(): UdpBatchStats;
  reference(on: boolean): void;
  close(): void;
}

/** As dgram tells of an end. */
export function addressOf({ address, port, family, scope }: Endpoint): AddressInfo {
  return { address: scope === undefined ? address : `${address}%${scope}`, port, family };
}
