// What becomes of a port that was bound explicitly: until when the kernel withholds it from those that it assigns, and how few of them
// connectx binds where that is for long.
import { capabilities, connect } from 'connectx';
import * as sys from 'connectx/sys';
import { afterEach, expect, test } from 'vitest';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, exhaust, slowness } from '../helpers/sockets.js';

const { AF_INET, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, SOCK_STREAM, SOL_SOCKET, SO_LINGER, SO_REUSEADDR } =
  sys.constants;
const RESET = new Uint8Array(new Int32Array([1, 0]).buffer);
const SERVER = 5353;
const ONE = 20000;

const opened = new Set<number>();
afterEach(() => {
  for (const fd of opened) sys.close(fd);
  opened.clear();
});

/** A socket with SO_REUSEADDR and this source; port 0: assigned at connect. */
function bound(address: string, port: number): number {
  const fd = sys.socket(AF_INET, SOCK_STREAM);
  opened.add(fd);
  sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, RESET);
  if (port === 0) sys.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  sys.bind(fd, { address, port });
  return fd;
}

function close(fd: number): void {
  sys.close(fd);
  opened.delete(fd);
}

/** The port that the kernel assigns towards the server at this address; undefined: none. */
function assigned(address: string): number | undefined {
  const fd = bound('127.0.0.1', 0);
  try {
    sys.connect(fd, { address, port: SERVER });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRNOTAVAIL') return undefined;
    if (code !== 'EINPROGRESS') throw error;
  }
  return sys.getsockname(fd).port;
}

describeIsolated('one ephemeral port', () => {
  useNetwork({ range: [ONE, ONE] });

  test('it is assigned again when the kernel says so', async () => {
    await echoServer(SERVER, '0.0.0.0');
    expect(assigned('127.0.1.1')).toBe(ONE);
    const explicit = bound('127.0.0.2', ONE);
    expect(assigned('127.0.1.2')).toBeUndefined();
    close(explicit);
    const returns = assigned('127.0.1.3') === ONE;
    for (const fd of [...opened]) close(fd);
    // It tries that out by itself.
    expect(capabilities().boundPortsReturn).toBe(returns);
  });
});

describeIsolated('a few ephemeral ports', () => {
  useNetwork({ range: [20000, 20009] });

  test('to find out leaves nothing behind', async () => {
    await echoServer(SERVER, '0.0.0.0');
    capabilities();
    const { made } = await exhaust(100, (n) => {
      const port = assigned('127.0.1.1');
      if (port === undefined) throw new Error(`${n}`);
      return port;
    });
    expect(made).toHaveLength(10);
  });

  // Two connections at a time towards each of five destinations: two ports are enough.
  test('a range inside the ephemeral one binds as few ports as there are connections towards one destination', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const options = { port: SERVER, localAddress: '127.0.0.1', localPortRange: [20000, 20008] as const };
    const ports = new Set<number | undefined>();
    for (const host of ['127.0.1.1', '127.0.1.2', '127.0.1.3', '127.0.1.4', '127.0.1.5']) {
      for (let n = 0; n < 2; n++) ports.add((await connected(connect({ ...options, host }))).localPort);
    }
    // With the option the kernel assigns them, and none is withheld.
    if (!hasPortRange()) expect(ports.size).toBeLessThanOrEqual(3);
    let left = 0;
    while (assigned('127.0.1.9') !== undefined) left++;
    expect(left).toBeGreaterThanOrEqual(hasPortRange() ? 10 : 7);
  });
});

// With as many servers' sockets, below the 4,096 descriptors that a process may have at most where nobody has said otherwise.
describeIsolated('1,600 ephemeral ports', () => {
  useNetwork({ range: [20000, 21599] });

  // Where the kernel searches ranges by parity, a part of the range comes first, and then all of it.
  test('each of them is found, up to the last one', { timeout: 30_000 * slowness }, async () => {
    await echoServer(SERVER, '0.0.0.0');
    const ports = new Set<number | undefined>();
    const { error } = await exhaust(1601, async () => {
      const socket = await connected(connect({ host: '127.0.1.1', port: SERVER, localAddress: '127.0.0.1' }));
      ports.add(socket.localPort);
    });
    expect(ports.size).toBe(1600);
    expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
  });
});
