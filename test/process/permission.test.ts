// Node's permission model: without --allow-addons an error that says so, and what --allow-net forbids to core connectx does not do.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { echoServer } from '../helpers/sockets.js';

const ROOT = join(import.meta.dirname, '../..');
const FIXTURE = join(ROOT, 'test/fixtures/permission.mjs');
const [major = 0] = process.versions.node.split('.').map(Number);
const PERMISSION = major < 22 ? '--experimental-permission' : '--permission';
const knowsNet = process.allowedNodeEnvironmentFlags.has('--allow-net');
const PORT = 5353;

/** What became of each way to the network: `ok`, or the code of its error. */
interface Outcome {
  native: boolean;
  nativeError?: string;
  outcomes: Record<string, string>;
  leaked: number;
}

function run(flags: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const args = ['--no-warnings', ...flags, FIXTURE, `${PORT}`];
    const options = { timeout: 20_000, env: { ...process.env, ...env } };
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      if (error !== null) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(JSON.parse(stdout) as Outcome);
    });
  });
}

const WAYS = [
  'connect',
  'connect from an address',
  'connect from a port',
  'connect to a name',
  'HttpAgent',
  'registered',
];
const UDP = ['connectUdp', 'connectUdpSync'];
const READING = ['portUsage', 'listenerConflicts', 'PortMonitor'];
const SYS = ['sys.socket', 'sys.bind', 'sys.connect', 'sys.setsockopt', 'sys.udpLookup'];
const all = (names: readonly string[], code: string) => Object.fromEntries(names.map((name) => [name, code]));
const EVERYTHING = [...WAYS, ...UDP, ...READING, ...SYS];

describeIsolated('with --permission', () => {
  useNetwork({ range: [20000, 20099] });
  beforeEach(() => echoServer(PORT, '127.0.0.1'));
  const read = '--allow-fs-read=*';

  test('without --allow-addons: it loads, and says what is missing', async () => {
    const { native, nativeError, outcomes } = await run([PERMISSION, read]);
    expect(native).toBe(false);
    expect(nativeError).toContain('With --permission, add --allow-addons');
    const own = EVERYTHING.filter((name) => name !== 'registered');
    expect(outcomes).toMatchObject(all(own, 'ERR_CONNECTX_UNSUPPORTED native-addon'));
    // It stays core's own.
    expect(outcomes.registered).toBe(knowsNet ? 'ERR_ACCESS_DENIED Net' : 'ok');
  });

  test(`with --allow-addons${knowsNet ? ' and --allow-net' : ''}: everything works`, async () => {
    const flags = [PERMISSION, read, '--allow-addons', ...(knowsNet ? ['--allow-net'] : [])];
    expect(await run(flags)).toEqual({ native: true, outcomes: all(EVERYTHING, 'ok'), leaked: 0 });
  });

  if (knowsNet) {
    test('without it nothing is opened, bound, connected, or read from the kernel', async () => {
      const { native, outcomes, leaked } = await run([PERMISSION, read, '--allow-addons']);
      const { 'connect to a name': lookup, ...others } = outcomes;
      // Core does not look up names.
      expect([native, lookup]).toEqual([true, 'ERR_ACCESS_DENIED']);
      const rest = EVERYTHING.filter((name) => name !== 'connect to a name');
      expect(others).toEqual(all(rest, 'ERR_ACCESS_DENIED Net'));
      expect(leaked).toBe(0);
    });

    test('it may be given up while the process runs', async () => {
      const { outcomes } = await run([PERMISSION, read, '--allow-addons', '--allow-net'], { DROP: 'net' });
      const rest = EVERYTHING.filter((name) => name !== 'connect to a name');
      expect(outcomes).toMatchObject(all(rest, 'ERR_ACCESS_DENIED Net'));
    });

    test('--permission-audit forbids nothing', async () => {
      const { outcomes } = await run(['--permission-audit', read, '--allow-addons']);
      expect(outcomes).toEqual(all(EVERYTHING, 'ok'));
    });
  } else {
    // Node 20, 22 and 24: there is nothing to deny, but `has('net')` is false there, too.
    test('this Node has no permission for the network', () => expect(major).toBeLessThan(26));
  }

  test('a process that may read only its own files is told what it needs, and connects with it', async () => {
    const flags = [PERMISSION, '--allow-addons', ...(knowsNet ? ['--allow-net'] : []), `--allow-fs-read=${ROOT}`];
    const { nativeError } = await run(flags);
    expect(nativeError).toContain(`--allow-fs-read=${ROOT} and --allow-fs-read=/etc/alpine-release`);
    const { outcomes } = await run([...flags, '--allow-fs-read=/etc/alpine-release']);
    expect(outcomes).toMatchObject(
      all(
        [...WAYS, ...UDP, ...SYS].filter((name) => name !== 'connect to a name'),
        'ok',
      ),
    );
  });
});
