// How many sockets are there? By the kernel's own count, which costs no look at any of them.
import type { Native } from './addon';

/** How many UDP sockets there are in the calling thread's network namespace; undefined when it cannot be read. */
export function udpSocketCount(native: Native): number | undefined {
  const v4 = native.readFile('/proc/thread-self/net/sockstat');
  // Not there without IPv6.
  const v6 = native.readFile('/proc/thread-self/net/sockstat6');
  if (typeof v4 !== 'string') return undefined;
  return inUse(v4, 'UDP') + (typeof v6 === 'string' ? inUse(v6, 'UDP6') : 0);
}

function inUse(sockstat: string, protocol: string): number {
  return Number(new RegExp(`^${protocol}: inuse (\\d+)`, 'm').exec(sockstat)?.[1] ?? Infinity);
}
