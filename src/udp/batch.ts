// UdpBatch: many UDP sockets of a thread, and one callback a turn for all that they have received.
import { EventEmitter } from 'node:events';
import { isIPv6 } from 'node:net';
import { invalidType, notRunning, outOfRange } from '../errors/argument_errors';
import { ConnectxError, errnoName, systemError } from '../errors/connectx_error';
import { nativeOrFallback } from '../kernel/load';
import { runtime } from '../kernel/runtime';
import { abortError, onAbort } from './abort';
import { DgramEngine } from './batch_dgram';
import { type BatchListener, type BatchPlan, type Engine, type UdpBatchStats, WHOLE_BATCH } from './batch_engine';
import { NativeEngine } from './batch_native';
import {
  readBatchOptions,
  readBindOptions,
  readSendOptions,
  refuseDgramOnly,
  targetOf,
  type UdpBatchOptions,
  type UdpBindOptions,
  type UdpFlowOptions,
  type UdpSendOptions,
} from './batch_options';
import { type FlowEngine, type Target, type UdpFlow, UdpServer } from './batch_socket';
import { connectTraced } from './connect';
import { readOptions } from './options';

/** Runs of one turn: entry `i` of each array is about one run of equal-sized datagrams of one peer. */
export interface Batch {
  /** How many runs there are. */
  readonly count: number;
  /** The bytes of all of them. */
  readonly data: Uint8Array;
  /** Where the run begins in `data`. */
  readonly offset: Uint32Array;
  /** Its length in bytes. */
  readonly length: Uint32Array;
  /** The size of its datagrams; the last one may be shorter. Equal to `length` for a single one. */
  readonly segmentSize: Uint32Array;
  /** The `id` of the socket that has received it. */
  readonly socket: Uint32Array;
  /** Who has sent it: for {@link UdpServer.target} and {@link UdpServer.peerAddress}; of a flow its `target`. */
  readonly peer: Uint32Array;
  /** Sends a run on, as it is. Returns how many of its datagrams were taken; the others are dropped and counted. */
  forward(index: number, target: Target): number;
}

interface UdpBatchEvents {
  /** A send through this socket, which was refused for want of room, would be taken again. */
  drain: [socket: UdpServer | UdpFlow];
  /**
   * Something failed, most often because nobody is at the other end of a flow (ECONNREFUSED). The socket stays open. Of no socket: the
   * batch could not go on, and is closed.
   */
  error: [error: ConnectxError, socket: UdpServer | UdpFlow | undefined];
  close: [];
}

class Turn implements Batch {
  readonly data: Uint8Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  readonly segmentSize: Uint32Array;
  readonly socket: Uint32Array;
  readonly peer: Uint32Array;
  readonly #engine: Engine;
  count = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
    const { data, offset, length, segmentSize, socket, peer } = engine.columns;
    this.data = data;
    this.offset = offset;
    this.length = length;
    this.segmentSize = segmentSize;
    this.socket = socket;
    this.peer = peer;
  }

  forward(index: number, target: Target): number {
    // Also after the callback has returned: there are none then.
    if (!(index >= 0 && index < this.count)) throw outOfRange('index', `>= 0 && < ${this.count}`, index);
    return this.#engine.forward(index, typeof target === 'number' ? target : targetOf(target));
  }
}

function engineFor(plan: BatchPlan, listener: BatchListener): FlowEngine {
  const native = nativeOrFallback();
  // Other runtimes have no libuv to wait with.
  return native === undefined || runtime.name !== 'node'
    ? new DgramEngine(plan, listener)
    : new NativeEngine(native, plan, listener);
}

/**
 * UDP in runs: for relays. One for each thread.
 *
 * @example
 * import { UdpBatch } from 'connectx/datagrams';
 *
 * const io = new UdpBatch();
 * const server = io.bind({ host: '0.0.0.0', port: 5300 });
 * io.recvStart((batch) => {
 *   for (let i = 0; i < batch.count; i++) batch.forward(i, server.target(batch.peer[i])); // an echo
 * });
 */
export class UdpBatch extends EventEmitter<UdpBatchEvents> {
  readonly #engine: FlowEngine;
  readonly #turn: Turn;
  readonly #sockets = new Map<number, UdpServer | UdpFlow>();
  #callback: ((batch: Batch) => void) | undefined;
  #isClosed = false;

