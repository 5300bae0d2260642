// The pages and charts that are made of docs/figures.json, and that file itself.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { frontChart, occupancyChart } from './charts.mjs';
import { figuresOf, textOf } from './figures.mjs';
import { pageOf } from './parts.mjs';

const root = new URL('../../', import.meta.url);
const at = (path) => new URL(path, root);
const FIGURES = 'docs/figures.json';
const PAGES = ['README.md', 'docs/benchmarks.md', 'docs/comparison.md', 'docs/million.md'];

export const readFigures = () => JSON.parse(readFileSync(at(FIGURES), 'utf8'));

/** By path, what every file should be. */
function files(figures) {
  return {
    [FIGURES]: `${textOf(figures)}\n`,
    'docs/benchmarks/front.svg': frontChart(figures),
    'docs/benchmarks/occupancy-tcp.svg': occupancyChart(figures, 'TCP'),
    'docs/benchmarks/occupancy-udp.svg': occupancyChart(figures, 'UDP'),
    ...Object.fromEntries(PAGES.map((path) => [path, pageOf(figures, readFileSync(at(path), 'utf8'))])),
  };
}

/** Puts what the pages print of these results into docs/figures.json, writes the pages and charts, and says which files these are. */
export function publish(...results) {
  // As they will be read from the file, which has them rounded.
  const figures = JSON.parse(textOf(Object.assign(readFigures(), ...results.map(figuresOf))));
  const made = files(figures);
  for (const [path, text] of Object.entries(made)) writeFileSync(at(path), text);
  return Object.keys(made).map((path) => fileURLToPath(at(path)));
}

/** The files that are not what the figures say. */
export function check() {
  return Object.entries(files(readFigures()))
    .filter(([path, text]) => !existsSync(at(path)) || readFileSync(at(path), 'utf8') !== text)
    .map(([path]) => path);
}
