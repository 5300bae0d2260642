// Very many races of attempts leave the process as it was, whoever wins: descriptors, handles, leases.
import { connect, SourcePool } from 'connectx';
import type { LookupFunction } from 'node:net';
import { expect, test } from 'vitest';
import { AT_ONCE, CALLS } from '../helpers/leaks.js';
import { names } from '../helpers/parity.js';
import {
  answers,
  dead,
  describeSlow,
  refuses,
  SERVER,
  SOURCE4,
  SOURCE4_2,
  SOURCE6,
  SOURCE6_2,
  unreachable,
} from '../helpers/slow-network.js';
import { descriptorCount, echoServer, slowness, until } from '../helpers/sockets.js';

const scenes = [
  [answers(4, 30), unreachable(6)],
  [answers(6, 30), refuses(4, 0)],
  [dead(6), answers(4, 0)],
  [refuses(6, 30), refuses(4, 0)],
  [answers(4, 40), answers(6, 30)],
  [refuses(4, 30), answers(6, 20)],
];

const noConnections = () => !process.getActiveResourcesInfo().some((name) => /^TCP(SocketWrap|ConnectWrap)/.test(name));

describeSlow('races', () => {
  test(
    `${CALLS} of them leave nothing`,
    async () => {
      await echoServer(SERVER, '::');
      const pool = new SourcePool([SOURCE4, SOURCE4_2, SOURCE6, SOURCE6_2]);
      const ends: Record<string, number> = { connected: 0, failed: 0, destroyed: 0 };
      const one = async (index: number): Promise<void> => {
        const lookup = names(...(scenes[index % scenes.length] ?? [])) as LookupFunction;
        const where = { host: 'test.example', port: SERVER, lookup };
        const socket = connect({ ...where, autoSelectFamilyAttemptTimeout: 10, localAddress: pool });
        let end = 'destroyed';
        socket.on('connect', () => {
          end = 'connected';
          socket.destroy();
        });
        socket.on('error', () => (end = 'failed'));
        if (index % 13 === 0) setTimeout(() => socket.destroy(), 15);
        await new Promise((resolve) => socket.once('close', resolve));
        ends[end] = (ends[end] ?? 0) + 1;
      };
      // What is opened once and for all, at the first call.
      await one(1);
      await until(noConnections);
      const before = descriptorCount();
      for (let done = 0; done < CALLS; done += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) => one(done + index)));
      }
      await until(noConnections);
      expect({ inUse: pool.stats().inUse, descriptors: descriptorCount() }).toEqual({ inUse: 0, descriptors: before });
      for (const count of Object.values(ends)) expect(count).toBeGreaterThan(CALLS / 50);
    },
    60_000 + (CALLS / 10) * slowness * 60,
  );
});
