// A connection of core's that sets no source, and gets one by its destination. What is known of each destination is a Connection, as if
// the program had asked for that source; a destination for which there is none is core's.
import type * as net from 'node:net';
import type { Destination, Family } from '../values/address';
import { type Bystander, standBeside } from './beside';
import { Connection, handleOf } from './connection';
import type { TcpHandle } from './core_handle';
import type { Native } from '../kernel/addon';
import { netDenial } from '../kernel/permission';
import type { Source } from '../source/options';
import type { Broken } from './takeover';

/** The source of a destination; undefined: core connects it. */
export type Choose = (destination: Destination) => Source | undefined;

/** To be called before core connects the socket; `broken` with what is missing when Node no longer does what is relied on. Returns what takes it back. */
export function assign(socket: net.Socket, native: Native, choose: Choose, broken: Broken): () => void {
  return standBeside(socket, new Assigned(native, choose, broken));
}

class Assigned implements Bystander {
  readonly #native: Native;
  readonly #choose: Choose;
  readonly #broken: Broken;
  readonly #connections = new Map<Source, Connection>();
  #wasAnnounced = false;

  constructor(native: Native, choose: Choose, broken: Broken) {
    this.#native = native;
    this.#choose = choose;
    this.#broken = broken;
  }

  onEvent(...given: Parameters<Bystander['onEvent']>): boolean {
    const [socket, event, address, port, family] = given;
    if (event === 'connectionAttempt') {
      this.#wasAnnounced = true;
      const connection = this.#towards(socket, address as string, port as number, family as Family);
      return connection === undefined || connection.onEvent(...given);
    }
    if (event === 'connect' && !this.#wasAnnounced && (handleOf(socket)?.fd ?? -1) >= 0) {
      this.#broken('it does not announce its connection attempts');
    }
    for (const connection of this.#connections.values()) if (!connection.onEvent(...given)) return false;
    return true;
  }

  isHeldBack(): boolean {
    return false;
  }

  onDestroy(error: Error | undefined): Error | undefined {
    let last = error;
    for (const connection of this.#connections.values()) last = connection.onDestroy(last);
    return last;
  }

  #towards(socket: net.Socket, address: string, port: number, family: Family): Connection | undefined {
    // Core says by itself that it may not be.
    if (!isUntouched(handleOf(socket), family) || netDenial(this.#native) !== undefined) return undefined;
    const source = this.#choose({ address, port, family });
    if (source === undefined) return undefined;
    // Its attempts come one after the other, as core's do.
    const connection = this.#connections.get(source) ?? new Connection({ ...source, overlap: false }, this.#native);
    this.#connections.set(source, connection);
    return connection;
  }
}

// Not one that has a source already: an agent of connectx has put it there, or another copy of connectx.
function isUntouched(handle: Partial<TcpHandle> | null, family: Family): boolean {
  if (handle === null || typeof handle.open !== 'function' || !Object.isExtensible(handle)) return false;
  const prototype = Object.getPrototypeOf(handle) as Partial<TcpHandle> | null;
  const name = family === 6 ? 'connect6' : 'connect';
  return typeof handle[name] === 'function' && handle[name] === prototype?.[name];
}
