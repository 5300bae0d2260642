// All sockets of the relay: they are read together, in runs of datagrams of one size, and nothing of what comes becomes a Buffer.
import { UdpBatch } from 'connectx/datagrams';

/** Datagrams of one size and one sender, the last one maybe shorter, for as long as the callback runs that gets them. */
export class Run {
  #io;
  #batch;
  #index = 0;

  constructor(io) {
    this.#io = io;
  }

  at(batch, index) {
    this.#batch = batch;
    this.#index = index;
    return this;
  }

  get peer() {
    return this.#batch.peer[this.#index];
  }

  /** The first datagram is from `offset` to `end` in `data`. */
  get data() {
    return this.#batch.data;
  }

  get offset() {
    return this.#batch.offset[this.#index];
  }

  get end() {
    return this.offset + Math.min(this.size, this.bytes);
  }

  get bytes() {
    return this.#batch.length[this.#index];
  }

  /** Of each datagram but the last. */
  get size() {
    return this.#batch.segmentSize[this.#index];
  }

  get datagrams() {
    return this.bytes === 0 ? 1 : Math.ceil(this.bytes / this.size);
  }

  /** How many were taken. */
  forward(target) {
    return this.#batch.forward(this.#index, target);
  }

  /** The same, of the first so many datagrams. */
  forwardSome(target, datagrams) {
    if (datagrams >= this.datagrams) return this.forward(target);
    const options = { offset: this.#batch.offset[this.#index], length: datagrams * this.size, segmentSize: this.size };
    return this.#io.trySend(target, this.#batch.data, options);
  }

  /** For later: a copy of the first so many datagrams. */
  copy(datagrams) {
    const offset = this.#batch.offset[this.#index];
    const { size } = this;
    const bytes = Math.min(this.bytes, datagrams * size);
    return { content: Buffer.from(this.#batch.data.subarray(offset, offset + bytes)), bytes, size, datagrams };
  }
}

export class Hub {
  #io;
  #run;
  /** Who hears what a socket receives, and its errors: { heard(run), failed(error) }. */
  #listeners = new Map();

  /** `most`: so many clients at a time. */
  constructor(most) {
    // Whoever forges senders must not have those forgotten who have a flow.
    this.#io = new UdpBatch({ maxPeers: Math.min(500_000, 65_536 + 2 * most) });
    this.#run = new Run(this.#io);
    this.#io.on('error', (error, socket) => this.#listeners.get(socket?.id)?.failed(error));
    this.#io.recvStart((batch) => {
      for (let i = 0; i < batch.count; i++) this.#listeners.get(batch.socket[i])?.heard(this.#run.at(batch, i));
    });
  }

  bind(options, listener) {
    const server = this.#io.bind(options);
    this.#listeners.set(server.id, listener);
    return server;
  }

  connect(options) {
    return this.#io.connect(options);
  }

  /** What the socket receives from now on is read and dropped where there is no listener. */
  listen(socket, listener) {
    if (listener === undefined) this.#listeners.delete(socket.id);
    else this.#listeners.set(socket.id, listener);
  }

  /** Of a run that was copied. Returns how many datagrams were taken. */
  send(target, { content, size }) {
    return this.#io.trySend(target, content, size > 0 ? { segmentSize: size } : undefined);
  }

  closeSocket(socket) {
    this.#listeners.delete(socket.id);
    socket.close();
  }

  close() {
    this.#io.close();
  }
}
