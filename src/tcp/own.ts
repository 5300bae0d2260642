// Which sockets are connectx's own: they have their source already, or were given none on purpose.
import type * as net from 'node:net';

// Of whatever copy of connectx in the process.
const OWN = Symbol.for('connectx.Socket');

/** The objects of this class are. */
export function markOwn(of: { readonly prototype: net.Socket }): void {
  Object.defineProperty(of.prototype, OWN, { value: true });
}

export function isOwn(socket: net.Socket): boolean {
  return OWN in socket;
}
