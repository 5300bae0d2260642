// Unchanged programs, with and without `--import connectx/register`, that connect from one source to many destinations. There
// are fewer ephemeral ports than connections.
import { describe, expect, test } from 'vitest';
import { leftOutWithoutServers, postgres } from '../helpers/databases.js';
import { families } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { IMPORT, KINDS, REQUIRE, runProgram, serve, serveGrpc } from '../helpers/registered.js';

const PORTS = 8;

type Answers = Record<string, string[]>;

/** For each kind of client what the server saw, or what the error was. */
async function run(execArgv: readonly string[], argument: object): Promise<Answers> {
  const { stdout, stderr } = await runProgram(execArgv, 'register-program.mjs', argument);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Answers;
}

const count = (answers: Answers, value: string) =>
  Object.values(answers)
    .flat()
    .filter((answer) => answer === value).length;

// undici 8 needs Node 22.19.
const runsHere = (kind: string) => kind !== 'undici8' || Number.parseInt(process.versions.node) >= 24;
const kinds = [...KINDS.filter(runsHere), 'grpc-js'];

describeIsolated('an unchanged program', () => {
  useNetwork({
    range: [20000, 20000 + PORTS - 1],
    addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::4'],
    // The programs of one test come one after the other, and what ends shall leave nothing in TIME-WAIT for the next.
    commands: ['echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets'],
  });

  describe.each(families)('$family', ({ any, source, remote, remote2, remote3 }) => {
    const hosts = [remote, remote2, remote3];
    const of = async (kind: string) => {
      const ports = await serve(any, [kind]);
      if (kind === 'grpc-js') await serveGrpc(any, ports[kind] ?? 0);
      return { kinds: [kind], source, hosts, each: PORTS / 2, ports };
    };
    const total = hosts.length * (PORTS / 2);

    test.each(kinds)('%s', async (kind) => {
      const argument = await of(kind);
      const control = await run([], argument);
      expect([count(control, source), count(control, 'EADDRINUSE')]).toEqual([PORTS, total - PORTS]);
      for (const execArgv of [IMPORT, REQUIRE]) {
        expect(await run(execArgv, argument)).toEqual({ [kind]: Array<string>(total).fill(source) });
      }
    });

    test.each(kinds)('%s: with all ports taken, EADDRNOTAVAIL', async (kind) => {
      const argument = { ...(await of(kind)), hosts: [remote], each: PORTS + 1 };
      const expected = [...Array<string>(PORTS).fill(source), 'EADDRNOTAVAIL'];
      expect(await run(IMPORT, argument)).toEqual({ [kind]: expected });
    });

    const leftOut = leftOutWithoutServers('postgres');
    const all = leftOut ? kinds : [...kinds, 'pg'];
    test(`all at once: ${all.join(', ')}`, async () => {
      const ports = await serve(any, all);
      await serveGrpc(any, ports['grpc-js'] ?? 0);
      const { pg } = ports;
      if (pg !== undefined) await postgres(folderWith(), hosts, pg);
      const argument = { kinds: all, source, hosts, each: 2, ports };
      const control = await run([], argument);
      expect([count(control, source), count(control, 'EADDRINUSE')]).toEqual([PORTS, all.length * 6 - PORTS]);
      const registered = await run(IMPORT, argument);
      expect(registered).toEqual(Object.fromEntries(all.map((kind) => [kind, Array<string>(6).fill(source)])));
    });

    test.skipIf(leftOut)(`pg takes part in it${leftOut}`, () => {
      expect(all).toContain('pg');
    });
  });
});
