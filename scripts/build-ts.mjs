// Compiles src/ to dist/ as CommonJS, and puts an ESM face on each entry point. The face re-exports the CommonJS module, so
// that a program that reaches connectx both ways has one `Socket` and one `ConnectxError`.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './lib.mjs';

const require = createRequire(import.meta.url);
rmSync(join(root, 'dist'), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.json'], {
  cwd: root,
  stdio: 'inherit',
});

const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const entry of Object.values(exports)) {
  const cjs = entry.require?.default;
  if (cjs === undefined) continue;
  const name = cjs.replace('./dist/', '').replace(/\.js$/, '');
  const names = Object.keys(require(join(root, cjs)));
  writeFileSync(
    join(root, `dist/${name}.mjs`),
    `import cjs from './${name}.js';\nexport const { ${names.join(', ')} } = cjs;\n`,
  );
  writeFileSync(join(root, `dist/${name}.d.mts`), `export * from './${name}.js';\n`);
}
