// QUIC clients whose address changes (a NAT forgets them, or they change networks): the connection id names their flow. Only what all
// versions of QUIC have in common is read (RFC 8999): the relay has no keys.
//
// A packet of a server with a long header says which id the server has chosen. A client's packets with a short header begin with that id,
// without its length, so those lengths are tried that the server's ids have.

/** Whoever does not see the client's packets must not be able to guess them. */
const SHORTEST = 8;
/** Of version 1 and 2. */
const LONGEST = 20;
/** A server chooses one in a Retry packet, and then another one. Whoever forges a datagram of the server later changes nothing. */
const MOST_OF_A_FLOW = 2;

const LONG_HEADER = 0x80;
const VERSION = 1;
const LENGTH_OF_DESTINATION = 5;

const idAt = (data, offset, length) => Buffer.from(data.buffer, data.byteOffset + offset, length).toString('latin1');

/** The id that the sender of the packet has chosen for itself; undefined where it has a short header, or none that can be used. */
export function sourceIdOf({ data, offset, end }) {
  if (offset + LENGTH_OF_DESTINATION >= end || (data[offset] & LONG_HEADER) === 0) return undefined;
  // Version 0 is the answer to a version that the server does not speak, and has the client's ids.
  const version = offset + VERSION;
  if (data[version] + data[version + 1] + data[version + 2] + data[version + 3] === 0) return undefined;
  const at = offset + LENGTH_OF_DESTINATION + 1 + data[offset + LENGTH_OF_DESTINATION];
  const length = at < end ? data[at] : 0;
  if (length < SHORTEST || length > LONGEST || at + 1 + length > end) return undefined;
  return idAt(data, at + 1, length);
}

/** The flows of a route by the ids that their upstream has chosen. */
export class ConnectionIds {
  #flows = new Map();
  #idsOf = new Map();
  #lengths = new Set();

  /** To be called with what the upstream sends. */
  learn(flow, run) {
    const id = sourceIdOf(run);
    if (id === undefined || this.#flows.has(id)) return;
    const ids = this.#idsOf.get(flow) ?? [];
    if (ids.length >= MOST_OF_A_FLOW) return;
    this.#idsOf.set(flow, [...ids, id]);
    this.#flows.set(id, flow);
    this.#lengths.add(id.length);
  }

  /** The flow that a packet with a short header belongs to; undefined for all others. */
  flowOf({ data, offset, end }) {
    if (offset >= end || (data[offset] & LONG_HEADER) !== 0) return undefined;
    for (const length of this.#lengths) {
      const flow = offset + 1 + length <= end ? this.#flows.get(idAt(data, offset + 1, length)) : undefined;
      if (flow !== undefined) return flow;
    }
    return undefined;
  }

  forget(flow) {
    for (const id of this.#idsOf.get(flow) ?? []) this.#flows.delete(id);
    this.#idsOf.delete(flow);
  }
}

/**
 * Where the client of a flow may have gone. Anybody who has seen its packets can send some with its id, so an address that is new gets
 * nothing until the one before was silent for a while and the upstream has answered since; and the one before has the flow back with its
 * next datagram. What the new one sends is passed on meanwhile: the server can tell who has the keys.
 */
export class Whereabouts {
  #settle;
  #candidate;
  #before;

  /** `settle`: ms of silence. */
  constructor(settle) {
    this.#settle = settle;
  }

  /** The client has sent something from where it was: it has not gone. */
  stayed() {
    this.#candidate = undefined;
  }

  /** Whether this one may be the client. While another one may be, a third is turned away. */
  mayBe(peer) {
    const candidate = this.#candidate;
    return candidate === undefined || candidate.peer === peer || performance.now() - candidate.heard > this.#settle;
  }

  heard(peer, network) {
    const now = performance.now();
    if (this.#candidate?.peer !== peer) this.#candidate = { peer, network, since: now };
    this.#candidate.heard = now;
  }

  /** The upstream has answered: where the client is now, { peer, network, heard }; undefined where it was. */
  arrived() {
    const candidate = this.#candidate;
    if (candidate === undefined || performance.now() - candidate.since < this.#settle) return undefined;
    this.#candidate = undefined;
    return candidate;
  }

  /** It was here before. */
  left(peer) {
    this.#before = peer;
  }

  /** Whether this is where the client was before; asked once. */
  isBack(peer) {
    if (this.#before === undefined || this.#before !== peer) return false;
    this.#before = undefined;
    this.#candidate = undefined;
    return true;
  }
}
