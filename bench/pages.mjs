// Makes the charts and the generated parts of README.md, docs/benchmarks.md, docs/comparison.md and docs/million.md.
//
//   node bench/pages.mjs                  of docs/figures.json
//   node bench/pages.mjs RESULTS.json...  of these results of a run as well, whose figures go to docs/figures.json first
//   node bench/pages.mjs --check          changes nothing; exit code 1 when anything is not what the figures say
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { check, publish } from './lib/publish.mjs';

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
if (values.check) {
  const stale = check();
  for (const file of stale) console.log(`not made of docs/figures.json: ${file}`);
  process.exit(stale.length > 0 ? 1 : 0);
}
const results = positionals.map((file) => JSON.parse(readFileSync(file, 'utf8')));
for (const file of publish(...results)) console.log(file);
