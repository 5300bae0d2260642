// One client's way to the upstream: a connected socket of its own, and what waits for it.
import { connectUdp } from 'connectx';

/** A datagram without content is an IPv4 and a UDP header on the wire. */
const sizeOf = (message) => message.length + 28;

/** Every port is taken, or every descriptor; a pool says of each source why it failed. */
export const isExhaustion = ({ code, reason, errors = [] }) =>
  reason === 'ports-exhausted' || code === 'EMFILE' || code === 'ENFILE' || errors.some(isExhaustion);

export class Flow {
  key;
  network;
  upstream;
  /** When the client has sent something last: what the upstream sends keeps no flow alive. */
  lastHeard = performance.now();
  #shared;
  #onReply;
  /** What came while the socket was being opened; undefined from then on. */
  #waiting = [];
  #waitingBytes = 0;
  #socket;
  #abort = new AbortController();
  #heard = 0;
  /** Bytes on the wire, until the client has sent twice. */
  #up = 0;
  #down = 0;

  /** `about`: { key, network, upstream }; `shared`: { source, limits, stats, names, resting }. */
  constructor({ key, network, upstream }, shared, onReply) {
    this.key = key;
    this.network = network;
    this.upstream = upstream;
    this.#shared = shared;
    this.#onReply = onReply;
  }

  get isOpen() {
    return this.#socket !== undefined;
  }

  /** Whether its client has sent twice: most senders of spoofed datagrams never send again from the same address and port. */
  get isProven() {
    return this.#heard > 1;
  }

  /**
   * `yieldPort` closes a socket whose port this flow may have, or returns false. Rejects if there is no socket to be had; what
   * waited for it is lost.
   */
  async open(yieldPort) {
    const socket = await this.#connect().catch((error) => {
      if (isExhaustion(error) && yieldPort()) return this.#connect();
      throw error;
    });
    // An abort that came when there was a socket already has closed it.
    this.#abort.signal.throwIfAborted();
    // ECONNREFUSED for one: nobody listens upstream, now. The datagram is lost, and the flow stays for the next.
    socket.on('error', () => this.#shared.stats.dropped.send++);
    socket.on('message', (message) => this.#answer(message));
    this.#socket = socket;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const message of waiting) this.#pass(message);
  }

  #connect() {
    const { source, names } = this.#shared;
    const options = { localAddress: source, lookup: names.lookup, signal: this.#abort.signal };
    return connectUdp({ ...this.upstream, ...options });
  }

  send(message) {
    const { limits, stats } = this.#shared;
    this.lastHeard = performance.now();
    this.#heard++;
    this.#up += sizeOf(message);
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
    const { limits, stats } = this.#shared;
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

  /** Its address may be forged: until the client has sent twice, it gets no more than it has sent (as QUIC, RFC 9000, section 8.1). */
  #answer(message) {
    const { limits, stats } = this.#shared;
    if (!this.isProven && this.#down + sizeOf(message) > this.#up * limits.amplification) {
      stats.dropped.unproven++;
      return;
    }
    this.#down += sizeOf(message);
    this.#onReply(message);
  }

  /** Its port rests, or is free at once. Returns how many datagrams go with it that were not sent. */
  close(rests) {
    // The signal would close an open socket, too, and it must not be closed twice.
    if (this.#socket === undefined) this.#abort.abort();
    else if (rests) this.#shared.resting.add(this.#socket, this.upstream);
    else this.#socket.close();
    const lost = this.#waiting?.length ?? 0;
    this.#waiting = undefined;
    return lost;
  }
}
