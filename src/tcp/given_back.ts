// The local ports that sockets of this thread have given back a moment ago: closed is closed in one way only, by the handle. Nobody is
// watched before the first connect finds no port; from then on a handle tells its port when it is closed, while that is of interest.
import type { TcpHandle } from './core_handle';

/** A port that was given back. The 4-tuple may still be in LAST-ACK or TIME-WAIT. */
export interface GivenBack {
  /** As Node writes it. */
  readonly address: string;
  readonly port: number;
  /** `performance.now()` */
  readonly at: number;
  /** How many were given back before. */
  readonly serial: number;
}

type Closing = TcpHandle & { getsockname?(end: { address?: string; port?: number }): number };

/** So many are remembered. */
const MOST = 32;

/** How long, in ms, after the last refusal a close is of interest, and a port that was given back may still be on its way. */
export const INTEREST = 1000;

const clock = performance;

const recent: GivenBack[] = [];
let count = 0;
let interestUntil = 0;
const watched = new WeakSet();

/** How many ports were given back so far. */
export function givenBackCount(): number {
  return count;
}

/** Those that were given back after the first `seen` ones, newest last; undefined where they are too many to have been remembered. */
export function givenBackSince(seen: number): readonly GivenBack[] | undefined {
  const missed = count - seen;
  if (missed > recent.length) return undefined;
  return missed === 0 ? [] : recent.slice(-missed);
}

/** The number for {@link givenBackSince} from which on all are told that are still of interest. */
export function givenBackLately(now: number): number {
  const lately = recent.filter(({ at }) => now - at < INTEREST);
  return count - lately.length;
}

/**
 * From now on, and for a while, handles like this one tell when they are closed. False where that cannot be had: then nothing may be
 * remembered that a close would end.
 */
export function watchCloses(handle: TcpHandle, now: number): boolean {
  interestUntil = now + INTEREST;
  // The handle of a TLS socket passes close() on to the one that it wraps.
  const prototype = Object.getPrototypeOf(handle._parent ?? handle) as TcpHandle;
  if (watched.has(prototype)) return true;
  const { close, reset } = prototype;
  if (typeof close !== 'function' || typeof (prototype as Closing).getsockname !== 'function') return false;
  const isSet =
    put(prototype, 'close', function (this: Closing, callback?: () => void): void {
      tell(this);
      close.call(this, callback);
    }) &&
    (reset === undefined ||
      put(prototype, 'reset', function (this: Closing, callback?: () => void): number {
        tell(this);
        return reset.call(this, callback);
      }));
  if (isSet) watched.add(prototype);
  return isSet;
}

function put(prototype: object, name: string, value: unknown): boolean {
  const configurable = true;
  return Reflect.defineProperty(prototype, name, { value, configurable, writable: true, enumerable: false });
}

// Before it is closed, because it has no name afterwards.
function tell(handle: Closing): void {
  if (clock.now() >= interestUntil || handle.fd < 0) return;
  const end: { address?: string; port?: number } = {};
  try {
    if (handle.getsockname?.(end) !== 0) return;
  } catch {
    // The interface that a link-local address names is gone, and libuv cannot write the address (ENXIO). Some port comes back: all that
    // is remembered of the last ones is too little to go by.
    recent.length = 0;
    count++;
    return;
  }
  if (end.address === undefined || end.port === undefined || end.port === 0) return;
  recent.push({ address: end.address, port: end.port, at: clock.now(), serial: count });
  if (recent.length > MOST) recent.shift();
  count++;
}
