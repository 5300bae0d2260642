// The plain kernel as the control: sockets made step by step with connectx/sys.
import { constants as os } from 'node:os';
import * as net from 'node:net';
import * as sys from 'connectx/sys';
import { track } from './sockets.js';

const {
  AF_INET,
  AF_INET6,
  IP_BIND_ADDRESS_NO_PORT,
  IP_FREEBIND,
  IP_LOCAL_PORT_RANGE,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_FREEBIND,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
} = sys.constants;

/** What is done between socket(2) and connect(2), in this order. */
export interface Steps {
  /** `SO_REUSEADDR` */
  reuse?: boolean;
  /** `IP_BIND_ADDRESS_NO_PORT` */
  noPort?: boolean;
  /** `IP_LOCAL_PORT_RANGE` */
  range?: readonly [low: number, high: number];
  /** `IPV6_FREEBIND`, or `IP_FREEBIND` */
  freeBind?: boolean;
  bind?: sys.SocketAddress;
}

function rawSocket(address: string, { reuse, noPort, range, freeBind, bind }: Steps): number {
  const v6 = net.isIPv6(address);
  const fd = sys.socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM);
  try {
    if (reuse) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (noPort) sys.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (range) sys.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, range[0] + range[1] * 65536);
    if (freeBind) sys.setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
    if (bind) sys.bind(fd, bind);
    return fd;
  } catch (error) {
    sys.close(fd);
    throw error;
  }
}

/** A bound socket that neither listens nor connects; closed after the test. */
export function rawBind(bind: sys.SocketAddress, steps: Omit<Steps, 'bind'> = {}): number {
  const fd = rawSocket(bind.address, { ...steps, bind });
  track({ close: () => sys.close(fd) });
  return fd;
}

/**
 * socket(2), the steps, connect(2). The step that fails is thrown, with its errno and its system call. The `net.Socket` is
 * there only to talk and to close.
 */
export function rawConnect(remote: sys.SocketAddress, steps: Steps = {}): net.Socket {
  const fd = rawSocket(remote.address, steps);
  try {
    sys.connect(fd, remote);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).errno !== -os.errno.EINPROGRESS) {
      sys.close(fd);
      throw error;
    }
  }
  return track(new net.Socket({ fd }));
}
