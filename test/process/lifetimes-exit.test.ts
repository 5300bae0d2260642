// process.exit() in a callback, and while something is still under way off the event loop: the exit code is the one that was asked for,
// and nothing crashes on the way out.
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';

const PLACES = [
  'connectionAttempt',
  'connect',
  'connect, of a pool',
  'error',
  'close',
  'source function',
  'TCP lookup',
  'while it connects',
  'UDP lookup',
  'connectUdp has resolved',
  'connectUdp has rejected',
  'connectUdp under way',
  'connectUdpSync has returned',
  'a look at the UDP table under way',
  'portUsage under way',
  'portUsage under way, in the next turn',
  'listenerConflicts under way',
  'a sample of a PortMonitor',
];

describeIsolated('process.exit()', () => {
  useNetwork(smallNetwork);

  describe.each([
    ['in a process', false],
    ['in a worker thread', true],
  ])('%s', (_, thread) => {
    test.each(PLACES)('%s', (where) => {
      const { status, signal, stderr } = spawnSync(
        process.execPath,
        [fixture('exit.mjs'), JSON.stringify({ where, thread })],
        { encoding: 'utf8', timeout: 20_000 },
      );
      expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: '' });
    });
  });
});
