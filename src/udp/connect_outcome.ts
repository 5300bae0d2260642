// What dgram makes of a connect, and what it knows of its socket. dgram keeps its state behind a symbol of its own: where a release (or
// another runtime) has it elsewhere, nothing is known.
import type * as dgram from 'node:dgram';

interface DgramState {
  /** Null once the socket is closed. */
  readonly handle?: { readonly fd?: unknown } | null;
  readonly connectState?: unknown;
}

/** `connectState` of dgram where connect(2) has worked. */
const CONNECTED = 2;

let stateSymbol: symbol | undefined;

function stateOf(socket: dgram.Socket): DgramState | undefined {
  stateSymbol ??= Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol');
  const states = socket as unknown as Record<symbol, DgramState | undefined>;
  return stateSymbol === undefined ? undefined : states[stateSymbol];
}

/** The descriptor of a bound socket; null: it is closed; undefined: nobody can tell. */
export function descriptorOf(socket: dgram.Socket): number | null | undefined {
  const handle = stateOf(socket)?.handle;
  if (handle === null) return null;
  return typeof handle?.fd === 'number' ? handle.fd : undefined;
}

/** Whether connect(2) has worked; false also where nobody can tell. */
export function isConnected(socket: dgram.Socket): boolean {
  return stateOf(socket)?.connectState === CONNECTED;
}

/** Hears of the end of a connect. */
export type Done = (error?: Error) => void;

/**
 * Starts a connect, and tells of its end. Nothing is told where `start` has thrown, and whoever called it has closed the socket: core calls
 * back all the same.
 */
export function startedWith<S>(start: (done: Done) => S, told: (socket: S, error: Error | undefined) => void): S {
  const made: { socket?: S } = {};
  made.socket = start((error) => {
    if (made.socket !== undefined) told(made.socket, error);
  });
  return made.socket;
}

/** dgram tells in the next tick, and whoever waits for that may come before or after. */
export class ConnectOutcome {
  private done: Done | undefined = undefined;
  private told: { readonly error: Error | undefined } | undefined = undefined;

  tell(error: Error | undefined): void {
    if (this.done === undefined) this.told = { error };
    else this.done(error);
  }

  /** `done` is called later. */
  whenTold(done: Done): void {
    if (this.told === undefined) this.done = done;
    else process.nextTick(done, this.told.error);
  }
}
