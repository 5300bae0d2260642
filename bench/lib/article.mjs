// A connected UDP socket by the algorithm of Cloudflare's article "How to stop running out of ephemeral ports and start to love
// long-lived connections" (2022), as anybody would write it over connectx/sys: the ports are looked at one after the other, from
// a random one on, and the first that has no socket towards the destination is locked, looked at again, and connected.
//
// What it gives is the bare descriptor, without a dgram.Socket around it: that much less work than the others have.
import { readFileSync } from 'node:fs';

const sysctl = (name) => readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim();

function readPorts() {
  const [low, high] = sysctl('ip_local_port_range').split(/\s+/).map(Number);
  const reserved = new Set();
  for (const part of sysctl('ip_local_reserved_ports').split(',').filter(Boolean)) {
    const [first, last = first] = part.split('-').map(Number);
    for (let port = first; port <= last; port++) reserved.add(port);
  }
  return { low, high, reserved };
}

const failure = (code, syscall) => Object.assign(new Error(`${syscall} ${code}`), { code, syscall });

export function articleUdp(sys, { family, remote, source }) {
  const { AF_INET, AF_INET6, SOCK_DGRAM, SOL_SOCKET, SO_COOKIE, SO_REUSEADDR } = sys.constants;
  const destination = { address: remote.host, port: remote.port };
  let ports;

  const findPort = () => {
    ports ??= readPorts();
    const { low, high, reserved } = ports;
    const count = high - low + 1;
    const start = Math.floor(Math.random() * count);
    for (let offset = 0; offset < count; offset++) {
      const port = low + ((start + offset) % count);
      if (reserved.has(port)) continue;
      if (sys.udpLookup({ address: source, port }, destination) === undefined) return port;
    }
    throw failure('EAGAIN', 'connect');
  };

  return () => {
    const local = { address: source, port: findPort() };
    const fd = sys.socket(family === 6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
    try {
      const cookie = sys.getsockopt(fd, SOL_SOCKET, SO_COOKIE, 8).readBigUInt64LE();
      sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      sys.bind(fd, local);
      // The lock: nobody else can bind this address and port now.
      sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
      if (sys.udpLookup(local, destination)?.cookie !== cookie) throw failure('EADDRINUSE', 'connect');
      sys.connect(fd, destination);
      sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    } catch (error) {
      sys.close(fd);
      throw error;
    }
    return { close: () => sys.close(fd) };
  };
}
