// What of docs/million.md comes from the figures of a run. Pure.
import { flowsChart, memoryChart } from './charts.mjs';
import { rowsOf } from './report.mjs';

const BEGIN = '<!-- figures: from docs/million/figures.json, by `node bench/million/page.mjs` -->';
const END = '<!-- end of the figures -->';

/** The page with its part between the two marks made anew. */
export function pageWith(figures, page) {
  const from = page.indexOf(BEGIN);
  const to = page.indexOf(END);
  if (from < 0 || to < from) throw new Error('the page has no place for the figures');
  return `${page.slice(0, from)}${BEGIN}\n\n${figuresAsMarkdown(figures)}\n${page.slice(to)}`;
}

const nameOf = ({ protocol, kind }) => (kind === 'main' ? protocol : `${protocol}-${kind}`);

/** Name and SVG of each chart. */
export async function chartsOf({ runs }) {
  const charts = {};
  for (const run of runs.filter(({ kind }) => kind !== 'control')) {
    charts[`${nameOf(run)}-flows`] = await flowsChart(run);
    charts[`${nameOf(run)}-memory`] = await memoryChart(run);
  }
  return charts;
}

export function figuresAsMarkdown({ time, machine, runs }) {
  const { node, kernel, processors, processor, memory, descriptors } = machine;
  const lines = [
    `Measured on ${time.slice(0, 10)}: Node ${node}, Linux ${kernel}, ${processors} x ${processor}, ${(memory / 2 ** 30).toFixed(1)} GiB,` +
      ` at most ${descriptors.toLocaleString('en-US')} descriptors a process.`,
    '',
  ];
  for (const run of runs.filter(({ kind }) => kind !== 'control')) {
    lines.push(`### ${run.title}`, '', ...markdownTable(['', ''], rowsOf(run)), '');
    lines.push(`![flows over time](million/${nameOf(run)}-flows.svg)`, '');
    lines.push(`![memory over time](million/${nameOf(run)}-memory.svg)`, '');
    const checks = run.checks.map(({ what, expected, found, holds }) => [
      what,
      found.toLocaleString('en-US'),
      holds ? 'holds' : `FAILS: expected ${expected.toLocaleString('en-US')}`,
    ]);
    lines.push(...markdownTable(['checked', 'found', ''], checks), '');
  }
  lines.push('### What core does in the same namespace', '');
  const controls = runs.filter(({ kind }) => kind === 'control');
  lines.push(...markdownTable(['', 'ports', 'destinations', 'open', 'time', 'ended by'], controls.map(controlRow)), '');
  return lines.join('\n');
}

function controlRow({ title, plan, open, phases, limit, errors }) {
  const codes = Object.keys(errors).join(', ');
  return [
    title.replace('control: ', ''),
    plan.ports.toLocaleString('en-US'),
    `${plan.destinations}`,
    open.toLocaleString('en-US'),
    `${phases.open.seconds.toFixed(1)} s`,
    codes === '' ? limit : codes,
  ];
}

function markdownTable(heads, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)];
}
