// A UdpBatch on the addon: recvmmsg(2) with UDP_GRO, sendmsg(2) with UDP_SEGMENT, one epoll descriptor for all sockets.
import { notRunning } from '../errors/argument_errors';
import { attemptError, unsupported } from '../errors/connectx_error';
import { addressNotLocal, type Explanation, portLocked, PRIVILEGED_PORT } from '../connect/explain';
import { constants } from 'node:os';
import { isIPv6 } from 'node:net';
import { BatchSize, domainOf } from '../kernel/constants';
import { errnoOf, syscallOf, unwrap } from '../kernel/outcome';
import { udpOffloads } from '../kernel/udp_offload';
import type { Endpoint, Native } from '../kernel/addon';
import { setImmediate } from '../values/timers';
import { tryFirst } from './allocate';
import { attemptOf } from './attempt';
import { BatchColumns, type BatchListener, type BatchPlan, type BindPlan, type UdpBatchStats } from './batch_engine';
import { type FlowEngine, UdpFlow } from './batch_socket';
import { BatchTarget } from './batch_target';
import { inTurns } from './connect_one';
import type { Plan, UdpRequest } from './options';
import { portCacheOf } from './port_cache';

const { errno } = constants;

/** What one recvmsg(2) may bring: the kernel puts no more together. */
const SLOT_BYTES = 65536;

/** After batchClose(). */
const CLOSED = -1;

const NOTHING = new Uint32Array(0);

export class NativeEngine implements FlowEngine {
  readonly columns: BatchColumns;
  readonly #native: Native;
  readonly #listener: BatchListener;
  readonly #events = new Uint32Array(2 * BatchSize.events);
  readonly #counts = new Float64Array(BatchSize.stats);
  #batch: number;
  #isTelling = false;

  constructor(native: Native, plan: BatchPlan, listener: BatchListener) {
    this.#native = native;
    this.#listener = listener;
    this.columns = new BatchColumns(plan.slots * SLOT_BYTES);
    const seed = () => Math.floor(Math.random() * 2 ** 32);
    const batch = native.batchOpen(
      SLOT_BYTES,
      plan.datagramsPerTurn,
      plan.peers,
      seed(),
      seed(),
      Math.max(udpOffloads(native), 0),
      this.columns.data,
      this.columns.all,
      this.#events,
      (runs, events) => this.#turn(runs, events),
    );
    if (batch < 0 && errnoOf(batch) === errno.ENOSYS) throw unsupported('datagrams', 'this runtime has no libuv');
    this.#batch = unwrap(native, batch);
  }

  #turn(runs: number, events: number): void {
    if (runs < 0) {
      this.#listener.lost();
      return;
    }
    const told = this.#told(events);
    try {
      if (runs > 0) this.#listener.turn(runs);
    } catch (error) {
      setImmediate(() => this.#tell(told));
      throw error;
    }
    this.#tell(told);
  }

