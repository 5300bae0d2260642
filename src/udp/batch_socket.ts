// The sockets of a UdpBatch, as a program holds them.
import type { AddressInfo } from 'node:net';
import { notRunning } from '../errors/argument_errors';
import type { PoolLease } from '../source/pooled';
import { addressOf, type Engine } from './batch_engine';
import type { ConnectOne } from './connect';

/** An engine that connects. */
export interface FlowEngine extends Engine {
  readonly connectOne: ConnectOne<UdpFlow>;
}

/** Where datagrams can be sent: a flow, or what {@link UdpServer.target} gave. */
export type Target = number | UdpFlow;

/** Closes what a socket holds beside its descriptor. */
type Release = () => void;

abstract class BatchSocket {
  /** What `batch.socket` has for runs that this socket has received. Not used again for a long time. */
  readonly id: number;
  readonly #engine: Engine;
  readonly #releases: Release[];
  #isClosed = false;

  constructor(engine: Engine, id: number, release: Release) {
    this.id = id;
    this.#engine = engine;
    this.#releases = [release];
  }

  protected get engine(): Engine {
    if (this.#isClosed) throw notRunning();
    return this.#engine;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Its own end. Throws ERR_SOCKET_DGRAM_NOT_RUNNING when it is closed. */
  address(): AddressInfo {
    return addressOf(this.engine.address(this.id));
  }

  /** At once: nothing of it is delivered any more, and what is sent through it is dropped. Does nothing when it is closed. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#engine.closeSocket(this.id);
    for (const release of this.#releases) release();
  }

  /** @internal */
  onceClosed(release: Release): void {
    if (this.#isClosed) release();
    else this.#releases.push(release);
  }
}

/** A socket that hears everybody. */
export class UdpServer extends BatchSocket {
  /**
   * Where to send to reach a peer that this socket has heard: `batch.peer[i]`. Numbers of peers that were forgotten stay harmless: what is
   * sent to one is dropped, and counted as `stale`.
   */
  target(peer: number): Target {
    return peer;
  }

  /** Who that is; undefined when it was forgotten. */
  peerAddress(peer: number): AddressInfo | undefined {
    const end = this.engine.peer(peer);
    return end && addressOf(end);
  }
}

/** A connected socket: it hears its peer, and nobody else. */
export class UdpFlow extends BatchSocket {
  /** Its number as a target, which is `batch.peer[i]` of what it has received. */
  readonly target: number;
  constructor(engine: Engine, id: number, target: number, release: Release) {
    super(engine, id, release);
    this.target = target;
  }

  /** Its peer. */
  remoteAddress(): AddressInfo {
    const end = this.engine.peer(this.target);
    if (end === undefined) throw notRunning();
    return addressOf(end);
  }

  /** @internal The source is in use until the flow is closed. */
  holdSource(lease: PoolLease): void {
    this.onceClosed(() => lease.release());
  }
}
