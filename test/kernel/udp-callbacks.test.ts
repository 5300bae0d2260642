// What a program does in its callbacks, and to its socket, past connectx.
import * as dgram from 'node:dgram';
import * as diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { BlockList } from 'node:net';
import { connectUdp, connectUdpSync, SourcePool } from 'connectx';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount } from '../helpers/sockets.js';
import { closeNow, errorOf, families, keep, PORTS, SERVER, udpNetwork, until, ways } from '../helpers/udp.js';

const ABORTED = { name: 'AbortError', code: 'ABORT_ERR' };
const EXHAUSTED = { code: 'EAGAIN', reason: 'ports-exhausted' };

describeIsolated('callbacks', () => {
  useNetwork(udpNetwork);
  afterEach(() => {
    vi.useRealTimers();
  });

  describe.each(families)('$family', ({ source, source2, remote, remote2 }) => {
    describe.each(ways)('$way', ({ open }) => {
      const to = { host: remote, port: SERVER };

      test('an abort inside localAddress()', async () => {
        const controller = new AbortController();
        const { signal } = controller;
        const localAddress = () => {
          controller.abort(new Error('enough'));
          return source;
        };
        const before = descriptorCount();
        const error = await errorOf(async () => open({ ...to, localAddress, signal }));
        expect(error).toMatchObject({ ...ABORTED, cause: new Error('enough') });
        expect(descriptorCount()).toBe(before);
      });

      test('an abort inside the strategy of a pool', async () => {
        const controller = new AbortController();
        const { signal } = controller;
        const pool = new SourcePool([source, source2], {
          strategy: ([first]) => {
            controller.abort();
            return first;
          },
        });
        expect(await errorOf(async () => open({ ...to, localAddress: pool, signal }))).toMatchObject(ABORTED);
        expect(pool.stats().inUse).toBe(0);
      });

      test('an abort in a subscriber to the trace', async () => {
        const controller = new AbortController();
        const { signal } = controller;
        const abort = () => {
          controller.abort();
        };
        diagnostics.subscribe('tracing:connectx:connect:start', abort);
        try {
          expect(await errorOf(async () => open({ ...to, localAddress: source, signal }))).toMatchObject(ABORTED);
        } finally {
          diagnostics.unsubscribe('tracing:connectx:connect:start', abort);
        }
      });

      test("emit('message') of the program's own, whatever with", async () => {
        const socket = await open({ ...to, localAddress: source });
        const heard = vi.fn();
        socket.on('message', heard);
        socket.emit('message', Buffer.from('bare'), undefined as never);
        (socket.emit as (event: string, ...rest: unknown[]) => boolean)('message', Buffer.from('barer'));
        expect(heard).toHaveBeenCalledTimes(2);
      });

      test('closed by the close() of core: the port is free at once, and the lease of the pool', async () => {
        const pool = new SourcePool([source]);
        const options = { ...to, localAddress: pool };
        const sockets = [];
        for (const _ of PORTS) sockets.push(await open(options));
        expect(pool.stats().inUse).toBe(PORTS.length);
        for (const socket of sockets) {
          socket.removeAllListeners();
          const closed = once(socket, 'close');
          dgram.Socket.prototype.close.call(socket);
          await closed;
        }
        expect(pool.stats().inUse).toBe(0);
        for (const _ of PORTS) await open({ ...to, localAddress: source });
        expect(await errorOf(async () => open({ ...to, localAddress: source }))).toMatchObject(EXHAUSTED);
      });

      test('disconnected and connected elsewhere: the 4-tuple is free again', async () => {
        const options = { ...to, localAddress: source };
        const sockets = [];
        for (const _ of PORTS) sockets.push(await open(options));
        expect(await errorOf(async () => open(options))).toMatchObject(EXHAUSTED);
        const [one] = sockets;
        const port = one?.address().port;
        one?.disconnect();
        one?.connect(SERVER, remote2);
        if (one !== undefined) await once(one, 'connect');
        const again = await open(options);
        expect(again.address().port).toBe(port);
        // The other one is not given back a second time when it is closed.
        if (one !== undefined) await closeNow(one);
        expect(await errorOf(async () => open(options))).toMatchObject(EXHAUSTED);
      });

      test('timers and clocks that stand still', async () => {
        const options = { ...to, localAddress: source, localPortRange: [20001, 20001] as const };
        const locker = dgram.createSocket(source.includes(':') ? 'udp6' : 'udp4');
        locker.bind({ address: source, port: 20001, exclusive: true });
        await once(locker, 'listening');
        keep(locker);
        vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'performance', 'Date', 'clearTimeout'] });
        expect(await errorOf(async () => open(options))).toMatchObject(EXHAUSTED);
      });
    });

    test.each(['shared', 'alone'])(
      "connectUdpSync, %s: an 'error' of the program's own is not the connect's",
      async (how) => {
        const options = { host: remote, port: SERVER, localAddress: source, localPort: PORTS[0] };
        if (how === 'shared') keep(connectUdpSync({ ...options, host: remote2 }));
        else await closeNow(connectUdpSync(options));
        const socket = keep(connectUdpSync(options));
        const heard = vi.fn();
        socket.on('error', heard);
        const connected = new Promise<void>((resolve) => {
          socket.once('connect', resolve);
        });
        socket.emit('error', new Error('mine'));
        expect(heard.mock.calls).toEqual([[new Error('mine')]]);
        await connected;
        expect(socket.remoteAddress()).toMatchObject({ address: remote, port: SERVER });
      },
    );

    test("connectUdp on a port that is shared: a 'connect' listener that throws does not keep it from its end", async () => {
      const options = { host: remote, port: SERVER, localAddress: source, localPort: PORTS[0] };
      keep(connectUdpSync({ ...options, host: remote2 }));
      const thrown: unknown[] = [];
      const throwing = (message: unknown) => {
        (message as { socket: dgram.Socket }).socket.on('connect', () => {
          throw new Error('mine');
        });
      };
      const listeners = process.rawListeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.on('uncaughtException', (error) => thrown.push(error));
      diagnostics.subscribe('udp.socket', throwing);
      try {
        const socket = keep(await connectUdp(options));
        expect(socket.remoteAddress()).toMatchObject({ address: remote, port: SERVER });
        await until(() => thrown.length > 0);
        expect(thrown).toEqual([new Error('mine')]);
      } finally {
        diagnostics.unsubscribe('udp.socket', throwing);
        process.removeAllListeners('uncaughtException');
        for (const listener of listeners) process.on('uncaughtException', listener as NodeJS.UncaughtExceptionListener);
      }
    });

    test('connectUdpSync: a peer that is blocked, while somebody traces', async () => {
      const list = new BlockList();
      list.addAddress(remote, source.includes(':') ? 'ipv6' : 'ipv4');
      const options = { host: remote, port: SERVER, localAddress: source, sendBlockList: list };
      const plain = connectUdpSync(options);
      // Node releases without the option pass over it.
      const isBlocked = await new Promise((resolve) => {
        plain.once('error', () => resolve(true));
        plain.once('connect', () => resolve(false));
      });
      if (!isBlocked) plain.close();
      const ended = vi.fn();
      diagnostics.subscribe('tracing:connectx:connect:end', ended);
      try {
        const socket = connectUdpSync(options);
        const [event] = await Promise.race([
          once(socket, 'error').catch((error: unknown) => [error]),
          once(socket, 'connect').then(() => ['connect']),
        ]);
        expect(event === 'connect').toBe(!isBlocked);
        if (!isBlocked) socket.close();
        expect(ended).toHaveBeenCalledOnce();
        expect(ended.mock.lastCall?.[0]).toMatchObject({ error: undefined, source: { address: source } });
      } finally {
        diagnostics.unsubscribe('tracing:connectx:connect:end', ended);
      }
    });
  });

  test('an abort inside lookup, whose answer comes all the same', async () => {
    const controller = new AbortController();
    const lookup = (_host: string, _options: unknown, done: (error: null, address: string, family: number) => void) => {
      controller.abort();
      done(null, '127.0.0.2', 4);
    };
    const before = descriptorCount();
    const options = { host: 'somebody.test', port: SERVER, lookup: lookup as never, signal: controller.signal };
    expect(await errorOf(() => connectUdp(options))).toMatchObject(ABORTED);
    await until(() => descriptorCount() === before);
  });
});
