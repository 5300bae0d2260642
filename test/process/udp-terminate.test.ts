// A worker thread is terminated while a descriptor is on its way from the addon to Node.
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount, until } from '../helpers/sockets.js';

const index = join(import.meta.dirname, '../../dist/index.js');

/** Connects in a worker thread, where `where` never comes to an end, and terminates it there. */
async function terminateIn(where: string, options: object): Promise<void> {
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    const dgram = require('node:dgram');
    const { connectUdpSync } = require(${JSON.stringify(index)});
    // What is opened once for all.
    connectUdpSync(workerData).close();
    const forever = () => { parentPort.postMessage('there'); for (;;); };
    ${where};
    connectUdpSync(workerData);
  `;
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: options });
  await once(worker, 'message');
  await worker.terminate();
}

describeIsolated('a worker thread that is terminated', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ source, remote }) => {
    test.each([
      ['before Node has the descriptor', 'dgram.Socket.prototype.bind = forever'],
      ['when Node has it', 'dgram.Socket.prototype.connect = forever'],
    ])('%s leaves nothing open', async (_, where) => {
      const options = { host: remote, port: SERVER, localAddress: source };
      await terminateIn(where, options);
      const before = descriptorCount();
      for (let n = 0; n < 5; n++) await terminateIn(where, options);
      await until(
        () => descriptorCount() <= before,
        () => `${descriptorCount()} descriptors where there were ${before}`,
      );
      expect(descriptorCount()).toBeLessThanOrEqual(before);
    });
  });
});
