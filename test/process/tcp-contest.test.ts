// Several processes and threads that want the same ports: the kernel is the only judge, and connectx keeps no state beside it.
import { once } from 'node:events';
import * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { clusterClient, processClient, threadClient } from '../helpers/clients.js';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { tellRace } from '../helpers/races.js';
import { rawBind } from '../helpers/raw.js';
import { descriptorCount, track, until } from '../helpers/sockets.js';

/** Hears nothing and says nothing; its connections are reset by the clients. */
async function sink(any: string): Promise<net.Server> {
  const server = track(
    net.createServer((socket) => {
      track(socket).on('error', () => {});
      socket.resume();
    }),
  );
  server.listen(SERVER, any);
  await once(server, 'listening');
  return server;
}

const threads = () => threadClient().client;

// In the ephemeral range, which are pinned, and outside of it, which are bound explicitly.
const CONTESTED = [20000, 20001, 20002, 20003, 30000, 30001, 30002, 30003];

describeIsolated('contest', () => {
  useNetwork({ range: [20000, 20015], addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3'] });

  describe.each(families)('$family', ({ family, any, source, remote, remote2 }) => {
    const wanted = (host: string) =>
      CONTESTED.map((localPort) => ({ host, port: SERVER, localAddress: source, localPort }));

    test.each([
      { kind: 'processes', start: processClient, rounds: 150 },
      { kind: 'cluster workers', start: clusterClient, rounds: 30 },
      { kind: 'worker threads', start: threads, rounds: 30 },
    ])('4 $kind, 8 four-tuples, $rounds rounds: one winner each time', async ({ kind, start, rounds }) => {
      // (source, port, remote) wanted by 4 --> # 1
      await sink(any);
      const clients = [start(), start(), start(), start()];
      const losers = new Set<string>();
      for (let round = 0; round < rounds; round++) {
        const answers = await Promise.all(clients.map((client) => client.open(wanted(remote))));
        for (const [n, port] of CONTESTED.entries()) {
          const attempts = answers.map((answer) => answer[n]);
          const winners = attempts.filter((attempt) => attempt?.localPort === port);
          expect(winners, `round ${round}, port ${port}: ${JSON.stringify(attempts)}`).toHaveLength(1);
          for (const attempt of attempts) if (attempt?.code) losers.add(`${attempt.code} ${attempt.reason}`);
        }
        await Promise.all(clients.map((client) => client.release()));
      }
      expect([...losers]).toEqual(['EADDRNOTAVAIL tuple-in-use']);
      tellRace({
        what: `TCP, ${family}: 4 ${kind} want the same 8 four-tuples`,
        tried: rounds * CONTESTED.length,
        failed: 0,
        detail: `${rounds} rounds, one winner in each`,
      });
    });

    test.each([
      { kind: 'processes', start: processClient, given: 'a source', options: { localAddress: source }, low: 20000 },
      { kind: 'processes', start: processClient, given: 'a destination only', options: {}, low: 20000 },
      {
        kind: 'processes',
        start: processClient,
        given: 'a range outside the ephemeral one',
        options: { localAddress: source, localPortRange: [30000, 30015] },
        low: 30000,
      },
      {
        kind: 'cluster workers',
        start: clusterClient,
        given: 'a source',
        options: { localAddress: source },
        low: 20000,
      },
      { kind: 'worker threads', start: threads, given: 'a source', options: { localAddress: source }, low: 20000 },
    ])('4 $kind fill 16 ports to each of two destinations, given $given', async ({ start, options, low }) => {
      // (source, *, remote) wanted by 4  --> # 16
      // (source, *, remote2) wanted by 4 --> # 16
      await sink(any);
      const clients = [start(), start(), start(), start()];
      for (const host of [remote, remote2]) {
        const filled = await Promise.all(clients.map((client) => client.fill({ host, port: SERVER, ...options })));
        const ports = filled.flatMap((one) => one.ports).sort((a, b) => a - b);
        expect(ports).toEqual(Array.from({ length: 16 }, (_, n) => low + n));
        for (const { code, reason } of filled) {
          expect({ code, reason }).toEqual({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
        }
      }
    });

    test('a worker thread can be terminated in the middle of connects, and nothing is left open', async () => {
      await sink(any);
      // Nothing is free there: a search goes on for some turns of the event loop.
      for (let port = 40000; port < 40600; port++) rawBind({ address: source, port });
      const list = [
        { host: remote, port: SERVER, localAddress: source },
        { host: remote, port: SERVER, localAddress: source, localPort: 20001 },
        { host: remote, port: SERVER, localAddress: source, localPort: 30001 },
        { host: remote, port: SERVER, localAddress: source, localPortRange: [40000, 40599] },
      ];
      const terminateAfter = async (turns: number) => {
        const { client, worker } = threadClient();
        client.churn(list);
        await until(() => client.churned >= turns);
        await worker.terminate();
      };
      await terminateAfter(1);
      const server = descriptorCount();
      for (let n = 0; n < 10; n++) await terminateAfter(1 + n);
      await until(
        () => descriptorCount() <= server,
        () => `${descriptorCount()} descriptors where there were ${server}`,
      );
    });
  });
});
