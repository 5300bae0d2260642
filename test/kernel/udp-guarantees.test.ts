// What connectUdp promises, each beside what the plain kernel does: nobody is overshadowed, no stranger is heard, and no port
// stays locked.
import type * as dgram from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { connectUdp, connectUdpSync } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { track } from '../helpers/sockets.js';
import {
  assertUdpEcho,
  type Cast,
  closeNow,
  errorOf,
  families,
  fdOf,
  lockedPorts,
  PORTS,
  queued,
  RawUdp,
  SERVER,
  sendUntil,
  udpEcho,
  udpNetwork,
  udpServer,
  until,
  ways,
} from '../helpers/udp.js';

const { SO_REUSEADDR, SOL_SOCKET } = sys.constants;
const reuseOf = (socket: dgram.Socket) => sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_REUSEADDR);

function thread(name: string, workerData: unknown): Worker {
  const worker = new Worker(join(import.meta.dirname, '../fixtures', name), { execArgv: [], workerData });
  track({ close: () => void worker.terminate() });
  return worker;
}

/** From now on, until the end of the test, a stranger floods these ports. */
async function flood({ type, source2 }: Cast, to: string, ports: readonly number[]): Promise<void> {
  await once(thread('udp-flood.mjs', { type, from: source2, to, ports }), 'message');
}

describeIsolated('a datagram from a stranger', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, source2, remote, remote2, remote3 } = cast;

    // (lhost, lport) bound
    // stranger --> (lhost, lport)
    // (lhost, lport, remote) --> # 1, heard
    // stranger --> (lhost, lport) # ERR
    test('control: what comes between bind(2) and connect(2) is heard, and nothing after that', async () => {
      const stranger = new RawUdp(version, {
        bind: { address: source2, port: 30000 },
        connect: { address: source, port: 20001 },
      });
      const heard: string[] = [];
      await until(() => {
        const socket = new RawUdp(version, { bind: { address: source, port: 20001 } });
        stranger.send('before');
        sys.connect(socket.fd, { address: remote, port: SERVER });
        heard.push(...socket.heard());
        socket.close();
        return heard.length > 0;
      });
      expect(heard).toEqual(['before']);
      const socket = new RawUdp(version, {
        bind: { address: source, port: 20001 },
        connect: { address: remote, port: SERVER },
      });
      const error = await errorOf(() =>
        sendUntil(
          () => stranger.send('after'),
          () => false,
        ),
      );
      expect(error.code).toBe('ECONNREFUSED');
      expect(socket.heard()).toEqual([]);
    });

    test('control: under a flood, sockets that are bound and then connected hear the stranger', async () => {
      await flood(cast, source, PORTS);
      let foreign = 0;
      await until(() => {
        for (const port of PORTS) {
          const socket = new RawUdp(version, {
            bind: { address: source, port },
            connect: { address: remote, port: SERVER },
          });
          foreign += socket.heard().length;
          socket.close();
        }
        return foreign > 0;
      });
    });

    // stranger --> (lhost, every port), all the time
    // (lhost, *, remote1 ... remote3) --> # 10,000
    test('connectUdp, connectUdpSync: under a flood, 10,000 sockets hear their peers only', async () => {
      const remotes = [remote, remote2, remote3];
      await udpEcho(SERVER, remotes);
      await flood(cast, source, PORTS);
      const foreign: string[] = [];
      let left = 0;
      const connect = async (host: string, n: number): Promise<dgram.Socket> => {
        const options = { host, port: SERVER, localAddress: source };
        const socket = n % 2 === 0 ? connectUdpSync(options) : await connectUdp(options);
        if (n % 2 === 0) left += queued(fdOf(socket)).length;
        socket.on('message', (message, { address, port }) => {
          if (address !== host || port !== SERVER) foreign.push(`${address}:${port} ${message.toString()}`);
        });
        return socket;
      };
      for (let made = 0; made < 10_000; made += 12) {
        const sockets: dgram.Socket[] = [];
        for (const host of remotes) {
          for (const n of PORTS) sockets.push(await connect(host, n));
        }
        if (made % 1200 === 0) await assertUdpEcho(...sockets);
        else await new Promise(setImmediate);
        await Promise.all(sockets.map(closeNow));
      }
      expect(foreign).toEqual([]);
      // Whoever does not clear the queue finds some 1,000 in it; the few are what the kernel queued in the instant of connect(2).
      expect(left).toBeLessThan(100);
    });

    // (remote, *) --> (lhost, lport), all the time
    // (lhost, lport, remote) --> # 1, hears remote
    test.each(ways)('$way: what the peer sends is heard, whenever it was sent', async ({ open }) => {
      const peer = await udpServer(SERVER, remote);
      const sent = setInterval(() => peer.send('unasked', 20001, source), 1);
      track({ close: () => clearInterval(sent) });
      const socket = await open({ host: remote, port: SERVER, localAddress: source, localPort: 20001 });
      const [message] = (await once(socket, 'message')) as [Buffer];
      expect(message.toString()).toBe('unasked');
    });
  });
});

