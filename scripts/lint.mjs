// One formatter and one linter a language: `npm run lint`, and `npm run format` to mend what can be mended. The C++ tools
// are Debian's clang-format and clang-tidy; without them the C++ is left out, which CI does not allow.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, works } from './lib.mjs';

const fix = process.argv.includes('--fix');

run('npx', ['prettier', fix ? '--write' : '--check', '--log-level=warn', '.']);
run('npx', ['eslint', ...(fix ? ['--fix'] : []), '--max-warnings=0', '.']);

const cxx = ['native', 'test/native', 'bench/native'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => /\.(c|cc|h)$/.test(name))
    .map((name) => join(folder, name)),
);
if (works('clang-format', ['--version'])) {
  run('clang-format', fix ? ['-i', ...cxx] : ['--dry-run', '-Werror', ...cxx]);
} else {
  console.log('left out: C++ formatting, for want of clang-format');
  if (process.env.CI === 'true') process.exit(1);
}