  /** @throws one of Node's argument errors, or a {@link ConnectxError} where a descriptor cannot be opened (EMFILE) */
  constructor(options: UdpBatchOptions = {}) {
    super();
    this.#engine = engineFor(readBatchOptions(options), {
      turn: (runs) => this.#receive(runs),
      event: (socket, errno) => this.#event(socket, errno),
      lost: () => this.#lost(transferred()),
    });
    this.#turn = new Turn(this.#engine);
  }

  /**
   * A socket that hears everybody, bound at once.
   *
   * @throws one of Node's argument errors, or a {@link ConnectxError} (EADDRINUSE, EADDRNOTAVAIL, EACCES ...)
   */
  bind(options: UdpBindOptions): UdpServer {
    const plan = readBindOptions(options);
    const engine = this.#open();
    const id = engine.bind(plan);
    const server: UdpServer = new UdpServer(engine, id, () => this.#sockets.delete(id));
    this.#sockets.set(id, server);
    return server;
  }

  /**
   * A connected socket: with the options, the errors and the guarantee of `connectUdp`. A `signal` that is aborted later closes it.
   *
   * @returns rejects with what `connectUdp` rejects with
   */
  connect(options: UdpFlowOptions): Promise<UdpFlow> {
    refuseDgramOnly(options);
    const plan = readOptions(options, 'udp');
    const engine = this.#open();
    const { signal } = plan;
    return connectTraced(plan, async (one, request) => {
      const flow = await engine.connectOne(one, request);
      if (this.#isClosed || signal?.aborted === true) {
        flow.close();
        throw signal?.aborted === true ? abortError(signal) : notRunning();
      }
      this.#sockets.set(flow.id, flow);
      const ignore = signal === undefined ? undefined : onAbort(signal, () => flow.close());
      flow.onceClosed(() => {
        ignore?.();
        this.#sockets.delete(flow.id);
      });
      return flow;
    });
  }

  /** From now on, calls back once a turn with what was received. What the batch holds is valid until the callback returns. */
  recvStart(callback: (batch: Batch) => void): this {
    if (typeof callback !== 'function') throw invalidType('callback', 'of type function', callback);
    this.#open().receive(true);
    this.#callback = callback;
    return this;
  }

  /** Leaves what comes in the receive buffers of the sockets. */
  recvStop(): this {
    this.#open().receive(false);
    this.#callback = undefined;
    return this;
  }

  /**
   * Sends, now or never: nothing is queued.
   *
   * @returns how many datagrams the kernel has taken. The rest is dropped, and counted in {@link stats}; where the send buffer was full,
   *   `'drain'` tells when there is room again
   */
  trySend(target: Target, buffer: Uint8Array, options?: UdpSendOptions): number {
    const { offset, length, segmentSize } = readSendOptions(buffer, options);
    return this.#open().send(targetOf(target), buffer, offset, length, segmentSize);
  }

  /** Counts since the beginning. With very many sockets it takes a moment: each is asked what its receive buffer could not hold. */
  stats(): UdpBatchStats {
    return this.#open().stats();
  }

  /** The event loop goes on while it is open; the default. */
  ref(): this {
    this.#open().reference(true);
    return this;
  }

  /** The event loop may end while it is open. */
  unref(): this {
    this.#open().reference(false);
    return this;
  }

  /** Closes all of its sockets, at once. Does nothing when it is closed. */
  close(): void {
    if (this.#isClosed) return;
    for (const socket of [...this.#sockets.values()]) socket.close();
    this.#isClosed = true;
    this.#turn.count = 0;
    this.#callback = undefined;
    this.#engine.close();
    process.nextTick(() => this.emit('close'));
  }

  /** The same as {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #open(): FlowEngine {
    if (this.#isClosed) throw notRunning();
    return this.#engine;
  }

  #receive(runs: number): void {
    this.#turn.count = runs;
    try {
      this.#callback?.(this.#turn);
    } finally {
      this.#turn.count = 0;
    }
  }

  #event(id: number, errno: number): void {
    if (id === WHOLE_BATCH) {
      this.#lost(systemError(errno, 'epoll_wait'));
      return;
    }
    const socket = this.#sockets.get(id);
    // It was closed meanwhile.
    if (socket === undefined || socket.isClosed) return;
    if (errno === 0) this.emit('drain', socket);
    else this.emit('error', errorOf(errno, socket), socket);
  }

  /** It cannot go on. */
  #lost(error: ConnectxError): void {
    if (this.#isClosed) return;
    this.close();
    this.emit('error', error, undefined);
  }
}

function transferred(): ConnectxError {
  const message = 'the memory of the batch was transferred to another thread or detached';
  return new ConnectxError(message, { code: 'ERR_INVALID_STATE' });
}

function errorOf(errno: number, socket: UdpServer | UdpFlow): ConnectxError {
  const code = errnoName(errno);
  const { address, port } = 'remoteAddress' in socket ? socket.remoteAddress() : socket.address();
  const end = isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
  return new ConnectxError(`send ${code} ${end}`, { code, errno: -errno, syscall: 'send', address, port });
}
