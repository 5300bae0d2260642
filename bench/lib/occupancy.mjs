// How long does a connection take when so much of the range is taken towards its destination? For TCP and for UDP alike.
import { isFloor } from './floor.mjs';
import { interleave, withParties } from './party.mjs';
import { number, ratio, spread } from './report.mjs';
import { median, pairedRatio, percentiles, summary } from './statistics.mjs';
import { burst, hold, sample } from './transports.mjs';

const RANGE = [20_000, 29_999];
export const PORTS = RANGE[1] - RANGE[0] + 1;
export const LEVELS = [0, 10, 25, 51, 75, 90, 99, 99.9, 100];
/** As many as fit into `ms`, for the slowest of them take tens of milliseconds each. */
const SLICE = { count: 50, ms: 60 };
/** Nobody gets more than this at a level, in milliseconds: what takes a tenth of a second each is known after a few. */
const BUDGET = { quick: 1000, full: 5000 };
/** So many connects in one turn of the event loop: no more than there are ports at 99.9 %. */
const BURST = 8;

/** In the party's process. */
export function occupancyTasks(transport) {
  const held = [];
  return {
    /** Opens, in the peer's own way, as many as are missing. */
    fill: ({ connect }, total) => hold(transport, connect, held, total - held.length),
    sample: ({ connect }, slice) => sample(transport, connect, slice),
    burst: ({ connect }, count) => burst(transport, connect, count),
  };
}

/** `take`, for as long as the party has not used up its budget; then null. */
function within(budget, take) {
  const spent = new Map();
  return async (party) => {
    const before = spent.get(party) ?? 0;
    if (before > budget) return null;
    const start = performance.now();
    const value = await take(party);
    spent.set(party, before + performance.now() - start);
    return value;
  };
}

const given = (slices) => slices.filter((slice) => slice !== null);

const EMPTY = 'an empty range';

/** Beside the parties that fill their range, one for each of `controls` that does not: what the same peer takes just then. */
export const controlOf = (peer) => `${peer}, ${EMPTY}`;

/**
 * A section for each family and level. `reference` is what the others are compared with; `targets(level, of)` are those of a level:
 * `of(a, b)` is the median of the paired ratios of two labels.
 */
export async function measureOccupancy({ families, contestants, atMost, quick }, plan) {
  const { tasks, peers, controls, reference, full, targets: targetsOf } = plan;
  const sections = [];
  const targets = [];
  const rounds = atMost({ quick: 10, full: 80 });
  for (const family of families) {
    const settings = [
      ...contestants(peers),
      ...controls.map((peer) => ({ ...contestants([peer])[0], label: controlOf(peer), stays: true })),
    ].map((one) => ({ ...one, family, range: RANGE, tasks }));
    await withParties(settings, async (parties) => {
      // At no occupancy worth mentioning, for the JIT.
      await interleave(parties, { warmup: 0, rounds: 20 }, (party) => party.call('sample', SLICE));
      for (const level of LEVELS) {
        const taken = Math.round((PORTS * level) / 100);
        for (const party of parties) if (!party.setting.stays) await party.call('fill', taken);
        // What is refused by nobody cannot be measured at 100 %.
        const present = parties.filter(({ setting }) => level < 100 || setting.stays || full(setting.peer));
        const budget = quick ? BUDGET.quick : BUDGET.full;
        const slices = await interleave(
          present,
          { warmup: 1, rounds },
          within(budget, (party) => party.call('sample', SLICE)),
        );
        const bursting = present.filter(({ setting }) => !isFloor(setting.peer));
        const bursts = await interleave(
          bursting,
          { warmup: 1, rounds: atMost({ quick: 5, full: 30 }) },
          within(budget, (party) => party.call('burst', BURST)),
        );
        for (const [index, party] of present.entries()) {
          const isRefused = level === 100 && !party.setting.stays;
          const odd = given(slices[index])
            .flat()
            .find(({ code }) => (code !== undefined) !== isRefused);
          if (odd) throw new Error(`${party.setting.label} at ${level} %: ${odd.code ?? 'connected'}`);
        }
        const medianOf = (samples) => median(samples.map(({ settled }) => settled));
        const medians = slices.map((some) => some.map((samples) => (samples === null ? null : medianOf(samples))));
        const at = (label) => present.findIndex(({ setting }) => setting.label === label);
        const over = (a, b) => pairedRatio(medians[at(a)], medians[at(b)]);
        const rows = present.map((party, index) => {
          const samples = given(slices[index]).flat();
          const { label } = party.setting;
          const own = bursts[bursting.indexOf(party)];
          return {
            peer: label,
            settled: percentiles(samples.map(({ settled }) => settled)),
            blocked: samples[0].blocked === undefined ? null : percentiles(samples.map(({ blocked }) => blocked)),
            cpu: percentiles(samples.map(({ cpu }) => cpu)),
            burst: own === undefined ? null : summary(given(own)),
            overReference: over(label, reference),
          };
        });
        sections.push(sectionOf({ family, level, taken, rounds, reference, rows }));
        targets.push(...targetsOf(`IPv${family} at ${level} %`, level, (a, b) => over(a, b).median));
      }
    });
  }
  return { sections, targets };
}

function sectionOf({ family, level, taken, rounds, reference, rows }) {
  const doing = level === 100 ? 'until refused' : 'until connected';
  return {
    setting: `IPv${family}, ${level} % taken (${taken} ports): microseconds ${doing}, ${rounds} rounds of at most ${SLICE.count}`,
    columns: [
      '',
      'samples',
      'p50',
      'p99',
      'p99.9',
      `times ${reference}`,
      'quartiles',
      'CPU p50',
      'loop held p50',
      `${BURST} at once: loop held, ms`,
      'quartiles',
    ],
    rows: rows.map(({ peer, settled, blocked, cpu, burst: own, overReference }) => [
      peer,
      number(settled.count, 0),
      number(settled.median, 1),
      number(settled.p99, 1),
      number(settled.p999, 1),
      ratio(overReference.median),
      spread(overReference, 2),
      number(cpu.median, 0),
      blocked === null ? '-' : number(blocked.median, 1),
      own === null ? '-' : number(own.median, 2),
      own === null ? '-' : spread(own, 2),
    ]),
    data: { family, level, taken, range: RANGE, rounds, slice: SLICE, burst: BURST, rows },
  };
}
