// An attempt, as far as the race of several is concerned.
import type { Destination } from '../values/address';
import type { ConnectRequest, Oncomplete, TcpHandle } from './core_handle';

/** Told what has become of an overtaken attempt: 0 or a negative errno. */
export type Overtaken = (status: number, readable: boolean, writable: boolean) => void;

export abstract class Racer {
  /** Core's, and what core waits for it with; undefined until core connects the handle. */
  request: ConnectRequest | undefined = undefined;
  oncomplete: Oncomplete | undefined = undefined;
  /** Undefined: core waits for this attempt, if anybody. Null: it was overtaken, and has ended since. */
  overtaken: Overtaken | null | undefined = undefined;

  abstract readonly handle: TcpHandle;
  abstract readonly destination: Destination;
}
