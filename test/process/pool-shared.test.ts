// Several cluster workers, or threads, with a pool of the same source each: what the kernel sees to, and what slices do.
import cluster from 'node:cluster';
import { once } from 'node:events';
import * as net from 'node:net';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';

const [LOW, PORTS] = [20000, 64];
const WORKERS = 4;

interface Filled {
  ports: number[];
  reason: string;
  capacity: number;
}

/** Something that says when it is ready, takes a message, and gives one. */
interface Party {
  readonly ready: Promise<unknown>;
  fill(): Promise<Filled>;
}

const kinds: Record<string, (argument: object) => Party> = {
  'cluster workers': (argument) => {
    cluster.setupPrimary({ exec: fixture('pool-worker.mjs'), execArgv: [], args: [] });
    const worker = cluster.fork({ POOL_WORKER: JSON.stringify(argument) });
    track({ close: () => void worker.process.kill('SIGKILL') });
    return {
      ready: once(worker, 'message'),
      fill: async () => {
        worker.send('begin');
        return (await once(worker, 'message'))[0] as Filled;
      },
    };
  },
  threads: (argument) => {
    const worker = new Worker(fixture('pool-worker.mjs'), { workerData: argument });
    track({ close: () => void worker.terminate() });
    return {
      ready: once(worker, 'message'),
      fill: async () => {
        worker.postMessage('begin');
        return (await once(worker, 'message'))[0] as Filled;
      },
    };
  },
};

describeIsolated(`${WORKERS} pools of one source with ${PORTS} ports`, () => {
  useNetwork({ range: [LOW, LOW + PORTS - 1], addresses: ['2001:db8::1', '2001:db8::2'] });

  describe.each(families)('$family', ({ any, source, remote }) => {
    describe.each(Object.entries(kinds))('%s', (_kind, start) => {
      async function fill(slices: boolean): Promise<Filled[]> {
        const server = track(net.createServer((socket) => track(socket).on('error', () => {})));
        await once(server.listen({ port: SERVER, host: any, backlog: 1024 }), 'listening');
        const parties = Array.from({ length: WORKERS }, (_, index) =>
          start({ source, host: remote, port: SERVER, ...(slices && { slice: { index, of: WORKERS } }) }),
        );
        await Promise.all(parties.map(async ({ ready }) => ready));
        return Promise.all(parties.map(async (party) => party.fill()));
      }

      test('the kernel’s word: every port is somebody’s, and none is two’s', async () => {
        const filled = await fill(false);
        const ports = filled.flatMap((one) => one.ports);
        expect([...ports].sort()).toEqual(Array.from({ length: PORTS }, (_, n) => LOW + n));
        for (const { reason, capacity } of filled) expect([reason, capacity]).toEqual(['pool-exhausted', PORTS]);
      });

      test('slices: each has its share, whoever is fastest', async () => {
        const filled = await fill(true);
        for (const [index, { ports, reason, capacity }] of filled.entries()) {
          const low = LOW + index * (PORTS / WORKERS);
          expect(ports.sort()).toEqual(Array.from({ length: PORTS / WORKERS }, (_, n) => low + n));
          expect([reason, capacity]).toEqual(['pool-exhausted', PORTS / WORKERS]);
        }
      });
    });
  });
});
