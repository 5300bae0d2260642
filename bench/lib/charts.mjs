// The charts of docs/benchmarks/, made of the JSON of a run: the same JSON gives the same bytes.
import { draw } from './draw.mjs';

/** Ours in strong colours, Node's own in others, the floor in grey: the same in every chart. */
const COLOURS = {
  'connectx, localAddress': '#0b7a3e',
  connectx: '#4cb944',
  'connectx, localAddress + localPort': '#9ccf3f',
  connectUdp: '#0b7a3e',
  connectUdpSync: '#4cb944',
  'portUsage()': '#0b7a3e',
  'net.connect, localAddress': '#c4261d',
  'net.connect': '#e8871e',
  'net.connect, localAddress + localPort': '#9c5bb5',
  'dgram, bind + connect': '#c4261d',
  'ss | awk': '#c4261d',
  "the article's algorithm": '#1f6fb4',
  'C, localAddress, whole range': '#333333',
  'C, localAddress': '#6b6b6b',
  'C, connect': '#9a9a9a',
  'C, lock + connect': '#333333',
  'C, bind + connect': '#9a9a9a',
};

// The peers of `--against`, and the controls over an empty range, are not drawn.
const known = ({ peer }) => peer in COLOURS;

const colour = (values) => {
  const domain = Object.keys(COLOURS).filter((name) => values.some(({ peer }) => peer === name));
  const scale = { domain, range: domain.map((name) => COLOURS[name]) };
  return { field: 'peer', type: 'nominal', scale, sort: domain, title: null };
};

/** `x` and `y`: { field, title, log?, type? }. `row`: a second facet. */
function lines(values, { title, subtitle, x, y, column, row, height = 210 }) {
  const facet = (field) => ({ field, type: 'nominal', title: null, sort: null });
  return draw({
    title: { text: title, subtitle },
    data: { values },
    facet: { column: facet(column), ...(row && { row: facet(row) }) },
    spec: {
      width: 330,
      height,
      mark: { type: 'line', point: { size: 34, filled: true }, strokeWidth: 2, clip: false },
      encoding: {
        x: axisOf(x),
        y: axisOf(y),
        color: colour(values),
        strokeDash: {
          condition: { test: "slice(datum.peer, 0, 2) === 'C,'", value: [4, 3] },
          value: [1, 0],
        },
      },
    },
  });
}

function axisOf({ field, title, log = false, type = 'quantitative', format = ',~r' }) {
  if (type === 'ordinal') return { field, type, title, sort: null, axis: { labelAngle: 0 } };
  return {
    field,
    type,
    title,
    scale: log ? { type: 'log', nice: true } : { zero: true },
    axis: { format, ...(log && { tickCount: 6 }) },
  };
}

function bars(values, { title, subtitle, x, column }) {
  const encoding = (field) => ({ ...axisOf(x), field });
  const order = Object.keys(COLOURS).filter((name) => values.some(({ peer }) => peer === name));
  return draw({
    title: { text: title, subtitle },
    data: { values },
    facet: { column: { field: column, type: 'nominal', title: null, sort: null } },
    spec: {
      width: 330,
      height: { step: 20 },
      encoding: { y: { field: 'peer', type: 'nominal', sort: order, title: null, axis: { labelLimit: 400 } } },
      layer: [
        {
          mark: { type: 'bar', height: { band: 0.75 } },
          encoding: { x: encoding('value'), color: { ...colour(values), legend: null } },
        },
        {
          mark: { type: 'rule', strokeWidth: 1.5 },
          encoding: { x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } },
        },
      ],
    },
  });
}

const family = (section) => `IPv${section.family}`;
const bar = (peer, { median, low, high }, more) => ({ peer, value: median, low, high, ...more });

const QUANTILES = { p50: 'median', p99: 'p99', 'p99.9': 'p999' };

function occupancy(what) {
  return ({ sections }) => {
    const values = sections.flatMap((section) =>
      section.rows.filter(known).flatMap(({ peer, settled }) =>
        Object.entries(QUANTILES)
          .filter(([, key]) => settled[key] !== null)
          .map(([quantile, key]) => ({
            peer,
            family: family(section),
            level: `${section.level}`,
            quantile,
            us: settled[key],
          })),
      ),
    );
    return lines(values, {
      title: `${what}: time until connected, by how much of the range is taken`,
      subtitle:
        '10,000 ports towards one destination; at 100 % the time until refused. A quantile of too few samples is left out.',
      x: { field: 'level', type: 'ordinal', title: '% of the ports taken' },
      y: { field: 'us', title: 'microseconds', log: true },
      column: 'family',
      row: 'quantile',
      height: 190,
    });
  };
}

