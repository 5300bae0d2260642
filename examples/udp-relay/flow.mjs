// One client's way to the upstream: a connected socket of its own, and what waits for it.
import { connectUdp } from 'connectx';

export class Flow {
  lastActive = performance.now();
  #settings;
  /** What came while the socket was being opened; undefined from then on. */
  #waiting = [];
  #waitingBytes = 0;
  #socket;
  #abort = new AbortController();

  /** `settings`: { upstream, source, limits, stats, onReply(message) } */
  constructor(settings) {
    this.#settings = settings;
  }

  get isOpen() {
    return this.#socket !== undefined;
  }

  /** Rejects if there is no socket to be had; everything that waited for it is lost, and counted as `failure` says. */
  async open() {
    const { upstream, source, stats, onReply } = this.#settings;
    const { signal } = this.#abort;
    const socket = await connectUdp({ ...upstream, localAddress: source, signal });
    // An abort that came when there was a socket already has closed it.
    signal.throwIfAborted();
    // ECONNREFUSED for one: nobody listens upstream, now. The datagram is lost, and the flow stays for the next.
    socket.on('error', () => stats.dropped.send++);
    socket.on('message', (message) => {
      this.lastActive = performance.now();
      onReply(message);
    });
    this.#socket = socket;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const message of waiting) this.#pass(message);
  }

  send(message) {
    const { limits, stats } = this.#settings;
    this.lastActive = performance.now();
    if (this.#waiting === undefined) {
      this.#pass(message);
    } else if (
      this.#waiting.length >= limits.queueDatagrams ||
      this.#waitingBytes + message.length > limits.queueBytes
    ) {
      stats.dropped.queue++;
    } else {
      this.#waiting.push(message);
      this.#waitingBytes += message.length;
    }
  }

  #pass(message) {
    const { limits, stats } = this.#settings;
    // What the kernel has not taken yet waits in this process, without bounds of its own.
    if (this.#socket.getSendQueueSize() + message.length > limits.queueBytes) {
      stats.dropped.queue++;
      return;
    }
    this.#socket.send(message, (error) => {
      if (error) stats.dropped.send++;
      else stats.passed('up', message.length);
    });
  }

  /** How many datagrams go with it that were not sent. */
  close() {
    // The signal would close an open socket, too, and it must not be closed twice.
    if (this.#socket === undefined) this.#abort.abort();
    else this.#socket.close();
    const lost = this.#waiting?.length ?? 0;
    this.#waiting = undefined;
    return lost;
  }
}