describeIsolated('every ephemeral port is held by a socket that does not share it', () => {
  useNetwork(udpNetwork);

  // (lhost, every port) bound without SO_REUSEADDR
  // (-, *, remote)      --> # ERR
  // (lhost2, *, remote) --> # 4
  describe.each(families)('$family', ({ version, source2, remote }) => {
    const to = { address: remote, port: SERVER };

    function holdAll(): string {
      const scout = new RawUdp(version, { connect: to });
      const { localAddress } = scout;
      scout.close();
      for (const port of PORTS) new RawUdp(version, { bind: { address: localAddress, port } });
      return localAddress;
    }

    test('control: the plain kernel cannot even tell the source', async () => {
      holdAll();
      const error = await errorOf(() => new RawUdp(version, { connect: to }));
      expect(error).toMatchObject({ code: 'EAGAIN', syscall: 'connect' });
    });

    test.each(ways)(
      '$way: given the destination only, it is ports-exhausted; another source works',
      async ({ open }) => {
        await udpEcho(SERVER, [remote]);
        const localAddress = holdAll();
        const error = await errorOf(() => open({ host: remote, port: SERVER }));
        expect(error).toMatchObject({ code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted', localAddress });
        for (const _ of PORTS) await assertUdpEcho(await open({ host: remote, port: SERVER, localAddress: source2 }));
      },
    );
  });
});

describeIsolated('the local address and port', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote, remote2, remote3 }) => {
    const bind = { address: source, port: 20001 };
    const share = () => new RawUdp(version, { reuse: true, bind });

    describe.each(ways)('$way', ({ open }) => {
      const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };

      test('are shared from the moment on in which the socket is connected', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open(tuple);
        expect(reuseOf(socket)).toBe(1);
        share();
        await assertUdpEcho(socket);
      });

      // (lhost, lport, remote) exclusive --> # 1
      // (lhost, lport) by anybody        --> # ERR
      // (lhost, lport, remote2)          --> # ERR
      test('exclusive: nobody else gets them while the socket lives', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open({ ...tuple, exclusive: true });
        expect(reuseOf(socket)).toBe(0);
        const locked = { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' };
        expect(await errorOf(share)).toMatchObject({ code: 'EADDRINUSE' });
        expect(await errorOf(() => open({ ...tuple, host: remote2 }))).toMatchObject(locked);
        expect(await errorOf(() => open({ ...tuple, host: remote2, exclusive: true }))).toMatchObject(locked);
        await assertUdpEcho(socket);
        socket.disconnect();
        expect(await errorOf(share)).toMatchObject({ code: 'EADDRINUSE' });
        await closeNow(socket);
        share();
      });

      // (lhost, *, remote) exclusive --> # 4
      // (lhost, *, remote2)          --> # ERR
      test('exclusive: as many sockets as there are ports', async () => {
        await udpEcho(SERVER, [remote]);
        const any = { host: remote, port: SERVER, localAddress: source };
        const made: dgram.Socket[] = [];
        for (const _ of PORTS) made.push(await open({ ...any, exclusive: true }));
        expect(lockedPorts(version, source)).toEqual(PORTS);
        expect(await errorOf(() => open({ ...any, host: remote2 }))).toMatchObject({ reason: 'ports-exhausted' });
        await assertUdpEcho(...made);
      });

      test('close() frees the 4-tuple at once', async () => {
        for (let n = 0; n < 5; n++) {
          const socket = await open(tuple);
          expect(await errorOf(() => open(tuple))).toMatchObject({ reason: 'tuple-in-use' });
          const closed = once(socket, 'close');
          socket.close();
          new RawUdp(version, { bind }).close();
          await closed;
        }
      });

      test('close() frees the last port at once', async () => {
        const any = { host: remote, port: SERVER, localAddress: source };
        const made: dgram.Socket[] = [];
        for (const _ of PORTS) made.push(await open(any));
        for (let n = 0; n < 20; n++) {
          expect(await errorOf(() => open(any))).toMatchObject({ reason: 'ports-exhausted' });
          const [oldest] = made.splice(0, 1);
          const port = oldest?.address().port;
          oldest?.close();
          made.push(await open(any));
          expect(made.at(-1)?.address().port).toBe(port);
        }
      });

      // (lhost, lport, remote)  --> # 1, disconnected
      // (lhost, lport, remote)  --> # 1, with IPv6 # ERR
      // (lhost, lport, remote3) --> # 1, by connect() of the first one
      // (lhost, lport, remote)  --> # 1
      //
      // An IPv6 socket keeps the address of its former peer (__udp_disconnect() clears the IPv4 one only): as long as it is not
      // connected again, it is found for datagrams of that peer.
      test('disconnect() keeps the port, and frees the 4-tuple as far as the kernel does', async () => {
        await udpEcho(SERVER, [remote, remote3]);
        const first = await open(tuple);
        first.disconnect();
        expect(first.address()).toMatchObject(bind);
        const made: dgram.Socket[] = [];
        if (version === 4) made.push(await open(tuple));
        else expect(await errorOf(() => open(tuple))).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
        first.connect(SERVER, remote3);
        await once(first, 'connect');
        if (version === 6) made.push(await open(tuple));
        await assertUdpEcho(first, ...made);
      });
    });
  });
});

