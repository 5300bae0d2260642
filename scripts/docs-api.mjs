// The API reference below docs/api, made of the docstrings: `npm run docs:api`, and with `--check` whether it is up to date. A public
// name without a docstring, or a link that leads nowhere, is an error (typedoc.json).
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './lib.mjs';

const check = process.argv.includes('--check');
const made = join(root, 'docs/api');
const out = check ? mkdtempSync(join(tmpdir(), 'connectx-api-')) : made;
const pagesIn = (folder) =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
try {
  run('npx', ['typedoc', '--logLevel', 'Warn', '--out', out]);
  if (check) {
    const [before, now] = [pagesIn(made), pagesIn(out)];
    const names = new Set([...Object.keys(before), ...Object.keys(now)]);
    const stale = [...names].filter((name) => before[name] !== now[name]);
    for (const name of stale) console.error(`docs/api/${name} is not what the docstrings say; npm run docs:api`);
    if (stale.length > 0) process.exitCode = 1;
  }
} finally {
  if (check) rmSync(out, { recursive: true });
}
