// docs/figures.json: the numbers that the pages and charts print, and nothing else of a run. Each part says when, where and at which
// commit it was measured, for not all of them are measured by the same command.
import { memoryOf } from '../million/report.mjs';
import { isMet } from './report.mjs';
import { TCP, UDP } from './peers-shown.mjs';

const median = (summary) => summary?.median ?? null;

/** By peer, as far as it was measured. */
const byPeer = (peers, rows, value) =>
  Object.fromEntries(
    Object.keys(peers).flatMap((peer) => {
      const row = rows.find((one) => one.peer === peer);
      return row === undefined ? [] : [[peer, value(row)]];
    }),
  );

/** Microseconds until connected, for each level that has ports left. IPv4. */
const occupancy =
  (peers) =>
  ({ sections }) => {
    const shown = sections.filter(({ family, level }) => family === 4 && level < 100);
    return {
      levels: shown.map(({ level }) => level),
      microseconds: byPeer(peers, shown[0]?.rows ?? [], ({ peer }) =>
        shown.map(({ rows }) => median(rows.find((row) => row.peer === peer)?.settled)),
      ),
    };
  };

/** Sockets a second, and how many times those of Node's own way that is. */
const rate =
  (peers, shapes) =>
  ({ sections }) =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, has]) => [
        name,
        sections.filter(has).map(({ family, rows }) => ({
          family,
          ...byPeer(peers, rows, (row) => ({ second: median(row.rate), ratio: median(row.overCore) })),
        })),
      ]),
    );

/** All ports taken: microseconds until refused, and milliseconds that 50 calls in one turn hold the event loop. IPv4. */
const refusal =
  (peers) =>
  ({ sections }) =>
    sections
      .filter(({ family }) => family === 4)
      .map(({ by, rows }) => ({
        by,
        ...byPeer(peers, rows, ({ first, known, burst }) => ({
          first: median(first),
          then: median(known),
          burst: median(burst),
        })),
      }));

/** At the limit: each figure with its target, and what it was before where another checkout was measured beside it. */
const limit = ({ sections }) => sections.flatMap(({ figures }) => figures);

const CASES = {
  occupancy: occupancy(TCP),
  'udp-occupancy': occupancy(UDP),
  rate: rate(TCP, {
    closed: ({ shape }) => shape === 'churn',
    held: ({ connections }) => connections === 5000,
  }),
  'udp-rate': rate(UDP, {
    closed: ({ measure }) => measure === 'closed',
    held: ({ measure }) => measure === 'opened',
  }),
  refusal: refusal(TCP),
  'udp-refusal': refusal(UDP),
};

/** Measured by a command of their own. */
const LIMITS = { 'limit-tcp': limit, 'limit-udp': limit };

/** In words, as a page says it. */
function sentence({ time, commit, machine, quick = false }) {
  const at = commit === undefined ? '' : ` at commit ${commit}`;
  return `${time.slice(0, 10)}${at}${quick ? ', in a quick run, which has few rounds' : ''}, ${machine}`;
}

function ofBenchmarks(result) {
  const { cases } = result;
  const measured = sentence(result);
  const parts = Object.entries(CASES).filter(([name]) => name in cases);
  const limits = Object.entries(LIMITS).filter(([name]) => name in cases);
  const targets = Object.entries(cases).flatMap(([name, ofCase]) =>
    ofCase.targets.map((target) => ({ case: name, ...target })),
  );
  return {
    ...Object.fromEntries([...parts, ...limits].map(([name, of]) => [name, { measured, figures: of(cases[name]) }])),
    // Of a run of some cases nothing is known about the targets of the others.
    ...(parts.length === Object.keys(CASES).length && {
      targets: {
        measured,
        figures: {
          count: targets.length,
          missed: targets
            .filter((target) => !isMet(target))
            .map(({ case: name, what, value, least, most }) => ({ case: name, what, value, least, most })),
        },
      },
    }),
  };
}

/** For each number of destinations, how many sockets were open in all; of TCP, of UDP, or of both. */
function ofDestinations(result) {
  const parts = [
    ['destinations', TCP],
    ['udp-destinations', UDP],
  ].map(([part, peers]) => [part, result.peers.filter(({ peer }) => peer in peers)]);
  return Object.fromEntries(
    parts
      .filter(([, measured]) => measured.length > 0)
      .map(([part, measured]) => [
        part,
        {
          measured: sentence(result),
          figures: Object.fromEntries(measured.map(({ peer, steps }) => [peer, steps.map(({ open }) => open)])),
        },
      ]),
  );
}

function ofMillion(result) {
  const memory = `${(result.memory / 2 ** 30).toFixed(1)} GiB`;
  const measured = `${sentence(result)}, ${memory}, ${result.descriptors.toLocaleString('en-US')} descriptors a process`;
  const figures = result.runs.map((run) => ({
    kind: run.kind,
    title: run.title,
    wanted: run.plan.flows,
    open: run.open,
    errors: run.errors,
    limit: run.limit,
    ports: run.plan.ports,
    destinations: run.plan.destinations,
    clients: run.plan.clients.length,
    seconds: run.phases.open.seconds,
    ...(run.kind !== 'control' && {
      bytes: memoryOf(run),
      echoed: run.echoes.answered,
      wrong: run.echoes.wrong,
      retried: run.echoes.retried,
      checks: run.checks.length,
      failed: run.checks.filter(({ holds }) => !holds).map(({ what }) => what),
    }),
  }));
  return { million: { measured, figures } };
}

/** What of a result the pages print, by part: of `npm run bench`, of bench/destinations or of `npm run bench:million`. */
export function figuresOf(result) {
  if (result.cases !== undefined) return ofBenchmarks(result);
  return result.runs === undefined ? ofDestinations(result) : ofMillion(result);
}

// Six digits are more than any of these figures has.
const rounded = (key, value) =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;

const WIDTH = 160;

/** JSON with a line for whatever fits into one. */
export function textOf(value, indent = '') {
  const line = JSON.stringify(value, rounded);
  if (line.length <= WIDTH - indent.length || typeof value !== 'object') return line;
  const inner = `${indent} `;
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  const parts = Array.isArray(value)
    ? value.map((one) => textOf(one, inner))
    : Object.entries(value)
        .filter(([, one]) => one !== undefined)
        .map(([key, one]) => `${JSON.stringify(key)}: ${textOf(one, inner)}`);
  return `${open}\n${parts.map((part) => inner + part).join(',\n')}\n${indent}${close}`;
}
