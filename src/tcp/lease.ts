// A pool counts a connection for as long as its handle is open. That ends in one way only, whatever becomes of the socket: destroyed,
// reset, given up for another address, or sent to another process. Listeners would be no good: programs remove them.
import type { TcpHandle } from './core_handle';
import type { PoolLease } from '../source/pooled';

const kLease = Symbol('connectx.lease');

type Leased = TcpHandle & { [kLease]?: PoolLease | undefined };

/** Releases the lease when the handle is closed. There may be several. */
export function holdUntilClosed(handle: TcpHandle, lease: PoolLease): void {
  const leased: Leased = handle;
  const other = leased[kLease];
  leased[kLease] = other === undefined ? lease : both(other, lease);
  leased.close = closeAndRelease;
  if (typeof leased.reset === 'function') leased.reset = resetAndRelease;
}

function both(first: PoolLease, second: PoolLease): PoolLease {
  return {
    release: () => {
      first.release();
      second.release();
    },
  };
}

function release(handle: Leased): TcpHandle {
  const core = Object.getPrototypeOf(handle) as TcpHandle;
  handle.close = core.close;
  if (core.reset !== undefined) handle.reset = core.reset;
  handle[kLease]?.release();
  handle[kLease] = undefined;
  return handle;
}

function closeAndRelease(this: Leased, callback?: () => void): void {
  release(this).close(callback);
}

function resetAndRelease(this: Leased, callback?: () => void): number {
  return release(this).reset?.(callback) ?? 0;
}
