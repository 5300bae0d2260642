// Short ways to servers and connections for tests; all that they open is closed after the test.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import * as net from 'node:net';
import { afterEach } from 'vitest';

/** How much slower than usual the machine is; set by scripts/test-kernels.mjs for an emulated one. */
export const slowness = Number(process.env.CONNECTX_TEST_SLOWNESS ?? 1);

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
export async function failure(socket: net.Socket): Promise<ConnectionError> {
  track(socket);
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => resolve(error as ConnectionError));
    socket.once('connect', () => reject(new Error(`connected from ${socket.localAddress}:${socket.localPort}`)));
  });
}

/** What an error says of a connection that could not be made. */
export type ConnectionError = NodeJS.ErrnoException & Record<string, unknown>;

/** What `act` throws, or rejects with. */
export async function errorOf(act: () => unknown): Promise<ConnectionError> {
  try {
    await act();
  } catch (error) {
    return error as ConnectionError;
  }
  throw new Error('nothing failed');
}

/** Repeats `open` until it fails, `limit` times at most: what came of it before, and the error. */
export async function exhaust<T>(
  limit: number,
  open: (n: number) => T | Promise<T>,
): Promise<{ made: T[]; error: ConnectionError | undefined }> {
  const made: T[] = [];
  try {
    while (made.length < limit) made.push(await open(made.length));
  } catch (error) {
    return { made, error: error as ConnectionError };
  }
  return { made, error: undefined };
}

/** The descriptor behind a socket. */
export function fdOf(socket: net.Socket): number {
  const { _handle: handle } = socket as unknown as { _handle: { fd: number } | null };
  if (handle === null) throw new Error('the socket has no descriptor');
  return handle.fd;
}

/** Resolves when the socket has closed, in whatever way. */
export async function closed(socket: net.Socket): Promise<void> {
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
}

/** Resolves as soon as the condition holds. For what no event tells of; asks for some seconds at most, or `patience` times as long. */
export async function until(
  condition: () => boolean,
  what: () => unknown = () => String(condition),
  patience = 1,
): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n === 5000 * slowness * patience) throw new Error(`it does not come about: ${String(what())}`);
    // At first in each turn of the event loop, then without keeping others from their work.
    await new Promise((resolve) => (n < 50 ? setImmediate(resolve) : setTimeout(resolve, 1)));
  }
}

/** How many descriptors this process has open. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}
