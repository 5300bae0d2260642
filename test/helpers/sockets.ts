// Short ways to servers and connections for tests; all that they open is closed after the test.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import * as net from 'node:net';
import { afterEach } from 'vitest';

const open = new Set<{ destroy?(): void; close?(): void }>();

export function track<T extends { destroy?(): void; close?(): void }>(thing: T): T {
  open.add(thing);
  return thing;
}

afterEach(() => {
  for (const thing of open) {
    if (thing.destroy) thing.destroy();
    else thing.close?.();
  }
  open.clear();
});

/** A TCP server that sends back what it hears. */
export async function echoServer(port: number, host?: string): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    track(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  track(server);
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}

/** Resolves with the connected socket, rejects with its error. */
export async function connected<S extends net.Socket>(socket: S): Promise<S> {
  track(socket);
  await once(socket, 'connect');
  return socket;
}

/** Sends a token and waits for it to come back. */
export async function assertEcho(socket: net.Socket): Promise<void> {
  const token = `${Math.random()}`;
  socket.write(token);
  const [data] = (await once(socket, 'data')) as [Buffer];
  if (data.toString() !== token) throw new Error(`echoed ${data.toString()} for ${token}`);
}

/** The error that the socket ends with. */
export async function failure(socket: net.Socket): Promise<NodeJS.ErrnoException & Record<string, unknown>> {
  track(socket);
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => resolve(error as NodeJS.ErrnoException & Record<string, unknown>));
    socket.once('connect', () => reject(new Error(`connected from ${socket.localAddress}:${socket.localPort}`)));
  });
}

/** How many descriptors this process has open. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}
