// Worker threads that are terminated while they relay: sockets, epoll descriptors and libuv's handles go with them.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { descriptorCount, slowness, until } from '../helpers/sockets.js';

const WORKERS = 100 * Number(process.env.CONNECTX_TEST_REPEAT ?? 1);
const AT_ONCE = 4;

async function terminated(round: number): Promise<void> {
  const workerData = round % 2 === 0 ? { host: '127.0.0.1', host2: '127.0.0.2' } : { host: '::1', host2: '::1' };
  const worker = new Worker(fixture('batch-worker.mjs'), { workerData, execArgv: [] });
  const failed = once(worker, 'error').then(([error]) => {
    throw error as Error;
  });
  failed.catch(() => {});
  await Promise.race([once(worker, 'message'), failed]);
  await new Promise((resolve) => setTimeout(resolve, round % 7));
  await worker.terminate();
}

describeIsolated('UdpBatch in worker threads', () => {
  useNetwork({ range: [20000, 29999] });

  test(
    `${WORKERS} terminated ones leave no descriptor`,
    async () => {
      for (let round = 0; round < AT_ONCE; round++) await terminated(round);
      const before = descriptorCount();
      for (let round = 0; round < WORKERS; round += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => terminated(round + n)));
      }
      await until(
        () => descriptorCount() <= before,
        () => `${descriptorCount()} descriptors where there were ${before}`,
      );
      expect(descriptorCount()).toBeLessThanOrEqual(before);
    },
    WORKERS * 1000 * slowness,
  );
});
