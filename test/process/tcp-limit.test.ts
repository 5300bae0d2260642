// Many processes on the last ports, each of which gets a tenth of a processor: what one of them remembers must cost none of them a port.
import { once } from 'node:events';
import * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { processClient } from '../helpers/clients.js';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { tellRace } from '../helpers/races.js';
import { track } from '../helpers/sockets.js';

/** `CONNECTX_QUOTA_ROUNDS=1000 npm test -- test/process/tcp-limit.test.ts` for a night. */
const ROUNDS = Number(process.env.CONNECTX_QUOTA_ROUNDS ?? 10);
const PROCESSES = 8;
const PORTS = 30;

/** Hears nothing and says nothing; its connections are reset by the clients. */
async function sink(any: string): Promise<void> {
  const server = track(net.createServer((socket) => void track(socket).on('error', () => {})));
  server.listen({ port: SERVER, host: any, backlog: 1024 });
  await once(server, 'listening');
}

/** Lets the processes run for 2 ms of 20 each, one after the other, and so stops them wherever they are. */
function withQuota(pids: readonly number[]): { stop(): void } {
  let next = 0;
  const timer = setInterval(() => {
    for (const [index, pid] of pids.entries()) process.kill(pid, index === next ? 'SIGCONT' : 'SIGSTOP');
    next = (next + 1) % pids.length;
  }, 2);
  return {
    stop: () => {
      clearInterval(timer);
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    },
  };
}

describeIsolated(`${PROCESSES} processes with a tenth of a processor each, ${PORTS} ports`, () => {
  useNetwork({ range: [20000, 20000 + PORTS - 1], addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3'] });

  describe.each(families)('$family', ({ family, any, source, remote, remote2 }) => {
    test.each([
      { what: 'of the ephemeral range', ways: {}, low: 20000 },
      { what: 'outside of it', ways: { localPortRange: [30000, 30000 + PORTS - 1] }, low: 30000 },
    ])(
      `ports $what, ${ROUNDS} rounds: each serves each destination once, and then none does`,
      async ({ what, ways, low }) => {
        await sink(any);
        const ports = Array.from({ length: PORTS }, (_, index) => low + index);
        const clients = Array.from({ length: PROCESSES }, () => processClient());
        // They are there, and connectx is loaded.
        await Promise.all(clients.map(async (client) => client.release()));
        const quota = withQuota(clients.flatMap(({ pid }) => pid ?? []));
        try {
          for (let round = 0; round < ROUNDS; round++) {
            for (const host of [remote, remote2]) {
              const options = { host, port: SERVER, localAddress: source, ...ways };
              const filled = await Promise.all(clients.map(async (client) => client.fill(options)));
              const got = filled.flatMap((one) => one.ports).sort((a, b) => a - b);
              expect(got, `round ${round}, to ${host}`).toEqual(ports);
              for (const { code, reason } of filled) {
                expect({ code, reason }).toEqual({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
              }
            }
            await Promise.all(clients.map(async (client) => client.release()));
          }
        } finally {
          quota.stop();
        }
        tellRace({
          what: `TCP, ${family}: ${PROCESSES} processes with a tenth of a processor want ${PORTS} ports ${what}`,
          tried: ROUNDS * PORTS * 2,
          failed: 0,
          detail: `${ROUNDS} rounds, each port once for each destination`,
        });
      },
      20_000 + ROUNDS * 1000,
    );
  });
});
