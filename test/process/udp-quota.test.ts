// Processes that lose their processor wherever they are, with a port locked for example: the count stays exact. More rounds:
// CONNECTX_QUOTA_ROUNDS, or `npm run test:races`.
import { once } from 'node:events';
import type { UdpConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { limitToTenth } from '../helpers/quota.js';
import { tellRace } from '../helpers/races.js';
import { families, SERVER } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';

const ROUNDS = Number(process.env.CONNECTX_QUOTA_ROUNDS ?? 4);
const PROCESSES = 8;
const [LOW, HIGH] = [30_000, 30_029];
const ALL = Array.from({ length: HIGH - LOW + 1 }, (_, n) => LOW + n);

describeIsolated(`${PROCESSES} processes with a tenth of a processor each`, () => {
  useNetwork({
    range: [LOW, HIGH],
    addresses: families.flatMap(({ version, source, remote }) => (version === 6 ? [source, remote] : [])),
  });

  describe.each(families)('$family', ({ family, source, remote }) => {
    test(
      `fill ${ALL.length} ports to one destination after the other, ${ROUNDS} times: as many sockets as ports, then EAGAIN`,
      async () => {
        // (source, *, remote:port of the round) wanted by 8 --> # 30
        const clients = Array.from({ length: PROCESSES }, () => new UdpClient());
        // They are up, and know sock_diag.
        await Promise.all(clients.map(async (client) => client.state()));
        const quota = limitToTenth(clients.map((client) => client.process.pid ?? 0));
        let failed = 0;
        try {
          for (let round = 0; round < ROUNDS; round++) {
            const options: UdpConnectOptions = { host: remote, port: SERVER + round, localAddress: source };
            const filled = await Promise.all(
              // Half of them block, the others do not; another half each round.
              clients.map(async (client, n) =>
                client.fill({ ...options, sync: (n + round) % 2 === 0 }, 2 * ALL.length),
              ),
            );
            const refusals = new Set(filled.map(({ code, reason }) => `${code} ${reason}`));
            const ports = filled.flatMap(({ ports: own }) => own).sort((a, b) => a - b);
            const isExact = ports.join() === ALL.join() && [...refusals].join() === 'EAGAIN ports-exhausted';
            if (!isExact) failed++;
            expect({ round, refusals: [...refusals], ports }).toEqual({
              round,
              refusals: ['EAGAIN ports-exhausted'],
              ports: ALL,
            });
            // What is left open is in the way of nobody: the next round has another destination. Not all, for it takes descriptors.
            if (round % 10 === 9) await Promise.all(clients.map(async (client) => client.close(...ALL)));
          }
        } finally {
          const detail = `${PROCESSES} processes, ${ALL.length} ports, quota of 10 % by ${quota.how}`;
          tellRace({ what: `rounds of filling ${family} UDP ports`, tried: ROUNDS, failed, detail });
          await Promise.all(
            clients.map(async ({ process: child }) => {
              if (child.exitCode !== null || child.signalCode !== null) return;
              const exited = once(child, 'exit');
              child.kill('SIGKILL');
              await exited;
            }),
          );
          quota.end();
        }
      },
      60_000 + ROUNDS * 5000,
    );
  });
});
