// Another thread starts programs while this one has ports locked: none of them gets a descriptor that would keep one locked.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { connect, connectUdp, connectUdpSync } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { closed, echoServer, track } from '../helpers/sockets.js';
import { closeNow, RawUdp } from '../helpers/udp.js';

interface Started {
  programs: number;
  inherited: string[];
}

describeIsolated('a program that is started in the midst of it', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ version, any, source, remote }) => {
    test('inherits no socket, and no port stays locked', async () => {
      await echoServer(SERVER, any);
      const stop = new SharedArrayBuffer(4);
      const worker = track(Object.assign(new Worker(fixture('spawn.mjs'), { workerData: stop }), { close: () => {} }));
      await once(worker, 'message');
      const options = { host: remote, port: SERVER, localAddress: source };
      /**
       * Between fork(2) and execve(2) the program has all that this process has, so that what was closed here may be open there for some
       * ms: the 4-tuple is in use for as long, for core's sockets and for ours.
       */
      const whenFree = async (open: () => Promise<void>) => {
        for (let tries = 0; ; tries++) {
          try {
            await open();
            return;
          } catch (error) {
            const { code } = error as NodeJS.ErrnoException;
            if (tries === 500 || (code !== 'EADDRINUSE' && code !== 'EADDRNOTAVAIL' && code !== 'EAGAIN')) throw error;
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        }
      };
      // Long enough for some dozens of programs; they take as long as they like.
      const end = performance.now() + 2000;
      let connects = 0;
      while (performance.now() < end) {
        for (const localPort of PORTS) {
          await whenFree(async () => closeNow(connectUdpSync({ ...options, localPort })));
          connects++;
        }
        await whenFree(async () => closeNow(await connectUdp(options)));
        await whenFree(async () => {
          const socket = connect({ ...options, localPort: 30000 });
          await once(socket, 'connect');
          socket.resetAndDestroy();
          await closed(socket);
        });
      }
      Atomics.store(new Int32Array(stop), 0, 1);
      const [{ programs, inherited }] = (await once(worker, 'message')) as [Started];
      expect(inherited).toEqual([]);
      expect(programs).toBeGreaterThan(3);
      expect(connects).toBeGreaterThan(20);
      // Bound without SO_REUSEADDR: nobody else has them.
      for (const port of PORTS) new RawUdp(version, { bind: { address: source, port } });
    });
  });
});
