// docs/reliability.md, a table of what was tried and what came of it: `npm run reliability`. It is made of docs/reliability/*.json,
// which are what runs of checks left in reports/ (`report()` in lib.mjs); those that are there now take the place of older ones.
// With --check nothing is written: is the page what the files give?
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './lib.mjs';
import { pageOf, SECTIONS } from './reliability-page.mjs';

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const kept = join(root, 'docs/reliability');
const page = join(root, 'docs/reliability.md');
const namesIn = (folder) => (existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []);

if (!values.check) {
  mkdirSync(kept, { recursive: true });
  const reports = join(root, 'reports');
  const known = (name) => SECTIONS.some(({ reports: pattern }) => pattern.test(name.replace(/\.json$/, '')));
  for (const name of namesIn(reports).filter(known)) copyFileSync(join(reports, name), join(kept, name));
}
const runs = namesIn(kept).map((name) => JSON.parse(readFileSync(join(kept, name), 'utf8')));
const text = pageOf(runs);
if (!values.check) writeFileSync(page, text);
else if (!existsSync(page) || readFileSync(page, 'utf8') !== text) {
  console.error('docs/reliability.md is not what docs/reliability/*.json give: `npm run reliability` writes it.');
  process.exit(1);
}
