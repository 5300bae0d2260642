// Builds dist/ from src/: the types, a CommonJS file for each entry point, one for what they share, and what the command line brings
// along (man page, completions). CommonJS for everybody, so
// that a program that reaches connectx by import and by require has one `Socket` and one `ConnectxError`. Node finds the names in
// `exports.name = ...`; a second file for import would take it 4 milliseconds, and any other a third of one, hence so few.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { writeManual } from './build-manual.mjs';
import { root } from './lib.mjs';

const require = createRequire(import.meta.url);
const dist = join(root, 'dist');
const { bin, dependencies, exports, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const entries = [...Object.values(exports).map((entry) => entry.default), ...Object.values(bin)]
  .filter((file) => file !== undefined)
  .map((file) => file.replace(/^(\.\/)?dist\//, '').replace(/\.js$/, ''));

rmSync(dist, { recursive: true, force: true });
const tsc = [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.json', '--emitDeclarationOnly'];
execFileSync(process.execPath, tsc, { cwd: root, stdio: 'inherit' });

const external = new RegExp(`^(node:|(${Object.keys({ ...dependencies, ...peerDependencies }).join('|')})$)`);
const bundle = await rolldown({
  input: Object.fromEntries(entries.map((name) => [name, join(root, `src/${name}.ts`)])),
  platform: 'node',
  external,
  // Whatever is not understood is an error.
  onLog(level, log) {
    throw new Error(`${level}: ${log.message}`);
  },
});
await bundle.write({
  dir: dist,
  format: 'cjs',
  esModule: true,
  sourcemap: true,
  comments: { legal: false, annotation: false, jsdoc: false },
  entryFileNames: '[name].js',
  chunkFileNames: '[name].js',
  codeSplitting: { groups: [{ name: 'core', minShareCount: 2 }] },
});
await bundle.close();
await writeManual();
