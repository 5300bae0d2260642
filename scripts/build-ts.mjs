// Builds dist/ from src/: a CommonJS file for each entry point and one for what they share, the types, and an ESM face on each
// entry point. The face re-exports the CommonJS module, so that a program that reaches connectx both ways has one `Socket` and
// one `ConnectxError`. Node takes a third of a millisecond for every file that it loads, hence so few.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { root } from './lib.mjs';

const require = createRequire(import.meta.url);
const dist = join(root, 'dist');
const { bin, dependencies, exports, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const entries = [...Object.values(exports).map((entry) => entry.require?.default), ...Object.values(bin)]
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

for (const entry of Object.values(exports)) {
  const cjs = entry.require?.default;
  if (cjs === undefined) continue;
  const name = cjs.replace('./dist/', '').replace(/\.js$/, '');
  const names = Object.keys(require(join(root, cjs)));
  writeFileSync(
    join(dist, `${name}.mjs`),
    `import cjs from './${name}.js';\nexport const { ${names.join(', ')} } = cjs;\n`,
  );
  writeFileSync(join(dist, `${name}.d.mts`), `export * from './${name}.js';\n`);
}
