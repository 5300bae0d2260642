// Hosts in network namespaces of their own that share one address by slices of its ports: a small version of `npm run test:slices`.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';

const HOSTS = 4;
const PORTS = 64;

describeIsolated(`${HOSTS} hosts with a slice of ${PORTS} ports each`, () => {
  test.each([4, 6])('IPv%d: every port is in use, none by two hosts, and a slice moves', async (family) => {
    const command = join(import.meta.dirname, '../slices/run.mjs');
    const args = [command, '--hosts', `${HOSTS}`, '--ports', `${PORTS}`, '--family', `${family}`];
    // It fails where less than 98 % are in use, and where the slice takes longer than a second.
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      wanted: HOSTS * PORTS,
      inUse: HOSTS * PORTS,
      seen: HOSTS * PORTS,
      collisions: 0,
      foreign: 0,
      stray: false,
      moved: PORTS,
    });
  });
});
