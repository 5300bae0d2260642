// Cluster workers: thousands of connections in all, each with a 4-tuple of its own, and what is left when workers are killed.
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { track, until } from '../helpers/sockets.js';
import { RawUdp } from '../helpers/udp.js';

interface Opened {
  ends: string[];
  failed: Record<string, number>;
}

const LOW = 20000;
const PORTS = 500;
const WORKERS = 4;
/** So that all of them together want every port towards both destinations. */
const COUNT = (PORTS * 2) / WORKERS;

function start(argument: object): Worker {
  cluster.setupPrimary({ exec: fixture('cluster-worker.mjs'), execArgv: [], args: [JSON.stringify(argument)] });
  const worker = cluster.fork();
  track({ close: () => void worker.process.kill('SIGKILL') });
  return worker;
}

async function killed(worker: Worker): Promise<void> {
  const ended = once(worker, 'exit');
  worker.process.kill('SIGKILL');
  await ended;
}

/** Sockets of clients in the kernel's tables, but for those in TIME-WAIT. */
function left(): number {
  return ['tcp', 'tcp6', 'udp', 'udp6']
    .flatMap((name) => readFileSync(`/proc/thread-self/net/${name}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote?.endsWith(`:${SERVER.toString(16).toUpperCase()}`) && state !== '06')
    .length;
}

describeIsolated('cluster workers', () => {
  useNetwork({ range: [LOW, LOW + PORTS - 1], addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3'] });

  describe.each(families)('$family', ({ version, any, source, remote, remote2 }) => {
    const remotes = [remote, remote2];

    async function listen(): Promise<void> {
      const server = track(net.createServer((socket) => track(socket).on('error', () => {})));
      server.listen({ port: SERVER, host: any, backlog: 4096 });
      await once(server, 'listening');
    }

    test(`${WORKERS} want all of the ${4 * PORTS} 4-tuples of TCP and UDP: each has its own`, async () => {
      await listen();
      const workers = Array.from({ length: WORKERS }, () => start({ count: COUNT, source, remotes }));
      const told = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as Opened));
      const ends = told.flatMap((one) => one.ends);
      expect(new Set(ends).size).toBe(ends.length);
      expect(told.map(({ failed }) => failed)).toEqual(workers.map(() => ({})));
      expect(ends).toHaveLength(4 * PORTS);
      await Promise.all(workers.map(killed));
      await until(
        () => left() === 0,
        () => `${left()} sockets are left`,
      );
    });

    test('killed in the midst of it: nothing of them is left, and no port stays locked', async () => {
      await listen();
      const workers = Array.from({ length: WORKERS }, () => start({ count: 50, source, remotes, again: true }));
      for (let round = 0; round < 3; round++) {
        for (const [n, worker] of workers.entries()) {
          await once(worker, 'message');
          await killed(worker);
          workers[n] = start({ count: 50, source, remotes, again: true });
        }
      }
      await Promise.all(workers.map(killed));
      await until(
        () => left() === 0,
        () => `${left()} sockets are left`,
      );
      // Bound without SO_REUSEADDR.
      for (let n = 0; n < PORTS; n++) new RawUdp(version, { bind: { address: source, port: LOW + n } });
    });
  });
});
