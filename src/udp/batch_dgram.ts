// A UdpBatch where there is no addon, or no libuv: a dgram.Socket for each socket, a system call for each datagram. It does the same, slower.
import * as dgram from 'node:dgram';
import { constants } from 'node:os';
import { isIPv6 } from 'node:net';
import { notRunning } from '../errors/argument_errors';
import { BatchSize } from '../kernel/constants';
import type { Endpoint } from '../kernel/addon';
import { setImmediate } from '../values/timers';
import { BatchColumns, type BatchListener, type BatchPlan, type BindPlan, type UdpBatchStats } from './batch_engine';
import { BatchPeers } from './batch_peers';
import { type FlowEngine, UdpFlow } from './batch_socket';
import { connectOneInTurns } from './connect_one';
import type { Plan, UdpRequest } from './options';

const { errno } = constants;

const SLOT_BYTES = 65536;
/** What a datagram can hold. */
const MOST_IPV4 = 65507;
const MOST_IPV6 = 65527;

const MOST_SEGMENTS = 64;
const MOST_BYTES = 65000;

/** So many bytes of a socket may be on their way: dgram queues what it cannot send at once. */
const SEND_BYTES = 212_992;

interface Socket {
  readonly dgram: dgram.Socket;
  readonly isFlow: boolean;
  readonly peer: number;
  sending: number;
  isBlocked: boolean;
}

const noCounts = (): UdpBatchStats => ({
  received: { datagrams: 0, runs: 0, bytes: 0 },
  sent: { datagrams: 0, runs: 0, bytes: 0 },
  dropped: { blocked: 0, failed: 0, tooLong: 0, stale: 0, truncated: 0, strangers: 0, overflow: 0 },
  refusedRuns: 0,
  turns: 0,
  sockets: 0,
  peers: 0,
  evictedPeers: 0,
});

/** What was received since the last turn. */
class Received {
  runs = 0;
  used = 0;
  datagrams = 0;
  isReceiving = false;
}

export class DgramEngine implements FlowEngine {
  readonly columns: BatchColumns;
  readonly #plan: BatchPlan;
  readonly #listener: BatchListener;
  readonly #sockets = new Map<number, Socket>();
  readonly #peers: BatchPeers;
  readonly #counts = noCounts();
  readonly #received = new Received();
  #lastId = 0;
  #isDue = false;
  #isReferenced = true;

  constructor(plan: BatchPlan, listener: BatchListener) {
    this.#plan = plan;
    this.#listener = listener;
    this.columns = new BatchColumns(plan.slots * SLOT_BYTES);
    this.#peers = new BatchPeers(plan.peers);
  }

  receive(on: boolean): void {
    this.#received.isReceiving = on;
  }

  bind({ host, port, recvBufferSize, sendBufferSize, reusePort }: BindPlan): number {
    const options = {
      type: isIPv6(host) ? ('udp6' as const) : ('udp4' as const),
      ...(recvBufferSize > 0 && { recvBufferSize }),
      ...(sendBufferSize > 0 && { sendBufferSize }),
      ...(reusePort && { reusePort }),
      // Numeric: bound within the call.
      lookup: (address: string, _: unknown, done: (error: null, address: string, family: number) => void) =>
        done(null, address, isIPv6(address) ? 6 : 4),
    };
    const socket = dgram.createSocket(options as dgram.SocketOptions);
    let failure: Error | undefined;
    const failed = (error: Error): void => {
      failure = error;
    };
    socket.once('error', failed);
    socket.bind({ address: host, port, exclusive: true });
    socket.removeListener('error', failed);
    if (failure !== undefined) {
      socket.close();
      throw failure;
    }
    return this.#adopt(socket, false, 0);
  }

  readonly connectOne = async (plan: Plan, request: UdpRequest): Promise<UdpFlow> => {
    const socket = await connectOneInTurns(plan, request);
    const { address, port, family } = socket.remoteAddress();
    const id = this.#lastId + 1;
    const peer = this.#peers.keep(id, { address, port, family: family as Endpoint['family'] });
    this.#adopt(socket, true, peer);
    // It gives back its port, and its source, when it is closed.
    return new UdpFlow(this, id, peer, () => undefined);
  };

