// A guest of `npm run test:kernels` has the project and Node, wherever they are on the host.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { need } from '../helpers/needs.js';
import * as kernels from '../../scripts/kernels/keep.mjs';

const COVERED: readonly string[] = kernels.COVERED;
const keep: (paths: readonly string[]) => string[] = kernels.keep;

const scripts = join(import.meta.dirname, '../../scripts/kernels');

describe('what a guest puts back', () => {
  test.each([
    [['/home/me/connectx', '/usr/local'], []],
    [['/tmp/a b/connectx', '/usr'], ['/tmp/a b/connectx']],
    [
      ['/run/user/1/connectx', '/tmp/node'],
      ['/run/user/1/connectx', '/tmp/node'],
    ],
    [['/tmp/connectx', '/tmp/connectx/.nodes/node'], ['/tmp/connectx']],
    [['/tmpfs/connectx', '/var/tmp/node'], []],
  ])('of %j: %j', (paths, kept) => {
    expect(keep(paths)).toEqual(kept);
  });

  test.each([
    ['/dev/shm/connectx', 'A guest cannot have /dev/shm/connectx: it has a file system of its own there.'],
    ['/tmp', 'A guest cannot have all of /tmp: it has a folder of its own there.'],
    ['/tmp/a\nb', 'A guest cannot have a folder with a line break in its name.'],
  ])('%j is refused', (path, message) => {
    expect(() => keep([path])).toThrow(message);
  });

  test('is what init covers, and after it has covered it', () => {
    const init = readFileSync(join(scripts, 'init'), 'utf8');
    const covered = [...init.matchAll(/^mount -t tmpfs tmpfs \/root(\/.*)$/gm)].map(([, folder = '']) => folder);
    expect(covered.sort()).toEqual([...COVERED].sort());
    expect(init.indexOf('/put-back')).toBeGreaterThan(init.lastIndexOf('mount -t tmpfs'));
  });
});

test('put-back: a covered folder is there again, and what is written to it stays in the guest', () => {
  need('mount');
  const host = mkdtempSync(join(tmpdir(), 'connectx-put-back-'));
  try {
    const project = join(host, 'lower/tmp/a, b:c');
    mkdirSync(project, { recursive: true });
    mkdirSync(join(host, 'mounts'));
    writeFileSync(join(project, 'file'), 'as on the host');
    const program = `
      mount -t tmpfs tmpfs mounts && mkdir -p mounts/root/tmp mounts/upper && mount -t tmpfs tmpfs mounts/root/tmp &&
      printf '%s\\n' '/tmp/a, b:c' | sh -e '${join(scripts, 'put-back')}' "$PWD/lower" "$PWD/mounts/root" "$PWD/mounts/upper" &&
      cat 'mounts/root/tmp/a, b:c/file' && echo written >'mounts/root/tmp/a, b:c/file'`;
    const { stdout, stderr, status } = spawnSync('unshare', ['-Urm', 'sh', '-c', program], {
      cwd: host,
      encoding: 'utf8',
    });
    expect({ stdout, stderr, status }).toEqual({ stdout: 'as on the host', stderr: '', status: 0 });
    expect(readFileSync(join(project, 'file'), 'utf8')).toBe('as on the host');
  } finally {
    rmSync(host, { recursive: true });
  }
});
