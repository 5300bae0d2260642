// The figures of a run as docs/benchmarks.md, docs/benchmarks/results.json and the charts beside it.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chartsOf } from './charts.mjs';
import { frontChart, frontParts } from './front.mjs';
import { pageOf } from './page.mjs';

const docs = new URL('../../docs/', import.meta.url);
export const RESULTS = new URL('benchmarks/results.json', docs);
const DESTINATIONS = new URL('benchmarks/destinations.json', docs);
const FRONT = 'benchmarks/front.svg';
const README = '../README.md';

export const readResults = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** Six digits are more than any of these figures has. */
const rounded = (key, value) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value);

export const textOf = (results) => `${JSON.stringify(results, rounded, 1)}\n`;

/** By path below docs/, what every file should be. */
async function files(results) {
  const page = readFileSync(new URL('benchmarks.md', docs), 'utf8');
  const charts = Object.entries(await chartsOf(results)).map(([name, svg]) => [`benchmarks/${name}`, svg]);
  return {
    'benchmarks.md': pageOf(results, page),
    'benchmarks/results.json': textOf(results),
    ...(await frontPage(results)),
    ...Object.fromEntries(charts),
  };
}

// Of a run without the case that the picture shows, the front page is left as it is.
async function frontPage(results) {
  if (results.cases.occupancy === undefined) return {};
  const destinations = readResults(DESTINATIONS);
  const page = readFileSync(new URL(README, docs), 'utf8');
  const parts = frontParts(destinations, results);
  return {
    [FRONT]: await frontChart(destinations, results),
    [README]: page.replaceAll(/(<!-- figures: (\w+) -->\n).*?(<!-- end -->)/gs, (whole, begin, name, end) => {
      return `${begin}\n${parts[name]}\n\n${end}`;
    }),
  };
}

/** Those that there are and that no figure stands behind. */
function strays(made) {
  return readdirSync(new URL('benchmarks', docs))
    .map((name) => `benchmarks/${name}`)
    .filter((path) => path.endsWith('.svg') && path !== FRONT && !(path in made));
}

/** Writes them all, and says which. */
export async function publish(results) {
  mkdirSync(new URL('benchmarks', docs), { recursive: true });
  const made = await files(results);
  for (const [path, text] of Object.entries(made)) writeFileSync(new URL(path, docs), text);
  for (const path of strays(made)) rmSync(new URL(path, docs));
  return Object.keys(made).map((path) => fileURLToPath(new URL(path, docs)));
}

/** The files that are not what the figures say. */
export async function check() {
  const made = await files(readResults(RESULTS));
  const isStale = ([path, text]) => {
    const file = new URL(path, docs);
    return !existsSync(file) || readFileSync(file, 'utf8') !== text;
  };
  return [
    ...Object.entries(made)
      .filter(isStale)
      .map(([path]) => path),
    ...strays(made),
  ].map((path) => `docs/${path}`);
}
