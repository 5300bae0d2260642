// One client's way to the upstream: a connected socket of its own, and what waits for it.

/** A datagram without content is an IPv4 and a UDP header on the wire. */
const HEADERS = 28;
const sizeOf = ({ bytes, datagrams }) => bytes + HEADERS * datagrams;

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
  #waitingDatagrams = 0;
  #waitingBytes = 0;
  #socket;
  #abort = new AbortController();
  /** Of a route for QUIC, undefined otherwise. */
  #quic;
  #heard = 0;
  /** Bytes on the wire, until the client has sent twice. */
  #up = 0;
  #down = 0;

  /**
   * `about`: { key, network, upstream, quic? }, with quic: { ids, whereabouts, onMoved({ peer, network }) }; `shared`: { hub, source,
   * limits, stats, names, resting }.
   */
  constructor({ key, network, upstream, quic }, shared, onReply) {
    this.key = key;
    this.network = network;
    this.upstream = upstream;
    this.#quic = quic;
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
    const { hub, stats } = this.#shared;
    // ECONNREFUSED for one: nobody listens upstream, now. The datagram is lost, and the flow stays for the next.
    hub.listen(socket, { heard: (run) => this.#answer(run), failed: () => stats.dropped.send++ });
    this.#socket = socket;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const run of waiting) this.#count(run, hub.send(socket, run));
  }

  #connect() {
    const { hub, source, names } = this.#shared;
    const options = { localAddress: source, lookup: names.lookup, signal: this.#abort.signal };
    return hub.connect({ ...this.upstream, ...options });
  }

  /** What may be its client at another address has sent; see Whereabouts. False: it is not taken for the client. */
  sendFrom({ peer, network }, run) {
    const { whereabouts, onMoved } = this.#quic;
    if (!this.isOpen || !this.isProven) return false;
    if (whereabouts.isBack(peer)) {
      onMoved(this, { peer, network });
      this.send(run);
      return true;
    }
    if (!whereabouts.mayBe(peer)) return false;
    whereabouts.heard(peer, network);
    this.#count(run, run.forward(this.#socket));
    return true;
  }

  send(run) {
    this.#quic?.whereabouts.stayed();
    this.lastHeard = performance.now();
    this.#heard += run.datagrams;
    this.#up += sizeOf(run);
    if (this.#waiting === undefined) {
      this.#count(run, run.forward(this.#socket));
    } else {
      this.#queue(run);
    }
  }

  #queue(run) {
    const { limits, stats } = this.#shared;
    const bytes = Math.floor((limits.queueBytes - this.#waitingBytes) / Math.max(run.size, 1));
    const some = Math.min(run.datagrams, limits.queueDatagrams - this.#waitingDatagrams, bytes);
    stats.dropped.queue += run.datagrams - some;
    if (some === 0) return;
    const copy = run.copy(some);
    this.#waiting.push(copy);
    this.#waitingDatagrams += some;
    this.#waitingBytes += copy.bytes;
  }

  #count({ bytes, size, datagrams }, taken) {
    const { stats } = this.#shared;
    stats.dropped.queue += datagrams - taken;
    stats.passed('up', taken, Math.min(bytes, taken * size));
  }

  /** Its address may be forged: until the client has sent twice, it gets no more than it has sent (as QUIC, RFC 9000, section 8.1). */
  #answer(run) {
    if (this.#quic !== undefined) this.#follow(run);
    const { limits, stats } = this.#shared;
    const left = this.#up * limits.amplification - this.#down;
    const most = this.isProven ? run.datagrams : Math.max(0, Math.floor(left / (run.size + HEADERS)));
    // The last one may be shorter.
    const all = most >= run.datagrams || sizeOf(run) <= left;
    const some = all ? run.datagrams : most;
    stats.dropped.unproven += run.datagrams - some;
    if (some === 0) return;
    this.#down += all ? sizeOf(run) : some * (run.size + HEADERS);
    this.#onReply(run, some);
  }

  #follow(run) {
    const { ids, whereabouts, onMoved } = this.#quic;
    ids.learn(this, run);
    const moved = whereabouts.arrived();
    if (moved === undefined) return;
    const before = this.key;
    if (!onMoved(this, moved)) return;
    whereabouts.left(before);
    this.lastHeard = moved.heard;
  }

  /** Its port rests, or is free at once. Returns how many datagrams go with it that were not sent. */
  close(rests) {
    this.#quic?.ids.forget(this);
    // The signal would close an open socket, too, and it must not be closed twice.
    if (this.#socket === undefined) this.#abort.abort();
    else if (rests) this.#shared.resting.add(this.#socket, this.upstream);
    else this.#shared.hub.closeSocket(this.#socket);
    const lost = this.#waiting === undefined ? 0 : this.#waitingDatagrams;
    this.#waiting = undefined;
    return lost;
  }
}
