// The charts of docs/million.md, as SVG: flows and rate over time, and memory over time.
import * as echarts from 'echarts';

const WIDTH = 900;
const HEIGHT = 340;
const COLOURS = ['#2f6fb0', '#d9822b', '#5a9e6f', '#9b59b6'];

/** Flows open over time while `run` opens them, and how many a second that is. */
export function flowsChart({ title, samples }) {
  const opening = samples.filter(({ phase }) => phase === 'open');
  const flows = [[0, 0], ...opening.map(({ seconds, done }) => [seconds, done])];
  const rates = flows.slice(1).map(([at, done], index) => {
    const [before, doneBefore] = flows[index];
    return [at, Math.round((done - doneBefore) / Math.max(at - before, 0.001))];
  });
  // The last sample is taken when all are open, an instant after the one before it.
  if (opening.length > 1 && flows.at(-1)[0] - flows.at(-2)[0] < 0.5) rates.pop();
  return draw({
    title: `${title}: flows open, and opened a second`,
    xAxis: timeAxis('seconds of opening'),
    yAxis: [axis('flows open'), { ...axis('a second'), splitLine: { show: false } }],
    series: [line('flows open', flows), { ...line('a second', rates), yAxisIndex: 1 }],
  });
}

/** Memory that is not available any more, and flows that are open, over the whole of `run`. */
export function memoryChart({ title, samples, stocks }) {
  const gibibytes = (bytes) => Math.round((bytes / 2 ** 30) * 100) / 100;
  const used = samples.map(({ at, available }) => [at, gibibytes(stocks.before.available - available)]);
  const begins = ['open', 'echo', 'close'].map((phase) => ({
    name: phase,
    xAxis: samples.find((sample) => sample.phase === phase).at,
  }));
  return draw({
    title: `${title}: memory in use by all of it (fall of MemAvailable), GiB`,
    xAxis: timeAxis('seconds since the start'),
    yAxis: [axis('GiB')],
    series: [
      {
        ...line('memory', used),
        areaStyle: { opacity: 0.15 },
        markLine: {
          symbol: 'none',
          label: { formatter: '{b}', position: 'insideEndTop' },
          lineStyle: { color: '#888' },
          data: begins,
        },
      },
    ],
  });
}

const timeAxis = (name) => ({
  type: 'value',
  name,
  nameLocation: 'middle',
  nameGap: 26,
  max: 'dataMax',
  axisLabel: { formatter: wholeSeconds, showMaxLabel: false },
});
const wholeSeconds = (value) => `${Math.round(value)}`;
const axis = (name) => ({
  type: 'value',
  name,
  min: 0,
  axisLabel: { formatter: (value) => value.toLocaleString('en-US') },
});
const line = (name, data) => ({ name, data, type: 'line', symbol: 'none', smooth: false });

function draw({ title, ...option }) {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    color: COLOURS,
    title: { text: title, left: 'center', textStyle: { fontSize: 14 } },
    legend: { top: 30, show: option.series.length > 1 },
    grid: { left: 80, right: 70, top: 64, bottom: 48 },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}
