// The charts of docs/million.md: flows and rate over time, and memory over time. The same figures give the same SVG.
import * as vega from 'vega';
import { compile } from 'vega-lite';

const FLOWS = '#0b7a3e';
const RATE = '#e8871e';
const MEMORY = '#1f6fb4';
const QUIET = '#888888';

/** Flows open over time while `run` opens them, and how many a second that is. */
export function flowsChart({ title, samples }) {
  const opening = samples.filter(({ phase }) => phase === 'open');
  const flows = [{ seconds: 0, flows: 0 }, ...opening.map(({ seconds, done }) => ({ seconds, flows: done }))];
  const rates = flows.slice(1).map(({ seconds, flows: done }, index) => {
    const before = flows[index];
    return { seconds, rate: Math.round((done - before.flows) / Math.max(seconds - before.seconds, 0.001)) };
  });
  // The last sample is taken when all are open, perhaps an instant after the one before it.
  if (opening.length > 1 && flows.at(-1).seconds - flows.at(-2).seconds < 0.5) rates.pop();
  const line = (values, field, name, color) => ({
    data: { values },
    mark: { type: 'line', color, strokeWidth: 2 },
    encoding: { x: time('seconds', 'seconds of opening'), y: amount(field, name, color) },
  });
  return draw({
    title,
    layer: [line(flows, 'flows', 'flows open', FLOWS), line(rates, 'rate', 'flows opened a second', RATE)],
    resolve: { scale: { y: 'independent' } },
  });
}

/** Memory that is not available any more, over the whole of `run`. */
export function memoryChart({ title, samples, stocks }) {
  const values = samples.map(({ at, available }) => ({ at, used: (stocks.before.available - available) / 2 ** 30 }));
  const begins = ['open', 'echo', 'close'].map((phase) => ({
    phase,
    at: samples.find((sample) => sample.phase === phase).at,
  }));
  const x = time('at', 'seconds since the start');
  return draw({
    title,
    layer: [
      {
        data: { values },
        mark: { type: 'area', color: MEMORY, opacity: 0.2, line: { color: MEMORY, strokeWidth: 2 } },
        encoding: { x, y: amount('used', 'fall of MemAvailable, GiB', MEMORY, '.1~f') },
      },
      { data: { values: begins }, mark: { type: 'rule', color: QUIET, strokeDash: [4, 3] }, encoding: { x } },
      {
        data: { values: begins },
        mark: { type: 'text', color: QUIET, align: 'left', baseline: 'top', dx: 4, y: 2 },
        encoding: { x, text: { field: 'phase' } },
      },
    ],
  });
}

const time = (field, title) => ({ field, type: 'quantitative', title, scale: { nice: false } });
const amount = (field, title, color, format = ',d') => ({
  field,
  type: 'quantitative',
  title,
  axis: { titleColor: color, format },
});

async function draw({ title, ...spec }) {
  const { spec: compiled } = compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    // White, so that it can be read on a dark page, too.
    config: { background: '#ffffff', padding: 12, font: 'DejaVu Sans, Verdana, Arial, sans-serif' },
    title: { text: title, anchor: 'start' },
    width: 760,
    height: 240,
    ...spec,
  });
  const view = new vega.View(vega.parse(compiled), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
