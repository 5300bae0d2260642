// What a program does to the socket within its own functions, or behind our back: the process lives, and the pool counts right.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as http from 'node:http';
import type * as net from 'node:net';
import { connect, type ConnectOptions, SourcePool } from 'connectx';
import { HttpAgent } from 'connectx/http';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { closed, connected, descriptorCount, echoServer, until } from '../helpers/sockets.js';

describeIsolated('callbacks', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, version, source, source2, remote }) => {
    const ends = {
      'destroy()': (socket: net.Socket) => socket.destroy(),
      'destroy(error)': (socket: net.Socket) => socket.destroy(new Error('mine')),
      abort: (_socket: net.Socket, controller: AbortController) => controller.abort(),
    };
    const lookup: net.LookupFunction = (_name, _options, callback) =>
      process.nextTick(callback, null, [
        { address: remote, family: version },
        { address: remote, family: version },
      ]);

    describe.each(Object.entries(ends))('%s', (_name, end) => {
      test.each(['function', 'strategy', 'function, of a name', 'function, throws'])('in a %s', async (where) => {
        await echoServer(SERVER, any);
        const before = descriptorCount();
        const controller = new AbortController();
        const act = () => {
          end(socket, controller);
          if (where.endsWith('throws')) throw new Error('and throws');
          return source;
        };
        const pool = new SourcePool([source, source2], { strategy: act });
        const options: ConnectOptions = {
          ...(where.endsWith('name') ? { host: 'some.example', lookup } : { host: remote }),
          port: SERVER,
          localAddress: where === 'strategy' ? pool : act,
          signal: controller.signal,
        };
        const errors: Error[] = [];
        const socket = connect(options).on('error', (error) => errors.push(error));
        await closed(socket);
        expect(errors.length).toBeLessThanOrEqual(1);
        expect(pool.stats().inUse).toBe(0);
        await until(() => descriptorCount() === before);
      });
    });

    test('agent.destroy() in a source function', async () => {
      await echoServer(SERVER, any);
      const agent = new HttpAgent({
        localAddress: () => {
          agent.destroy();
          return source;
        },
      });
      const request = http.get({ host: remote, port: SERVER, family: version, agent });
      const [error] = (await once(request, 'error')) as [NodeJS.ErrnoException];
      expect(error.code).toBe('ECONNRESET');
    });

    describe('a lease ends with the connection', () => {
      const opened = async (pool: SourcePool): Promise<net.Socket> => {
        await echoServer(SERVER, any);
        const socket = await connected(connect({ host: remote, port: SERVER, localAddress: pool }));
        expect(pool.stats().inUse).toBe(1);
        return socket;
      };

      test('of which every listener was removed', async () => {
        const pool = new SourcePool([source]);
        const socket = await opened(pool);
        socket.removeAllListeners().destroy();
        await until(() => pool.stats().inUse === 0);
      });

      test('that is reset', async () => {
        const pool = new SourcePool([source]);
        const socket = await opened(pool);
        socket.resetAndDestroy();
        await closed(socket);
        expect(pool.stats().inUse).toBe(0);
      });

      test('of an agent, which a proxy has handed over', async () => {
        const proxy = http.createServer().on('connect', (_request, socket) => {
          socket.on('error', () => {}).write('HTTP/1.1 200 OK\r\n\r\n');
        });
        await once(proxy.listen(SERVER, any), 'listening');
        try {
          const pool = new SourcePool([source]);
          const agent = new HttpAgent({ localAddress: pool });
          const request = http.request({ host: remote, port: SERVER, method: 'CONNECT', path: 'x:1', agent }).end();
          const [, socket] = (await once(request, 'connect')) as [unknown, net.Socket];
          expect(pool.stats().inUse).toBe(1);
          socket.removeAllListeners().destroy();
          await until(() => pool.stats().inUse === 0);
        } finally {
          proxy.closeAllConnections();
          proxy.close();
        }
      });

      test('sent to another process', async () => {
        const pool = new SourcePool([source]);
        const socket = await opened(pool);
        const child = fork(fixture('receive.mjs'));
        await once(child, 'message');
        child.send('take it', socket);
        await until(() => pool.stats().inUse === 0);
        child.kill();
        await once(child, 'exit');
      });
    });
  });
});
