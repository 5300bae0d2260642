// A 4-tuple that somebody still holds, or held: TIME-WAIT, FIN-WAIT-2, CLOSE-WAIT.
import { once } from 'node:events';
import * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, sysctl, tcpStates, useNetwork } from '../helpers/netns.js';
import { rawConnect } from '../helpers/raw.js';
import {
  assertEcho,
  closed,
  connected,
  echoServer,
  errorOf,
  exhaust,
  failure,
  track,
  until,
} from '../helpers/sockets.js';

const tupleInUse = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'tuple-in-use' };
const portsExhausted = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'ports-exhausted' };

/** A server that ends each connection at once, so that TIME-WAIT is on its side. */
async function closingServer(port: number, host: string): Promise<net.Server> {
  const server = track(net.createServer((socket) => track(socket).end()));
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}

describeIsolated('a 4-tuple that is held', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, version, source, remote, remote2 }) => {
    const bracketed = (address: string, port: number) =>
      version === 6 ? `[${address}]:${port}` : `${address}:${port}`;
    const to = (host: string, localPort?: number): ConnectOptions => ({
      host,
      port: SERVER,
      localAddress: source,
      localPort,
    });
    const has = (state: string, local: string, far: string) =>
      tcpStates().some((one) => one.state === state && one.local === local && one.remote === far);
    /** The last ACK may be a delayed one. */
    const reached = (state: string, local: string, far: string) =>
      until(
        () => has(state, local, far),
        () => `${state} from ${local} to ${far}: ${JSON.stringify(tcpStates())}`,
      );

    /** A connection that the client has closed first. */
    const clientCloses = async (localPort: number) => {
      const socket = await connected(connect(to(remote, localPort)));
      await assertEcho(socket);
      socket.end();
      await closed(socket);
      await reached('TIME-WAIT', bracketed(source, localPort), bracketed(remote, SERVER));
    };

    // 20001: pinned first; 30000: bound explicitly at once.
    describe.each([20001, 30000])('TIME-WAIT, source port %d', (port) => {
      test('the client closed first: connects at once', async () => {
        // (source, port, remote) TIME-WAIT
        // (source, port, remote) --> # 1
        sysctl('ipv4.tcp_tw_reuse', 0);
        await echoServer(SERVER, any);
        await clientCloses(port);
        const socket = await connected(connect(to(remote, port)));
        await assertEcho(socket);
        expect(socket).toMatchObject({ localAddress: source, localPort: port });
      });

      test('again and again', async () => {
        sysctl('ipv4.tcp_tw_reuse', 0);
        await echoServer(SERVER, any);
        for (let n = 0; n < 5; n++) await clientCloses(port);
      });

      test('the client closed first, without TCP timestamps: tuple-in-use', async () => {
        // (source, port, remote) TIME-WAIT
        // (source, port, remote)  --> # ERR
        // (source, port, remote2) --> # 1
        sysctl('ipv4.tcp_tw_reuse', 0);
        sysctl('ipv4.tcp_timestamps', 0);
        await echoServer(SERVER, any);
        await clientCloses(port);
        const error = await failure(connect(to(remote, port)));
        expect(error).toMatchObject({ ...tupleInUse, localAddress: source, localPort: port });
        await assertEcho(await connected(connect(to(remote2, port))));
      });

      test('the server closed first: connects at once', async () => {
        sysctl('ipv4.tcp_tw_reuse', 0);
        await closingServer(SERVER, any);
        for (let n = 0; n < 3; n++) {
          const socket = await connected(connect(to(remote, port)));
          socket.resume();
          await closed(socket);
          await reached('TIME-WAIT', bracketed(remote, SERVER), bracketed(source, port));
        }
      });
    });

    test('control: an explicit bind takes a tuple in TIME-WAIT over, and a pin, where the kernel has one, does not', async () => {
      sysctl('ipv4.tcp_tw_reuse', 0);
      await echoServer(SERVER, any);
      await clientCloses(20001);
      const far = { address: remote, port: SERVER };
      const pin = { noPort: true, range: [20001, 20001] as const, bind: { address: source, port: 0 } };
      const refused = hasPortRange()
        ? { code: 'EADDRNOTAVAIL', syscall: 'connect' }
        : { code: 'ENOPROTOOPT', syscall: 'setsockopt' };
      expect(await errorOf(() => rawConnect(far, pin))).toMatchObject(refused);
      await assertEcho(rawConnect(far, { reuse: true, bind: { address: source, port: 20001 } }));
    });

    test('every port in TIME-WAIT: auto-assignment has nothing to give', async () => {
      // (source, *, remote) TIME-WAIT # 4
      // (source, *, remote)  --> # ERR
      // (source, *, remote2) --> # 4
      sysctl('ipv4.tcp_tw_reuse', 0);
      await echoServer(SERVER, any);
      for (const port of PORTS) await clientCloses(port);
      const options = { port: SERVER, localAddress: source };
      expect(await failure(connect({ ...options, host: remote }))).toMatchObject(portsExhausted);
      const { made } = await exhaust(100, () => connected(connect({ ...options, host: remote2 })));
      // Where the ports were bound explicitly, they are taken for all destinations.
      expect(made).toHaveLength(hasPortRange() ? PORTS.length : 0);
    });

    test('a search over ports in TIME-WAIT takes them over', async () => {
      // (source, 30000-30001, remote) TIME-WAIT # 2
      // (source, 30000-30001, remote) --> # 2
      sysctl('ipv4.tcp_tw_reuse', 0);
      await echoServer(SERVER, any);
      await clientCloses(30000);
      await clientCloses(30001);
      const options = { host: remote, port: SERVER, localAddress: source, localPortRange: [30000, 30001] as const };
      const { made, error } = await exhaust(100, () => connected(connect(options)));
      expect(made.map(({ localPort }) => localPort).sort()).toEqual([30000, 30001]);
      expect(error).toMatchObject(portsExhausted);
    });

    describe.each([20001, 30000])('half closed, source port %d', (port) => {
      test('FIN-WAIT-2: tuple-in-use', async () => {
        // The client has ended, the server has not.
        sysctl('ipv4.tcp_tw_reuse', 0);
        const server = track(net.createServer({ allowHalfOpen: true }, (socket) => track(socket).resume()));
        server.listen(SERVER, any);
        await once(server, 'listening');
        const accepted = once(server, 'connection') as Promise<[net.Socket]>;
        const socket = await connected(connect({ ...to(remote, port), allowHalfOpen: true }));
        const [far] = await accepted;
        const heard = once(far, 'end');
        socket.end();
        await heard;
        await reached('FIN-WAIT-2', bracketed(source, port), bracketed(remote, SERVER));
        expect(await failure(connect(to(remote, port)))).toMatchObject(tupleInUse);
      });

      test('CLOSE-WAIT: tuple-in-use', async () => {
        // The server has ended, the client has not.
        sysctl('ipv4.tcp_tw_reuse', 0);
        await closingServer(SERVER, any);
        const socket = await connected(connect({ ...to(remote, port), allowHalfOpen: true }));
        const heard = once(socket, 'end');
        socket.resume();
        await heard;
        await reached('CLOSE-WAIT', bracketed(source, port), bracketed(remote, SERVER));
        expect(await failure(connect(to(remote, port)))).toMatchObject(tupleInUse);
      });
    });

    test('every port half closed: ports-exhausted', async () => {
      await closingServer(SERVER, any);
      for (const port of PORTS) {
        const socket = await connected(connect({ ...to(remote, port), allowHalfOpen: true }));
        const heard = once(socket, 'end');
        socket.resume();
        await heard;
      }
      expect(await failure(connect({ host: remote, port: SERVER, localAddress: source }))).toMatchObject(
        portsExhausted,
      );
    });

    test('a reset connection leaves nothing behind', async () => {
      sysctl('ipv4.tcp_tw_reuse', 0);
      sysctl('ipv4.tcp_timestamps', 0);
      await echoServer(SERVER, any);
      for (let n = 0; n < 3; n++) {
        const socket = await connected(connect(to(remote, 20001)));
        await assertEcho(socket);
        socket.resetAndDestroy();
        await closed(socket);
        expect(tcpStates().filter(({ local }) => local === bracketed(source, 20001))).toEqual([]);
      }
    });
  });
});
