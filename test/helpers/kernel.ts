// In what kernels differ. The running one is asked where it can be; where it cannot, its version says.
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import * as sys from 'connectx/sys';

function atLeast(major: number, minor: number): boolean {
  const [ours = 0, ourMinor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return ours > major || (ours === major && ourMinor >= minor);
}

function hasFunction(name: string): boolean {
  const symbols = readFileSync('/proc/kallsyms', 'utf8');
  if (!symbols.includes(' T ')) throw new Error('/proc/kallsyms, which tells what the kernel has, is empty');
  return new RegExp(String.raw` [tT] ${name}$`, 'm').test(symbols);
}

/** `IP_LOCAL_PORT_RANGE` (Linux 6.3, and Debian's 6.1): asked of the kernel itself, not of `capabilities()`. */
export function hasPortRange(): boolean {
  const { AF_INET, IP_LOCAL_PORT_RANGE, IPPROTO_IP, SOCK_STREAM } = sys.constants;
  const fd = sys.socket(AF_INET, SOCK_STREAM);
  try {
    sys.getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOPROTOOPT') return false;
    throw error;
  } finally {
    sys.close(fd);
  }
}

/**
 * Connected UDP sockets are found by their 4-tuple (Linux 6.13): of two with the same one, the newer gets everything. Before,
 * a socket counts for more on the CPU on which it got its last datagram, and so either of them may.
 */
export const findsUdpByTuple = (): boolean => hasFunction('udp_lib_hash4');

/** sock_diag(7) tells of TCP sockets that are bound and nothing else (Linux 6.8). */
export const showsBoundSockets = (): boolean => atLeast(6, 8);

/**
 * bind(2) asks the sockets that have the port whether they still have `SO_REUSEADDR` (seen in Linux 6.12). Before (seen in 6.1), a port
 * whose sockets all had it when they were bound stays shared, whatever they do later.
 */
export const holdersCanLock = (): boolean => atLeast(6, 12);