  /** A copy: a listener may send, and what comes of that is written to the same array. */
  #told(events: number): Uint32Array {
    return events > 0 ? this.#events.slice(0, 2 * events) : NOTHING;
  }

  #tell(told: Uint32Array): void {
    let next = 0;
    try {
      while (next < told.length) {
        const [socket = 0, code = 0] = [told[next], told[next + 1]];
        next += 2;
        this.#listener.event(socket, code);
      }
    } finally {
      // A listener that throws keeps nothing from the others: whoever waits for room hears of it once.
      if (next < told.length) setImmediate(() => this.#tell(told.subarray(next)));
    }
  }

  /** The datagrams that were taken; what else there is to tell is told when the caller is done. */
  #taken(outcome: number): number {
    if (outcome < 0) {
      if (this.#batch === CLOSED) throw notRunning();
      unwrap(this.#native, outcome);
    }
    if ((outcome & 1) !== 0 && !this.#isTelling) {
      this.#isTelling = true;
      setImmediate(() => {
        this.#isTelling = false;
        if (this.#batch !== CLOSED) this.#tell(this.#told(this.#native.batchEvents(this.#batch)));
      });
    }
    return Math.floor(outcome / 2);
  }

  #mustBeOpen(): void {
    if (this.#batch === CLOSED) throw notRunning();
  }

  receive(on: boolean): void {
    this.#taken(this.#native.batchReceive(this.#batch, on));
  }

  bind({ host, port, recvBufferSize, sendBufferSize, reusePort }: BindPlan): number {
    const domain = domainOf(isIPv6(host) ? 6 : 4);
    const { batchBind } = this.#native;
    const socket = batchBind(this.#batch, domain, host, port, recvBufferSize, sendBufferSize, reusePort);
    if (socket >= 0) return socket;
    const code = errnoOf(socket);
    const syscall = syscallOf(this.#native, socket) || 'bind';
    const attempt = { destination: { address: host, port }, localAddress: null, localPort: 0 };
    throw attemptError(attempt, { errno: code, syscall, ...explainBind(code, host, port) });
  }

  readonly connectOne = async (plan: Plan, request: UdpRequest): Promise<UdpFlow> => {
    const native = this.#native;
    this.#mustBeOpen();
    const { port, family } = request.destination;
    const target = new BatchTarget(native, this.#batch, family);
    try {
      const attempt = attemptOf(native, portCacheOf(native), request, target, plan.signal);
      const lease = tryFirst(attempt) ?? (await inTurns(attempt, plan.signal));
      const socket = target.take(lease, attempt.remoteAddress, port);
      const peer = native.batchPeerOf(this.#batch, socket);
      return new UdpFlow(this, socket, peer, () => lease.ports?.release(lease.localPort));
    } catch (error) {
      target.discard();
      this.#mustBeOpen();
      throw error;
    }
  };

  closeSocket(socket: number): void {
    if (this.#batch !== CLOSED) this.#native.batchCloseSocket(this.#batch, socket);
  }

  forward(run: number, target: number): number {
    return this.#taken(this.#native.batchForward(this.#batch, run, target));
  }

  send(target: number, bytes: Uint8Array, offset: number, length: number, segmentSize: number): number {
    return this.#taken(this.#native.batchSend(this.#batch, target, bytes, offset, length, segmentSize));
  }

  peer(peer: number): Endpoint | undefined {
    const end = this.#native.batchPeer(this.#batch, peer);
    return typeof end === 'number' ? undefined : end;
  }

  address(socket: number): Endpoint {
    return unwrap<Endpoint>(this.#native, this.#native.batchAddress(this.#batch, socket));
  }

  reference(on: boolean): void {
    this.#native.batchReference(this.#batch, on);
  }

  stats(): UdpBatchStats {
    const counts = this.#counts;
    unwrap(this.#native, this.#native.batchStats(this.#batch, counts));
    const at = (index: number) => counts[index] as number;
    return {
      received: { datagrams: at(0), runs: at(1), bytes: at(2) },
      sent: { datagrams: at(3), runs: at(4), bytes: at(5) },
      dropped: {
        blocked: at(6),
        failed: at(7),
        tooLong: at(8),
        stale: at(9),
        truncated: at(10),
        strangers: at(11),
        overflow: at(12),
      },
      evictedPeers: at(13),
      refusedRuns: at(14),
      turns: at(15),
      sockets: at(16),
      peers: at(17),
    };
  }

  close(): void {
    if (this.#batch === CLOSED) return;
    this.#native.batchClose(this.#batch);
    this.#batch = CLOSED;
  }
}

function explainBind(code: number, host: string, port: number): Explanation {
  if (code === errno.EADDRINUSE) return portLocked(port);
  if (code === errno.EADDRNOTAVAIL) return addressNotLocal(host);
  return code === errno.EACCES ? PRIVILEGED_PORT : { reason: undefined, advice: '' };
}
