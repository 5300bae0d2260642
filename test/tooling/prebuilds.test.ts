// The prebuilt binaries: what is asked of them, and what users have who install the tarball.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newest } from '../../scripts/lib.mjs';
import { defects, defectsOf, targets } from '../../scripts/prebuilds.mjs';
import { BUILT_ADDON, isPrebuilt, npmInstall, pack, PREBUILT, type Packed, type Project } from '../helpers/package.js';

const root = join(import.meta.dirname, '../..');
/** Those that `npm run prebuild` has made of the sources as they are: .ci/run has it make some. */
const built = targets.filter(({ file }) => newest(join(root, 'prebuilds', file)) > newest(join(root, 'native')));
const here = isPrebuilt ? '' : ' [with the addon of this machine, for `npm run prebuild` was not run]';

describe(`npm install --ignore-scripts of the tarball, without a compiler${here}`, () => {
  let packed: Packed;
  let project: Project;
  beforeAll(async () => {
    packed = await pack();
    project = await npmInstall(packed);
    project.write(
      'connect.mjs',
      `
      import { createRequire } from 'node:module';
      import { once } from 'node:events';
      import { createServer } from 'node:net';
      import { spawnSync } from 'node:child_process';
      import { capabilities, connect } from 'connectx';
      const compilers = ['cc', 'c++', 'gcc', 'g++', 'clang', 'make', 'python3'];
      console.log('compilers:', compilers.filter((name) => spawnSync(name, ['--version']).error === undefined).join());
      const { native, nativeError } = capabilities();
      const addons = Object.keys(createRequire(import.meta.url).cache).filter((path) => path.endsWith('.node'));
      console.log(native, addons.map((path) => path.replace(/.*connectx\\//, '')).join());
      if (nativeError) console.log(nativeError.message);
      const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const socket = connect({ host: '127.0.0.1', port: server.address().port, localAddress: '127.0.0.1' });
        await once(socket, 'connect');
        console.log('connected from', socket.localAddress);
        socket.destroy();
      } catch (error) {
        console.log(error.code, error.reason);
      }
      server.close();`,
    );
  }, 120_000);
  afterAll(() => {
    packed.remove();
    project.remove();
  });

  test('connects', async () => {
    expect(await project.node('connect.mjs')).toBe(`compilers: \ntrue ${PREBUILT}\nconnected from 127.0.0.1\n`);
  });

  test('has a command that runs', () => {
    const command = join(project.folder, 'node_modules/.bin/connectx');
    const { status, stdout } = spawnSync(process.execPath, [command, 'doctor', '--json'], { encoding: 'utf8' });
    // 1: it has found something about this machine.
    expect([0, 1]).toContain(status);
    expect(() => JSON.parse(stdout) as unknown).not.toThrow();
  });

  test('takes no binary that lies beside Node', () => {
    const folder = mkdtempSync(join(tmpdir(), 'connectx-nearby-'));
    try {
      // A Node of its own, with the package's binaries where node-gyp-build looks last.
      cpSync(process.execPath, join(folder, 'node'));
      cpSync(join(project.package, 'prebuilds'), join(folder, 'prebuilds'), { recursive: true });
      renameSync(join(project.package, 'prebuilds'), join(project.package, 'elsewhere'));
      const program =
        "const { native, nativeError } = require('connectx').capabilities(); console.log(native, nativeError?.message)";
      const run = (env: NodeJS.ProcessEnv) =>
        spawnSync(join(folder, 'node'), ['-e', program], { cwd: project.folder, env, encoding: 'utf8' }).stdout;
      expect(run({})).toMatch(/^false .*no connectx binary for .* is not in it\)/);
      // Where it is told to look it looks.
      expect(run({ CONNECTX_PREBUILD: folder })).toBe('true undefined\n');
    } finally {
      renameSync(join(project.package, 'elsewhere'), join(project.package, 'prebuilds'));
      rmSync(folder, { recursive: true });
    }
  });

  test('says what to do where there is no binary', async () => {
    rmSync(join(project.package, 'prebuilds'), { recursive: true });
    const [, native, message, failure] = (await project.node('connect.mjs')).split('\n');
    expect([native, failure]).toEqual(['false ', 'ERR_CONNECTX_UNSUPPORTED native-addon']);
    expect(message).toContain(`no connectx binary for ${process.platform}-${process.arch}`);
    expect(message).toContain('Reinstall connectx');
    expect(message).toContain('npx node-gyp rebuild');
  });
});

describe('what is asked of a binary', () => {
  const target = targets.find(({ arch, libc }) => arch === process.arch && libc === 'glibc');
  if (target === undefined) throw new Error(`there is no target for ${process.arch}`);

  test('the addon of this machine fails it: shared C++ library, symbols, names', () => {
    const found = defects(BUILT_ADDON, target);
    expect(found).toEqual(expect.arrayContaining(['it needs libstdc++.so.6', 'it is not stripped']));
    expect(found.filter((defect) => / is of (GLIBCXX|CXXABI)_/.test(defect))).not.toEqual([]);
    expect(found.filter((defect) => /exports|stack|is for/.test(defect))).toEqual([]);
  });

  test('so does one for another machine, or for another C library', () => {
    const other = targets.find(({ arch, libc }) => arch !== process.arch && libc === 'glibc');
    const musl = targets.find(({ arch, libc }) => arch === process.arch && libc === 'musl');
    if (other === undefined || musl === undefined) throw new Error('a target is missing');
    expect(defects(BUILT_ADDON, other)[0]).toMatch(/^it is for .*, not for /);
    expect(defects(BUILT_ADDON, musl)).toContain('it needs libc.so.6');
  });

  test('and one that asks for a newer glibc, or is too large', () => {
    const folder = mkdtempSync(join(tmpdir(), 'connectx-prebuilds-'));
    const spoilt = join(folder, 'connectx.node');
    try {
      // That of memcpy; the names of versions are texts in the file.
      const bytes = readFileSync(BUILT_ADDON)
        .toString('latin1')
        .replace(/GLIBC_2\.1[47]\0/, 'GLIBC_2.29\0');
      writeFileSync(spoilt, Buffer.concat([Buffer.from(bytes, 'latin1'), Buffer.alloc(1e6)]));
      const found = defects(spoilt, target);
      expect(found).toContainEqual(expect.stringMatching(/^\w+ is of glibc 2\.29$/));
      expect(found).toContainEqual(expect.stringMatching(/^it has \d+ bytes, more than/));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('one that is missing, and one too many, are found', () => {
    const folder = mkdtempSync(join(tmpdir(), 'connectx-prebuilds-'));
    try {
      expect(defectsOf(folder)).toEqual(targets.map(({ file }) => `${file}: it is missing`));
      cpSync(BUILT_ADDON, join(folder, 'win32-x64/connectx.node'));
      expect(defectsOf(folder, [])).toEqual(['win32-x64/connectx.node: it is for no machine that is known here']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test.skipIf(built.length === 0)(
    `those of npm run prebuild pass it${built.length === 0 ? ' [left out: none was built]' : ''}`,
    () => {
      expect(defectsOf(join(root, 'prebuilds'), built)).toEqual([]);
    },
  );
});