  #adopt(socket: dgram.Socket, isFlow: boolean, peer: number): number {
    const id = ++this.#lastId;
    if (!this.#isReferenced) socket.unref();
    this.#sockets.set(id, { dgram: socket, isFlow, peer, sending: 0, isBlocked: false });
    socket.on('message', (message, { address, port, family }) => {
      const sender = isFlow ? peer : this.#peers.intern(id, { address, port, family });
      this.#take(id, sender, message);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => this.#listener.event(id, -(error.errno ?? -errno.EIO)));
    return id;
  }

  #take(socket: number, peer: number, message: Buffer): void {
    const received = this.#received;
    const { dropped, received: counted } = this.#counts;
    if (!received.isReceiving) {
      dropped.overflow++;
      return;
    }
    const { data } = this.columns;
    const isFull = received.used + message.length > data.length || received.runs === BatchSize.runs;
    if (isFull || received.datagrams >= this.#plan.datagramsPerTurn) this.#turn();
    counted.datagrams++;
    counted.bytes += message.length;
    data.set(message, received.used);
    if (!this.#isMerged(socket, peer, message.length)) this.#begin(socket, peer, message.length);
    received.used += message.length;
    received.datagrams++;
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => this.#turn());
  }

  #begin(socket: number, peer: number, length: number): void {
    const { columns } = this;
    const run = this.#received.runs++;
    columns.offset[run] = this.#received.used;
    columns.length[run] = length;
    columns.segmentSize[run] = length;
    columns.socket[run] = socket;
    columns.peer[run] = peer;
    this.#counts.received.runs++;
  }

  // Datagrams of one size that came one after the other are a run; a shorter one closes it.
  #isMerged(socket: number, peer: number, length: number): boolean {
    const { columns } = this;
    const run = this.#received.runs - 1;
    if (run < 0 || length === 0 || columns.socket[run] !== socket || columns.peer[run] !== peer) return false;
    const [size = 0, before = 0] = [columns.segmentSize[run], columns.length[run]];
    if (before === 0 || before % size !== 0 || length > size) return false;
    if (before + length > Math.min(MOST_BYTES, MOST_SEGMENTS * size)) return false;
    columns.length[run] = before + length;
    return true;
  }

  #turn(): void {
    const { runs } = this.#received;
    this.#isDue = false;
    Object.assign(this.#received, { runs: 0, used: 0, datagrams: 0 });
    if (runs === 0) return;
    this.#counts.turns++;
    this.#listener.turn(runs);
  }

  closeSocket(id: number): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    this.#sockets.delete(id);
    this.#peers.removeOf(id);
    socket.dgram.close();
  }

  forward(run: number, target: number): number {
    const { data, offset, length, segmentSize } = this.columns;
    return this.send(target, data, offset[run] as number, length[run] as number, segmentSize[run] as number);
  }

  send(target: number, bytes: Uint8Array, offset: number, length: number, segmentSize: number): number {
    const size = segmentSize === 0 || segmentSize > length ? length : segmentSize;
    const count = length === 0 ? 1 : Math.ceil(length / size);
    const peer = this.#peers.get(target);
    const socket = peer && this.#sockets.get(peer.socket);
    if (peer === undefined || socket === undefined) {
      this.#counts.dropped.stale += count;
      return 0;
    }
    // A datagram from port 0 can only be forged, and dgram throws where it is to be answered.
    if (peer.end.port === 0) {
      this.#counts.dropped.failed += count;
      setImmediate(() => this.#listener.event(peer.socket, errno.EINVAL));
      return 0;
    }
    if (size > (peer.end.family === 'IPv6' ? MOST_IPV6 : MOST_IPV4)) {
      this.#counts.dropped.tooLong += count;
      return 0;
    }
    let taken = 0;
    while (taken < count && !socket.isBlocked) {
      const begin = offset + taken * size;
      const end = Math.min(begin + size, offset + length);
      if (!this.#sendOne(socket, peer.socket, peer.end, Buffer.from(bytes.subarray(begin, end)))) break;
      taken++;
    }
    this.#counts.dropped.blocked += count - taken;
    this.#counts.sent.datagrams += taken;
    return taken;
  }

  // dgram has copied nothing: the bytes are its own until it calls back.
  #sendOne(socket: Socket, id: number, { address, port }: Endpoint, bytes: Buffer): boolean {
    if (socket.sending > 0 && socket.sending + bytes.length > SEND_BYTES) {
      socket.isBlocked = true;
      return false;
    }
    socket.sending += bytes.length;
    const done = (error: NodeJS.ErrnoException | null): void => {
      socket.sending -= bytes.length;
      if (error !== null) this.#failed(id, error);
      else this.#counts.sent.bytes += bytes.length;
      if (!socket.isBlocked || socket.sending > SEND_BYTES / 2) return;
      socket.isBlocked = false;
      this.#listener.event(id, 0);
    };
    this.#counts.sent.runs++;
    if (socket.isFlow) socket.dgram.send(bytes, done);
    else socket.dgram.send(bytes, port, address, done);
    return true;
  }

  #failed(id: number, error: NodeJS.ErrnoException): void {
    const { dropped } = this.#counts;
    if (error.code === 'EMSGSIZE') {
      dropped.tooLong++;
      return;
    }
    dropped.failed++;
    this.#listener.event(id, -(error.errno ?? -errno.EIO));
  }

  peer(peer: number): Endpoint | undefined {
    return this.#peers.get(peer)?.end;
  }

  address(id: number): Endpoint {
    const socket = this.#sockets.get(id);
    if (socket === undefined) throw notRunning();
    const { address, port, family } = socket.dgram.address();
    return { address, port, family: family as Endpoint['family'] };
  }

  stats(): UdpBatchStats {
    return {
      ...structuredClone(this.#counts),
      sockets: this.#sockets.size,
      peers: this.#peers.count,
      evictedPeers: this.#peers.evicted,
    };
  }

  reference(on: boolean): void {
    this.#isReferenced = on;
    for (const { dgram: socket } of this.#sockets.values()) {
      if (on) socket.ref();
      else socket.unref();
    }
  }

  close(): void {
    for (const id of [...this.#sockets.keys()]) this.closeSocket(id);
  }
}
