// One formatter and one linter a language: `npm run lint`, and `npm run format` to mend what can be mended. The C++ tools
// are Debian's clang-format and clang-tidy; without them the C++ is left out, which CI does not allow.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root, run, works } from './lib.mjs';

const fix = process.argv.includes('--fix');
// Without clang-tidy, which takes minutes; `npm run nightly` has it.
const quick = process.argv.includes('--quick');

run('npx', ['prettier', fix ? '--write' : '--check', '--log-level=warn', '.']);
run('npx', ['eslint', ...(fix ? ['--fix'] : []), '--max-warnings=0', '.']);

const cxx = ['native', 'test/native', 'test/fuzz', 'bench/native'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(c|cc|h)$/.test(name) && !name.startsWith('build/'))
    .map((name) => join(folder, name)),
);

// As eslint sees to it for src/.
const long = cxx
  .filter((name) => name.startsWith('native/'))
  .filter((name) => readFileSync(join(root, name), 'utf8').split('\n').length > 301);
if (long.length > 0) {
  console.error(`More than 300 lines: ${long.join(', ')}`);
  process.exit(1);
}

function leftOut(what, tool) {
  console.log(`left out: ${what}, for want of ${tool}`);
  if (process.env.CI === 'true') process.exit(1);
}

if (works('clang-format', ['--version'])) {
  run('clang-format', fix ? ['-i', ...cxx] : ['--dry-run', '-Werror', ...cxx]);
} else leftOut('C++ formatting', 'clang-format');

// Takes a minute or two; what it finds is mended by hand.
if (quick) console.log('clang-tidy is for npm run lint without --quick');
else if (!works('clang-tidy', ['--version'])) leftOut('mistakes in C++', 'clang-tidy');
else if (!fix) {
  const headers = [
    createRequire(import.meta.url)('node-addon-api').include_dir,
    join(dirname(dirname(process.execPath)), 'include/node'),
  ].flatMap((folder) => ['-isystem', folder]);
  const defines = ['_GNU_SOURCE', 'NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'];
  const flags = [
    '-std=c++17',
    ...defines.map((define) => `-D${define}`),
    '-DNODE_GYP_MODULE_NAME=connectx',
    '-Inative',
    ...headers,
  ];
  const sources = cxx.filter((name) => name.endsWith('.cc'));
  // Two at a time.
  const halves = [0, 1].map((half) => sources.filter((_, index) => index % 2 === half));
  const statuses = await Promise.all(
    halves.map(async (half) => {
      const child = spawn('clang-tidy', ['--quiet', ...half, '--', ...flags], {
        cwd: root,
        stdio: ['ignore', 'inherit', 'ignore'],
      });
      const [status] = await once(child, 'exit');
      return status;
    }),
  );
  if (statuses.some((status) => status !== 0)) {
    console.error('clang-tidy: failed');
    process.exit(1);
  }
}