interface Race {
  results: boolean[];
  reasons: string[];
}

describeIsolated('two that start together for one 4-tuple, where 1,000 sockets share the port', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote, remote2 }) => {
    const local = { address: source, port: 20001 };

    async function race(barrier: boolean, rounds: number): Promise<{ winners: number[]; reasons: Set<string> }> {
      for (let port = 1; port <= 1000; port++) {
        new RawUdp(version, { reuse: true, bind: local, connect: { address: remote2, port } });
      }
      const data = {
        cells: new SharedArrayBuffer(8),
        rounds,
        version,
        local,
        remote: { address: remote, port: SERVER },
        barrier,
      };
      const threads = [thread('udp-race.mjs', data), thread('udp-race.mjs', data)];
      const races = (await Promise.all(threads.map(async (worker) => once(worker, 'message')))).map(
        ([answer]) => answer as Race,
      );
      const [one, other] = races.map(({ results }) => results);
      const winners = one?.map((won, round) => Number(won) + Number(other?.[round])) ?? [];
      return { winners, reasons: new Set(races.flatMap(({ reasons }) => reasons)) };
    }

    // bind, SO_REUSEADDR = 0, lookup, connect, by 2
    // (lhost, lport, remote) --> # 2
    test('control: without a barrier between the lock and the lookup, both win', async () => {
      const { winners } = await race(false, 50_000);
      expect(winners.at(-1)).toBe(2);
    });

    // (lhost, lport, remote) wanted by 2 --> # 1
    test('connectUdpSync: exactly one wins', async () => {
      const { winners, reasons } = await race(true, 300);
      expect(winners).toHaveLength(300);
      expect(new Set(winners)).toEqual(new Set([1]));
      expect(reasons).toEqual(new Set(['tuple-in-use']));
    });
  });
});
