// connectx/register in whole processes: its variable, threads and cluster workers, several copies of it, no addon, and a Node
// that it does not know.
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { families } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { IMPORT, REQUIRE, runProgram } from '../helpers/registered.js';
import { fixture } from '../helpers/run.js';
import { echoServer } from '../helpers/sockets.js';

const root = join(import.meta.dirname, '../..');
const [{ any, source, remote, remote2, remote3 }] = families as [(typeof families)[0]];
const PORTS = 4;
const fill = { source, hosts: [remote, remote2, remote3], port: 5353, each: PORTS };

interface Result {
  made: number;
  errors: string[];
  warnings: string[];
}

async function run(execArgv: readonly string[], more: object = {}, env: Record<string, string> = {}): Promise<Result> {
  const { stdout } = await runProgram(execArgv, 'register-fill.mjs', { ...fill, ...more }, env);
  return JSON.parse(stdout) as Result;
}

const SHARED: Result = { made: 3 * PORTS, errors: [], warnings: [] };
const AS_CORE: Result = { made: PORTS, errors: ['EADDRINUSE'], warnings: [] };

/** A copy of connectx in a folder of its own; what is in it can be required. */
function copy(addon: boolean): string {
  const folder = folderWith();
  const target = join(folder, 'node_modules/connectx');
  mkdirSync(join(target, 'build/Release'), { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(target, 'package.json'));
  symlinkSync(join(root, 'node_modules/node-gyp-build'), join(folder, 'node_modules/node-gyp-build'));
  const binary = 'build/Release/connectx.node';
  if (addon) writeFileSync(join(target, binary), readFileSync(join(root, binary)));
  return join(target, 'dist/register.js');
}

describeIsolated('a process', () => {
  useNetwork({
    range: [20000, 20000 + PORTS - 1],
    // What ends shall leave nothing in TIME-WAIT for the next program.
    commands: ['echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets'],
  });
  beforeEach(async () => {
    await echoServer(fill.port, any);
  });

  describe.each([{ as: 'main' }, { as: 'worker' }, { as: 'cluster' }])('$as', ({ as }) => {
    test('control: without it', async () => {
      expect(await run([], { as })).toEqual(AS_CORE);
    });

    test.each([
      { name: '--import', execArgv: IMPORT },
      { name: '--require', execArgv: REQUIRE },
    ])('$name', async ({ execArgv }) => {
      expect(await run(execArgv, { as })).toEqual(SHARED);
    });
  });

  test('NODE_OPTIONS', async () => {
    expect(await run([], {}, { NODE_OPTIONS: IMPORT.join(' ') })).toEqual(SHARED);
  });

  test.each([
    { value: '', result: SHARED },
    { value: 'all', result: SHARED },
    { value: 'off', result: AS_CORE },
    { value: source, result: SHARED },
    { value: '127.0.0.0/8', result: SHARED },
    { value: `2001:db8::/64, 192.0.2.7, ${source}/32`, result: SHARED },
    { value: '192.0.2.0/24,::1', result: AS_CORE },
  ])('CONNECTX_REGISTER="$value"', async ({ value, result }) => {
    expect(await run(IMPORT, {}, { CONNECTX_REGISTER: value })).toEqual(result);
  });

  test.each(['on', '127.0.0.1,', '127.0.0.1/33', '::1%lo'])('CONNECTX_REGISTER="%s" is wrong', async (value) => {
    const { stderr } = (await run(IMPORT, {}, { CONNECTX_REGISTER: value }).catch((error: unknown) => error)) as {
      stderr: string;
    };
    expect(stderr).toContain('ERR_INVALID_ARG_VALUE');
    expect(stderr).toContain("The argument 'CONNECTX_REGISTER' must be an IP address or a block like 192.0.2.0/24");
  });

  describe('loaded more than once', () => {
    const both = [...REQUIRE, ...IMPORT];

    test('by require and import: once', async () => {
      expect(await run(both)).toEqual(SHARED);
    });

    test('by require and import: undone at once', async () => {
      expect(await run(both, { undo: 'connectx/register' })).toEqual(AS_CORE);
    });

    test('from two places', async () => {
      expect(await run(['--require', copy(true), ...IMPORT, '--require', copy(true)])).toEqual(SHARED);
    });

    test('from two places: what one copy undoes is undone', async () => {
      expect(await run(['--require', copy(true), ...IMPORT], { undo: 'connectx/register' })).toEqual(AS_CORE);
    });
  });

  test('CONNECTX_DISABLE_NATIVE=1: as off Linux, core and no word', async () => {
    expect(await run(IMPORT, {}, { CONNECTX_DISABLE_NATIVE: '1' })).toEqual(AS_CORE);
  });

  test('where the addon is missing: core, and one warning', async () => {
    // A warning at import comes before the program listens for it; this one prints all of them.
    const shown = await runProgram(['--require', copy(false)], 'register-fill.mjs', { ...fill, hosts: [] });
    expect(shown.stderr.match(/ConnectxWarning/g)).toHaveLength(1);
    expect(shown.stderr).toMatch(/\[CONNECTX_REGISTER_OFF\] ConnectxWarning: .*no connectx binary for linux/);
    const { made, errors } = await run(['--require', copy(false)]);
    expect({ made, errors, warnings: [] }).toEqual(AS_CORE);
  });

  test.each([
    { future: 'no open()', why: 'its TCP handles have no open()' },
    { future: 'no getsockname()', why: 'its TCP handles have no getsockname()' },
    { future: 'no fd', why: 'its TCP handles have no fd' },
    { future: 'handles that cannot be extended', why: 'its TCP handles cannot be extended' },
    { future: 'sockets without _handle', why: 'its sockets have no _handle' },
    { future: 'another way to bind', why: 'it no longer binds a localAddress before it connects' },
  ])('a Node to come, with $future: core, and one warning', async ({ future, why }) => {
    const before = ['--import', fixture('register-future.mjs')];
    expect(await run(before, {}, { FUTURE: future })).toEqual(AS_CORE);
    const { warnings, ...rest } = await run([...before, ...IMPORT], {}, { FUTURE: future });
    expect({ ...rest, warnings: [] }).toEqual(AS_CORE);
    expect(warnings).toEqual([
      'CONNECTX_REGISTER_OFF: connectx/register is off, and connections from a localAddress are as without it: it does not ' +
        `know Node ${process.versions.node} well enough (${why})`,
    ]);
  });
});