function eventLoop(results) {
  const values = Object.entries({ TCP: 'occupancy', UDP: 'udp-occupancy' }).flatMap(([protocol, name]) =>
    (results[name]?.sections ?? []).flatMap((section) =>
      section.rows
        .filter(known)
        .filter(({ burst }) => burst !== null)
        .map(({ peer, burst }) => ({
          peer,
          setting: `${protocol}, ${family(section)}`,
          level: `${section.level}`,
          ms: burst.median,
        })),
    ),
  );
  return draw({
    title: {
      text: 'How long 8 connects in one turn hold the event loop',
      subtitle: '10,000 ports towards one destination; medians',
    },
    data: { values },
    facet: { field: 'setting', type: 'nominal', title: null, sort: null },
    columns: 2,
    spec: {
      width: 330,
      height: 200,
      mark: { type: 'line', point: { size: 34, filled: true }, strokeWidth: 2 },
      encoding: {
        x: axisOf({ field: 'level', type: 'ordinal', title: '% of the ports taken' }),
        y: axisOf({ field: 'ms', title: 'milliseconds', log: true }),
        color: colour(values),
      },
    },
  });
}

function rate(measure, title, x) {
  return ({ sections }) =>
    bars(
      sections
        .filter(({ shape, measure: laps }) => shape === 'churn' || laps === 'closed')
        .flatMap((section) =>
          section.rows.filter(known).map((row) => bar(row.peer, row[measure], { family: family(section) })),
        ),
      { title, subtitle: 'an empty range; median and quartiles', x, column: 'family' },
    );
}

// A bar needs a beginning, which a logarithmic scale has not: points and quartiles instead.
const refusal =
  (title) =>
  ({ sections }) => {
    const values = sections.flatMap((section) =>
      section.rows.filter(known).flatMap(({ peer, first, known: later }) => {
        const setting = `${family(section)}, ports held by ${section.by}`;
        return [
          bar(peer, first, { panel: `${setting}: the first one` }),
          bar(peer, later, { panel: `${setting}: then` }),
        ];
      }),
    );
    const panels = [...new Set(values.map(({ panel }) => panel))];
    const order = Object.keys(COLOURS).filter((name) => values.some(({ peer }) => peer === name));
    const x = (field) => axisOf({ field, title: 'microseconds', log: true });
    return draw({
      title: { text: title, subtitle: 'all 10,000 ports taken; median and quartiles' },
      data: { values },
      facet: { field: 'panel', type: 'nominal', title: null, sort: panels },
      columns: 2,
      spec: {
        width: 330,
        height: { step: 22 },
        encoding: { y: { field: 'peer', type: 'nominal', sort: order, title: null, axis: { labelLimit: 400 } } },
        layer: [
          { mark: { type: 'rule', strokeWidth: 2 }, encoding: { x: x('low'), x2: { field: 'high' } } },
          {
            mark: { type: 'point', filled: true, size: 70, opacity: 1 },
            encoding: { x: x('value'), color: { ...colour(values), legend: null } },
          },
        ],
      },
    });
  };

const memory = (title) => (result) =>
  bars(
    result.sections.flatMap((section) =>
      section.rows.filter(known).map(({ peer, rss }) => bar(peer, rss, { family: family(section) })),
    ),
    {
      title,
      subtitle: '5,000 held; resident memory of the process; median and quartiles',
      x: { title: 'bytes a socket' },
      column: 'family',
    },
  );

const ports = ({ sections }) =>
  lines(
    sections.flatMap(({ rows }) =>
      rows.flatMap(({ size, ss, ours }) => [
        { peer: 'portUsage()', size, ms: ours.median, of: 'TCP, IPv4' },
        { peer: 'ss | awk', size, ms: ss.median, of: 'TCP, IPv4' },
      ]),
    ),
    {
      title: 'Counting the ports in use, by how many connections there are',
      subtitle: 'four processes hold them; medians',
      x: { field: 'size', title: 'connections', log: true },
      y: { field: 'ms', title: 'milliseconds', log: true },
      column: 'of',
    },
  );

const RATE = { title: 'a second' };
const CPU = { title: 'microseconds of CPU for each' };

/** By file name: the case that it is made of, and how. */
const CHARTS = {
  'tcp-rate': { of: 'rate', make: rate('rate', 'TCP: connections opened and reset, a second', RATE) },
  'tcp-cpu': { of: 'rate', make: rate('cpu', 'TCP: CPU time for a connection opened and reset', CPU) },
  'udp-rate': { of: 'udp-rate', make: rate('rate', 'UDP: connected sockets opened and closed, a second', RATE) },
  'udp-cpu': { of: 'udp-rate', make: rate('cpu', 'UDP: CPU time for a connected socket opened and closed', CPU) },
  'tcp-occupancy': { of: 'occupancy', make: occupancy('TCP') },
  'udp-occupancy': { of: 'udp-occupancy', make: occupancy('UDP') },
  'event-loop': { of: 'occupancy', make: (figures, results) => eventLoop(results) },
  'tcp-refusal': { of: 'refusal', make: refusal('TCP: time until refused') },
  'udp-refusal': { of: 'udp-refusal', make: refusal('UDP: time until refused') },
  'tcp-memory': { of: 'memory', make: memory('TCP: what an open socket weighs') },
  'udp-memory': { of: 'udp-memory', make: memory('UDP: what an open socket weighs') },
  ports: { of: 'ports', make: ports },
};

/** `results`: what run.mjs writes. By file name, the SVG of each chart that there are figures for. */
export async function chartsOf(results) {
  const charts = {};
  for (const [name, { of, make }] of Object.entries(CHARTS)) {
    const figures = results.cases[of];
    if (figures !== undefined) charts[`${name}.svg`] = await make(figures, results.cases);
  }
  return charts;
}
