// Datagrams from whatever address and port, as somebody sends them who has the network and no scruples: by a raw socket.
import { writeSync } from 'node:fs';
import * as net from 'node:net';
import * as sys from 'connectx/sys';

const SOCK_RAW = 3;
/** linux/in6.h: the kernel fills in the checksum at this offset of the payload, which UDP over IPv6 must have. */
const IPV6_CHECKSUM = 7;

/** Sends one UDP datagram that says it comes from `from`; the address has to be one of this machine's. */
export function forge(from: sys.SocketAddress, to: sys.SocketAddress, payload: Uint8Array | string): void {
  const { AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_UDP } = sys.constants;
  const v6 = net.isIPv6(from.address);
  const body = Buffer.from(payload);
  const datagram = Buffer.alloc(8 + body.length);
  datagram.writeUInt16BE(from.port, 0);
  datagram.writeUInt16BE(to.port, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  body.copy(datagram, 8);
  const fd = sys.socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_UDP);
  try {
    if (v6) sys.setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, 6);
    sys.bind(fd, { address: from.address, port: 0 });
    sys.connect(fd, { address: to.address, port: 0 });
    writeSync(fd, datagram);
  } finally {
    sys.close(fd);
  }
}
