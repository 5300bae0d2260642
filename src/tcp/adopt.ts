// The one place where a TCP socket is opened and handed to Node, in one breath: V8 stops a worker thread that is being terminated
// wherever a function of JavaScript is entered, and a descriptor that nobody has adopted by then stays open until the process ends.
// The linter keeps other files from calling the addon's functions that open sockets.
import type { Family } from '../values/address';
import type { TcpHandle } from './core_handle';
import { Answer, domainOf } from '../kernel/constants';
import type { Native, TcpExtras } from '../kernel/addon';
import type { PortRange } from '../values/port_range';

/** Whose handle gets the socket. */
export interface Adopter {
  readonly native: Native;
  readonly family: Family;
  readonly source: { readonly extras: TcpExtras | null };
  readonly handle: TcpHandle;
  /** -1 while the handle has none. */
  fd: number;
}

/**
 * A socket with this source address (null: none is bound), and with this port bound explicitly (0: assigned by the kernel at connect(2),
 * from `range` where there is one). It takes the place of the one that the handle has: Node has not yet told epoll about that, which
 * comes with a connect(2) that is under way. 0, or the negative outcome of the addon.
 */
export function openAndAdopt(
  adopter: Adopter,
  local: string | null,
  port: number,
  range: PortRange | undefined,
): number {
  const { native, fd: over } = adopter;
  const { extras } = adopter.source;
  const domain = domainOf(adopter.family);
  if (over >= 0) {
    const outcome = native.tcpPrepare(domain, local, port, range?.low ?? 0, range?.high ?? 0, extras, over);
    return outcome < 0 ? outcome : 0;
  }
  const handle = innermost(adopter.handle);
  const fd =
    port === 0 && range === undefined && extras === null
      ? native.tcpPrepare(domain, local)
      : native.tcpPrepare(domain, local, port, range?.low ?? 0, range?.high ?? 0, extras);
  if (fd < 0) return fd;
  const status = handle.open(fd);
  if (status === 0) adopter.fd = fd;
  else native.close(fd);
  return status;
}

/**
 * The same with a port that the kernel will assign; 'elsewhere': it does not lie in the ephemeral range, and the socket is not bound. 0, or
 * the negative outcome of the addon.
 */
export function pinAndAdopt(adopter: Adopter, local: string | null, port: number): number | 'elsewhere' {
  const { native, fd: over } = adopter;
  const { extras } = adopter.source;
  const domain = domainOf(adopter.family);
  if (over >= 0) {
    const outcome = native.tcpPin(domain, local, port, extras, over);
    if (outcome < 0) return outcome;
    return native.answers[Answer.assigned] === 1 ? 0 : 'elsewhere';
  }
  const handle = innermost(adopter.handle);
  const fd = native.tcpPin(domain, local, port, extras, -1);
  if (fd < 0) return fd;
  // No function of JavaScript: not even one that reads it. A program's own open() may connect, too, and write there.
  const isAssigned = native.answers[Answer.assigned] === 1;
  const status = handle.open(fd);
  if (status !== 0) {
    native.close(fd);
    return status;
  }
  adopter.fd = fd;
  return isAssigned ? 0 : 'elsewhere';
}

/** 0 where this source address can be bound now, or the negative outcome of the addon. */
export function tryToBind({ native, family, source }: Adopter, local: string): number {
  const domain = domainOf(family);
  const fd = native.tcpPrepare(domain, local, 0, 0, 0, source.extras);
  return fd < 0 ? fd : native.close(fd);
}

// The handle of a TLS socket passes open() on to the one that it wraps, in a function of JavaScript.
function innermost(handle: TcpHandle): TcpHandle {
  return handle._parent ?? handle;
}
