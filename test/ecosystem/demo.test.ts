// The demo shows what it says that it shows, with whatever is installed.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';
import { folderWith, leftOutWithout } from '../helpers/programs.js';

const root = join(import.meta.dirname, '../..');

describe('the demo', () => {
  const script = join(root, 'examples/demo.mjs');

  /** What the demo has left in its folder for temporary files, and the processes that run in it. */
  function leftovers(folder: string): string[] {
    const processes = readdirSync('/proc').filter((name) => {
      try {
        return readlinkSync(`/proc/${name}/cwd`).startsWith(folder);
      } catch {
        // No process, or one that has just ended.
        return false;
      }
    });
    return [...readdirSync(folder), ...processes];
  }

  /** A PATH on which these are the only programs. */
  function pathTo(...programs: string[]): string {
    const folder = folderWith();
    for (const program of programs) {
      const directories = (process.env.PATH ?? '').split(delimiter);
      const found = directories.map((directory) => join(directory, program)).find((file) => existsSync(file));
      if (found !== undefined) symlinkSync(found, join(folder, program));
    }
    return folder;
  }

  async function demo(path: string, ...args: string[]) {
    const folder = folderWith();
    // An addon with sanitizers cannot be loaded without theirs.
    const sanitizers = Object.entries(process.env).filter(([name]) => /^(LD_PRELOAD|[A-Z]+SAN_OPTIONS)$/.test(name));
    const env = { ...Object.fromEntries(sanitizers), PATH: path, TMPDIR: folder };
    const { stdout } = await promisify(execFile)(process.execPath, [script, ...args], { env, timeout: 20_000 });
    expect(stdout).not.toContain('\u001b');
    expect(leftovers(folder)).toEqual([]);
    const totals = [...stdout.matchAll(/^ +total +(\d+) +(\d+)$/gm)].map(([, core, ours]) => [core, ours]);
    return { stdout, totals };
  }

  describeIsolated('in a namespace', () => {
    const tools = ['unshare', 'ip', 'sh'];

    for (const [servers, ...programs] of [['nginx', 'nginx'], ['HAProxy', 'haproxy'], ["Node's http"]] as const) {
      const leftOut = leftOutWithout(...programs);
      test.skipIf(leftOut)(`leaves nothing behind when it is interrupted: ${servers}${leftOut}`, async () => {
        const folder = folderWith();
        const env = { ...process.env, PATH: pathTo(...tools, ...programs), TMPDIR: folder };
        const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
        const ended = once(child, 'exit');
        const [first] = (await once(child.stdout, 'data')) as [Buffer];
        expect(String(first)).toMatch(new RegExp(`^${servers}`));
        // Node's server is the demo itself. The others have a folder and a process, or there would be nothing to clean up.
        if (programs.length > 0) expect(leftovers(folder)).not.toEqual([]);
        child.kill('SIGINT');
        expect(await ended).toEqual([130, null]);
        expect(leftovers(folder)).toEqual([]);
      });

      test.skipIf(leftOut)(`shows both limits: ${servers}${leftOut}`, async () => {
        const { stdout, totals } = await demo(pathTo(...tools, ...programs));
        expect(stdout).toMatch(new RegExp(`^${servers} .*in a network namespace of its own`));
        expect(totals).toEqual([
          ['20', '100'],
          ['20', '100'],
        ]);
      });
    }

    const noScript = leftOutWithout('script');
    test.skipIf(noScript)(`draws each table over itself, below its title, on a terminal${noScript}`, async () => {
      const command = `stty cols 80; exec ${process.execPath} ${script}`;
      // Either of them has Node say that the terminal has no colours.
      const { NO_COLOR: _, CI: __, ...env } = process.env;
      const { stdout } = await promisify(execFile)('script', ['-qec', command, '/dev/null'], { env, timeout: 20_000 });
      const scenes = stdout.split('\n\u001b[1mSource IP and port').map((text) => text.split('\u001b[7A'));
      expect(scenes).toHaveLength(2);
      for (const [first = '', ...again] of scenes) {
        // The first drawing is below the title, and nothing stands between one drawing and the next.
        expect(first).toContain('pinned');
        expect(first.slice(first.indexOf('pinned')).match(/ total /g)).toHaveLength(1);
        for (const drawing of again.slice(0, -1)) expect(drawing.match(/ total /g)).toHaveLength(1);
        expect(again.length).toBeGreaterThan(100);
      }
    });

    test('shows exact 4-tuples where no namespace can be made', async () => {
      const { stdout, totals } = await demo(pathTo());
      expect(stdout).toContain('No network namespace can be made here');
      expect(totals).toEqual([['20', '100']]);
    });
  });

  test('has nothing to show without the addon', async () => {
    const env = { ...process.env, CONNECTX_DISABLE_NATIVE: '1' };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env, timeout: 20_000 });
    expect(stdout).toContain('connectx does what net.connect does');
  });
});
