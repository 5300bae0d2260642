// UDP for tests: the cast of addresses, servers that echo, and the plain kernel as the control.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { readSync, writeSync } from 'node:fs';
import { connectUdp, connectUdpSync, type UdpConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { type Cast as PlainCast, families as plainFamilies, PORTS } from './families.js';
import { slowness, track, until } from './sockets.js';

export { type ConnectionError as UdpError, errorOf, exhaust, until } from './sockets.js';

const { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, SOCK_DGRAM, SOL_SOCKET } = sys.constants;
const { IP_BIND_ADDRESS_NO_PORT, IP_FREEBIND, IPV6_FREEBIND, SO_BINDTODEVICE, SO_REUSEADDR } = sys.constants;

export { PORTS, RANGE, SERVER, smallNetwork as udpNetwork } from './families.js';

/** As in ./families.js, with the type that `node:dgram` calls it by. */
export interface Cast extends PlainCast {
  type: dgram.SocketType;
}

export const families: readonly Cast[] = plainFamilies.map((cast) => ({
  ...cast,
  type: cast.version === 6 ? 'udp6' : 'udp4',
}));

/** Both functions, to be called alike. */
export const ways: readonly { way: string; open: (options: UdpConnectOptions) => Promise<dgram.Socket> }[] = [
  { way: 'connectUdp', open: async (options) => keep(await connectUdp(options)) },
  { way: 'connectUdpSync', open: async (options) => keep(connectUdpSync(options)) },
];

/** Closes the socket after the test, unless that was done before. */
export function keep(socket: dgram.Socket): dgram.Socket {
  track({
    close: () => {
      try {
        socket.close();
      } catch (error) {
        // dgram does not tell beforehand.
        if ((error as NodeJS.ErrnoException).code !== 'ERR_SOCKET_DGRAM_NOT_RUNNING') throw error;
      }
    },
  });
  return socket;
}

/** Resolves when the socket is closed. */
export async function closeNow(socket: dgram.Socket): Promise<void> {
  const closed = once(socket, 'close');
  socket.close();
  await closed;
}

/**
 * A server on each of these addresses that sends back what it hears. (One on the wildcard address would answer from whichever
 * address it likes.)
 */
export async function udpEcho(
  port: number,
  hosts: readonly string[],
  options: UdpServerOptions = {},
): Promise<dgram.Socket[]> {
  return Promise.all(
    hosts.map(async (host) => {
      const server = await udpServer(port, host, options);
      server.on('message', (message, { address, port }) => server.send(message, port, address));
      return server;
    }),
  );
}

/** A bound socket that does nothing by itself. */
export async function udpServer(port: number, host: string, options: UdpServerOptions = {}): Promise<dgram.Socket> {
  const server = keep(dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4'));
  const listening = once(server, 'listening');
  if (options.freeBind) {
    // Node has no such option; it adopts a bound descriptor.
    const fd = rawFd(host.includes(':') ? 6 : 4, { freeBind: true, bind: { address: host, port } });
    server.bind({ fd });
  } else {
    server.bind({ port, address: host, exclusive: true });
  }
  await listening;
  return server;
}

export interface UdpServerOptions {
  /** The address is none of an interface's: `IP_FREEBIND`, `IPV6_FREEBIND`. */
  freeBind?: boolean;
}

/**
 * Sends until the condition holds: at once, and again every 100 ms, because even loopback loses datagrams while the machine is
 * busy (`net.core.netdev_max_backlog` counts those of all namespaces). On a slow machine the first answer takes longer.
 */
export async function sendUntil(send: () => void, condition: () => boolean): Promise<void> {
  let next = performance.now();
  await until(() => {
    if (performance.now() >= next) {
      send();
      next += 100 * slowness;
    }
    return condition();
  });
}

/** Tokens that can be told from those of every other socket. */
class Tokens {
  static #sockets = 0;
  readonly #prefix = `token ${++Tokens.#sockets}/`;
  #sent = 0;

  next(): string {
    return `${this.#prefix}${++this.#sent}`;
  }

  /** Whether it is the last one; a repetition of an earlier one is passed over, and anything else is an error. */
  isLast(heard: string): boolean {
    if (heard === `${this.#prefix}${this.#sent}`) return true;
    if (heard.startsWith(this.#prefix)) return false;
    throw new Error(`heard ${heard}, which is not for ${this.#prefix}`);
  }
}

const tokensOf = new WeakMap<dgram.Socket, Tokens>();

/** Sends a token through each and waits for it to come back; anything else that comes is an error. */
export async function assertUdpEcho(...sockets: dgram.Socket[]): Promise<void> {
  await Promise.all(
    sockets.map(async (socket) => {
      const tokens = tokensOf.get(socket) ?? new Tokens();
      tokensOf.set(socket, tokens);
      const token = tokens.next();
      const heard: string[] = [];
      const listener = (message: Buffer) => void heard.push(message.toString());
      socket.on('message', listener);
      await sendUntil(
        () => socket.send(token),
        () => heard.splice(0).filter((message) => tokens.isLast(message)).length > 0,
      );
      socket.off('message', listener);
    }),
  );
}

/** What is done after socket(2), in this order. */
export interface UdpSteps {
  /** `SO_REUSEADDR` */
  reuse?: boolean;
  /** `IP_BIND_ADDRESS_NO_PORT` */
  noPort?: boolean;
  /** `IPV6_FREEBIND`, or `IP_FREEBIND` */
  freeBind?: boolean;
  /** `SO_BINDTODEVICE` */
  device?: string;
  bind?: sys.SocketAddress;
  connect?: sys.SocketAddress;
}

function rawFd(version: 4 | 6, { reuse, noPort, freeBind, device, bind, connect }: UdpSteps): number {
  const v6 = version === 6;
  const fd = sys.socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
  try {
    if (reuse) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (noPort) sys.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (freeBind) sys.setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
    if (device !== undefined) sys.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(device));
    if (bind) sys.bind(fd, bind);
    if (connect) sys.connect(fd, connect);
    return fd;
  } catch (error) {
    sys.close(fd);
    throw error;
  }
}

/**
 * A socket of a program that knows nothing of connectx, made step by step; the step that fails is thrown. Closed after the
 * test. (Not a dgram.Socket, because libuv sets SO_REUSEADDR on what it adopts.)
 */
export class RawUdp {
  readonly fd: number;
  readonly #tokens = new Tokens();
  #open = true;

  constructor(version: 4 | 6, steps: UdpSteps) {
    this.fd = rawFd(version, steps);
    track(this);
  }

  get localPort(): number {
    return sys.getsockname(this.fd).port;
  }

  get localAddress(): string {
    return sys.getsockname(this.fd).address;
  }

  /** The socket has to be connected. */
  send(text: string): void {
    writeSync(this.fd, text);
  }

  /** All that has been queued. */
  heard(): string[] {
    return queued(this.fd);
  }

  /** Sends a token and waits for it to come back; anything else that comes is an error. */
  async assertEcho(): Promise<void> {
    const token = this.#tokens.next();
    await sendUntil(
      () => this.send(token),
      () => this.heard().filter((message) => this.#tokens.isLast(message)).length > 0,
    );
  }

  setReuse(value: 0 | 1): void {
    sys.setsockopt(this.fd, SOL_SOCKET, SO_REUSEADDR, value);
  }

  close(): void {
    if (this.#open) sys.close(this.fd);
    this.#open = false;
  }
}

/** Takes what is queued for a descriptor, before Node sees it. */
export function queued(fd: number): string[] {
  const messages: string[] = [];
  const buffer = Buffer.alloc(2048);
  for (;;) {
    try {
      messages.push(buffer.toString('utf8', 0, readSync(fd, buffer)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      return messages;
    }
  }
}

/** The descriptor behind a socket. */
export function fdOf(socket: dgram.Socket): number {
  // A symbol of core's, because dgram shows its handle nowhere else.
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const { handle } = ((socket as unknown as Record<symbol, unknown>)[symbol] ?? {}) as { handle?: { fd: number } };
    if (handle !== undefined) return handle.fd;
  }
  throw new Error('the socket has no descriptor');
}

/** The ports of {@link PORTS} that a socket with SO_REUSEADDR cannot be bound to, at this address. */
export function lockedPorts(version: 4 | 6, address: string, ports: readonly number[] = PORTS): number[] {
  return ports.filter((port) => {
    try {
      new RawUdp(version, { reuse: true, bind: { address, port } }).close();
      return false;
    } catch {
      return true;
    }
  });
}
