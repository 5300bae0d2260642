// Makes the charts and the tables of docs/benchmarks.md of the figures of a run.
//
//   node bench/charts.mjs                 of docs/benchmarks/results.json, which is where `npm run bench -- --publish` puts them
//   node bench/charts.mjs RESULTS.json    of another file, which becomes docs/benchmarks/results.json
//   node bench/charts.mjs --check         changes nothing; exit code 1 when anything is not what the figures say
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { check, publish, readResults, RESULTS } from './lib/publish.mjs';

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
if (values.check) {
  const stale = await check();
  for (const file of stale) console.log(`not made of ${fileURLToPath(RESULTS)}: ${file}`);
  process.exit(stale.length > 0 ? 1 : 0);
}
for (const file of await publish(readResults(positionals[0] ?? RESULTS))) console.log(file);
