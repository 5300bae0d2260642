// docs/reliability.md, a table of what was tried and how often it failed: `npm run reliability`. It is made of docs/reliability.json,
// a run a line; what runs of checks have left in reports/ (`report()` in lib.mjs) takes the place of older ones there first.
// With --check nothing is written: is the page what the file gives?
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './lib.mjs';
import { isKnown, kept, pageOf } from './reliability-page.mjs';

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const file = join(root, 'docs/reliability.json');
const page = join(root, 'docs/reliability.md');
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const runs = new Map(read(file).map((run) => [run.name, run]));

if (!values.check) {
  const reports = join(root, 'reports');
  const names = existsSync(reports) ? readdirSync(reports) : [];
  const known = names.filter((name) => name.endsWith('.json') && isKnown(name.replace(/\.json$/, '')));
  for (const run of known.map((name) => read(join(reports, name)))) runs.set(run.name, kept(run));
  const lines = [...runs.values()].map((run) => JSON.stringify(run));
  writeFileSync(file, `[\n${lines.join(',\n')}\n]\n`);
}
const text = pageOf([...runs.values()]);
if (!values.check) writeFileSync(page, text);
else if (readFileSync(page, 'utf8') !== text) {
  console.error('docs/reliability.md is not what docs/reliability.json gives: `npm run reliability` writes it.');
  process.exit(1);
}
