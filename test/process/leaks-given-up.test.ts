// Connections that are given up before there is one leave nothing behind.
import { getEventListeners, setMaxListeners } from 'node:events';
import * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import { expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { CALLS, fails, leavesNothing } from '../helpers/leaks.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { rawBind } from '../helpers/raw.js';
import { closed, descriptorCount, echoServer } from '../helpers/sockets.js';

const [v4] = families as [(typeof families)[0]];
const CLOSED_PORT = 9;

const lookup = (...addresses: string[]) =>
  ((_host, _options, callback) => {
    process.nextTick(() =>
      callback(
        null,
        addresses.map((address) => ({ address, family: net.isIP(address) })),
      ),
    );
  }) as net.LookupFunction;

describeIsolated(`${CALLS} connections that are given up leave nothing behind`, () => {
  useNetwork(smallNetwork);

  test('aborted before', async () => {
    const signal = AbortSignal.abort();
    await leavesNothing(() =>
      fails(connect({ host: v4.remote, port: CLOSED_PORT, localAddress: v4.source, signal }), { code: 'ABORT_ERR' }),
    );
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('aborted while connecting', async () => {
    sysctl('ipv4.ip_local_port_range', '1024 65535');
    await echoServer(SERVER, v4.any);
    await leavesNothing(async () => {
      const controller = new AbortController();
      const { signal } = controller;
      const socket = connect({ host: v4.remote, port: SERVER, localAddress: v4.source, signal });
      expect(socket.connecting).toBe(true);
      const end = fails(socket, { code: 'ABORT_ERR' });
      controller.abort();
      await end;
      expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    });
  });

  // Core itself leaves one listener a socket.
  test('a signal that never aborts keeps no more listeners than with net.connect', async () => {
    const listeners = async (open: (options: net.TcpNetConnectOpts) => net.Socket) => {
      const { signal } = new AbortController();
      setMaxListeners(CALLS, signal);
      for (let call = 0; call < 500; call++) {
        await fails(open({ host: v4.remote, port: CLOSED_PORT, localAddress: '192.0.2.1', signal }), {
          code: 'EADDRNOTAVAIL',
        });
      }
      return getEventListeners(signal, 'abort').length;
    };
    expect(await listeners(connect)).toBeLessThanOrEqual(await listeners(net.connect));
  });

  test.each([
    { name: 'at once', destroy: (socket: net.Socket) => socket.destroy() },
    { name: 'in the same turn', destroy: (socket: net.Socket) => process.nextTick(() => socket.destroy()) },
    { name: 'during the lookup', destroy: (socket: net.Socket) => socket.destroy(), host: 'name' },
    {
      name: 'after the lookup',
      destroy: (socket: net.Socket) => socket.once('lookup', () => socket.destroy()),
      host: 'name',
    },
  ])('destroyed $name', async ({ destroy, host = v4.remote }) => {
    sysctl('ipv4.ip_local_port_range', '1024 65535');
    await echoServer(SERVER, v4.any);
    await leavesNothing(async () => {
      const options = { host, port: SERVER, localAddress: v4.source, lookup: lookup(v4.remote) };
      const socket = connect(options);
      destroy(socket);
      await fails(socket, undefined);
    });
  });

  test('destroyed in the middle of a search that yields to the event loop', async () => {
    // More ports than are tried in one turn, all locked.
    const held = Array.from({ length: 300 }, (_, index) => 30_000 + index);
    for (const port of held) rawBind({ address: v4.source, port });
    const options: ConnectOptions = {
      host: v4.remote,
      port: CLOSED_PORT,
      localAddress: v4.source,
      localPortRange: [30_000, 30_299],
    };
    // What is kept open to ask the kernel with.
    await fails(connect(options), { code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
    // Each call costs a search of 256 ports: fewer of them.
    const before = descriptorCount();
    for (let call = 0; call < 100; call++) {
      const socket = connect(options);
      if (call % 2 === 0) process.nextTick(() => socket.destroy());
      else setImmediate(() => socket.destroy());
      await closed(socket.on('error', () => {}));
    }
    await new Promise(setImmediate);
    expect(descriptorCount()).toBe(before);
    await fails(connect(options), { code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
    expect(descriptorCount()).toBe(before);
  });
});
