// Who the sockets of a batch without the addon have heard, each with a number; the addon has its own (native/udp/peers.h).
import type { Endpoint } from '../kernel/addon';

export interface BatchPeer {
  readonly socket: number;
  readonly end: Endpoint;
  /** Of a flow: it stays until the flow is closed. */
  readonly isKept: boolean;
}

export class BatchPeers {
  readonly #most: number;
  readonly #peers = new Map<number, BatchPeer>();
  /** The one that was silent for longest is first. */
  readonly #heard = new Map<string, number>();
  #lastId = 0;
  evicted = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get count(): number {
    return this.#peers.size;
  }

  get(id: number): BatchPeer | undefined {
    return this.#peers.get(id);
  }

  keep(socket: number, end: Endpoint): number {
    return this.#add({ socket, end, isKept: true });
  }

  intern(socket: number, end: Endpoint): number {
    const key = keyOf(socket, end);
    const known = this.#heard.get(key);
    this.#heard.delete(key);
    if (known === undefined && this.#heard.size >= this.#most) this.#evict();
    const id = known ?? this.#add({ socket, end, isKept: false });
    this.#heard.set(key, id);
    return id;
  }

  removeOf(socket: number): void {
    for (const [id, peer] of this.#peers) {
      if (peer.socket !== socket) continue;
      this.#peers.delete(id);
      if (!peer.isKept) this.#heard.delete(keyOf(socket, peer.end));
    }
  }

  #add(peer: BatchPeer): number {
    this.#peers.set(++this.#lastId, peer);
    return this.#lastId;
  }

  #evict(): void {
    for (const [key, id] of this.#heard) {
      this.#heard.delete(key);
      this.#peers.delete(id);
      this.evicted++;
      return;
    }
  }
}

function keyOf(socket: number, { address, port }: Endpoint): string {
  return `${socket} ${address} ${port}`;
}
