// What connectUdp promises, each beside what the plain kernel does: nobody is overshadowed, no stranger is heard, and no port
// stays locked.
import type * as dgram from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { UdpConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount, track } from '../helpers/sockets.js';
import {
  assertUdpEcho,
  type Cast,
  closeNow,
  errorOf,
  families,
  fdOf,
  lockedPorts,
  PORTS,
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

/** A stranger floods these ports until the returned function is called. */
async function flood({ type, source2 }: Cast, to: string, ports: readonly number[]): Promise<() => Promise<unknown>> {
  const worker = thread('udp-flood.mjs', { type, from: source2, to, ports });
  await once(worker, 'message');
  return () => worker.terminate();
}

describeIsolated('a datagram from a stranger', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, remote, remote2, remote3 } = cast;

    // (lhost, lport) bound
    // stranger --> (lhost, lport)
    // (lhost, lport, remote) --> # 1, heard
    // stranger --> (lhost, lport) # ERR
    test('control: what comes between bind(2) and connect(2) is heard, and nothing after that', async () => {
      const stranger = new RawUdp(version, { connect: { address: source, port: 20001 } });
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
        return foreign > 100;
      });
    });

    // stranger --> (lhost, every port), all the time
    // (lhost, *, remote1 ... remote3) --> # 10,000
    test.each(ways)('$way: under a flood, 10,000 sockets hear their peers only', async ({ open }) => {
      const remotes = [remote, remote2, remote3];
      await udpEcho(SERVER, remotes);
      await flood(cast, source, PORTS);
      const foreign: string[] = [];
      let made = 0;
      while (made < 10_000) {
        const sockets: dgram.Socket[] = [];
        for (const host of remotes) {
          for (const _ of PORTS) {
            const socket = await open({ host, port: SERVER, localAddress: source });
            socket.on('message', (message, { address, port }) => {
              if (address !== host || port !== SERVER) foreign.push(`${address}:${port} ${message}`);
            });
            sockets.push(socket);
          }
        }
        made += sockets.length;
        if (made % 1200 === 0) await assertUdpEcho(...sockets);
        else await new Promise(setImmediate);
        await Promise.all(sockets.map(closeNow));
      }
      expect(foreign).toEqual([]);
    });
  });
});
