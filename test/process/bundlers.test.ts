// Programs that use the package, bundled as docs/bundlers.md says: with connectx outside of the bundle, and with only its addon outside. What the bundlers
// made runs, and connects with the addon.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build, type BuildOptions } from 'esbuild';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILT_ADDON, install, pack, PREBUILT, type Packed, type Project } from '../helpers/package.js';

const PROGRAM = `
import { once } from 'node:events';
import { createServer } from 'node:net';
import { capabilities, connect } from 'connectx';
import { HttpAgent } from 'connectx/http';

async function main() {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ host: '127.0.0.1', port: server.address().port, localAddress: '127.0.0.1' });
  await once(socket, 'connect');
  console.log(capabilities().native, socket.localAddress, typeof HttpAgent);
  socket.destroy();
  server.close();
}
main();
`;
const SAID = 'true 127.0.0.1 function\n';

let packed: Packed;
let project: Project;
beforeAll(async () => {
  packed = await pack();
  project = install(packed, { addon: readFileSync(BUILT_ADDON) });
  project.write('program.mjs', PROGRAM);
  project.write('program.ts', PROGRAM.replace('server.address()', '(server.address() as { port: number })'));
});
afterAll(() => {
  packed.remove();
  project.remove();
});

/** Runs the bundle in a folder with nothing else but, where they are asked for, node_modules or the prebuilt binaries. */
function runAlone(bundle: string, beside: 'node_modules' | 'prebuilds' | 'nothing'): string {
  const folder = join(project.folder, `alone-${beside}`);
  mkdirSync(join(folder, 'dist'), { recursive: true });
  const target = join(folder, 'dist', bundle);
  cpSync(join(project.folder, bundle), target);
  if (beside === 'node_modules') {
    cpSync(join(project.folder, 'node_modules'), join(folder, 'node_modules'), { recursive: true });
  }
  if (beside === 'prebuilds') {
    mkdirSync(dirname(join(folder, PREBUILT)), { recursive: true });
    cpSync(BUILT_ADDON, join(folder, PREBUILT));
  }
  const { stdout, stderr } = spawnSync(process.execPath, [target], { encoding: 'utf8', timeout: 20_000 });
  rmSync(folder, { recursive: true });
  return stdout + stderr;
}

async function esbuild(outfile: string, options: BuildOptions): Promise<void> {
  const { warnings } = await build({
    absWorkingDir: project.folder,
    bundle: true,
    platform: 'node',
    entryPoints: ['program.mjs'],
    logLevel: 'silent',
    ...options,
    outfile: join(project.folder, outfile),
  });
  expect(warnings).toEqual([]);
}

describe('esbuild', () => {
  test.each([
    ['esm', 'program.mjs', 'outside.mjs'],
    ['cjs', 'program.mjs', 'outside.cjs'],
    ['esm', 'program.ts', 'typed.mjs'],
  ] as const)('format %s of %s, connectx external', async (format, entry, outfile) => {
    await esbuild(outfile, { format, entryPoints: [entry], external: ['connectx', 'connectx/*'] });
    expect(readFileSync(join(project.folder, outfile), 'utf8')).toMatch(/(from|require\()\s*"connectx"/);
    expect(runAlone(outfile, 'node_modules')).toBe(SAID);
  });

  test('format cjs, connectx in the bundle, prebuilds/ beside the folder of the bundle', async () => {
    await esbuild('inside.cjs', { format: 'cjs' });
    expect(readFileSync(join(project.folder, 'inside.cjs'), 'utf8')).not.toContain('require("connectx');
    expect(runAlone('inside.cjs', 'prebuilds')).toBe(SAID);
  });

  test('the same, minified', async () => {
    await esbuild('small.cjs', { format: 'cjs', minify: true });
    expect(runAlone('small.cjs', 'prebuilds')).toBe(SAID);
  });

  test('where the binaries were left behind, the bundle says so', async () => {
    await esbuild('lonely.cjs', { format: 'cjs' });
    expect(runAlone('lonely.cjs', 'nothing')).toMatch(/no connectx binary for .* Reinstall connectx/);
  });
});

describe('rolldown', () => {
  async function bundle(file: string, options: Parameters<typeof rolldown>[0]): Promise<void> {
    const made = await rolldown({ cwd: project.folder, input: 'program.mjs', platform: 'node', ...options });
    await made.write({ file: join(project.folder, file), format: 'cjs' });
    await made.close();
  }

  test('connectx external', async () => {
    await bundle('rolled.cjs', { external: /^connectx/ });
    expect(runAlone('rolled.cjs', 'node_modules')).toBe(SAID);
  });

  test('connectx in the bundle, prebuilds/ beside the folder of the bundle', async () => {
    await bundle('rolled-inside.cjs', {});
    expect(runAlone('rolled-inside.cjs', 'prebuilds')).toBe(SAID);
  });
});
