// How many connections a second, beginning on an empty range?
import { churn, openAll, resetAll } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { measure, undisturbed } from '../lib/slice.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';

const PLAIN = 'net.connect';
const CORE = 'net.connect, localAddress';
const PINNED = 'connectx, localAddress';
const PEERS = [
  PLAIN,
  CORE,
  'net.connect, localAddress + localPort',
  'connectx',
  PINNED,
  'connectx, localAddress + localPort',
  'C, connect',
  'C, localAddress',
];
const CONCURRENCY = 16;

/** In the party's process. */
export const tasks = {
  /** Opens and resets, so that the range stays empty. */
  async churn({ connect, server }, { connections, concurrency }) {
    const measured = await measure(connections, () => churn(connect, connections, concurrency));
    await server.drain(connections);
    return measured;
  },
  /** Opens and holds; the resets that follow are not measured. */
  async ramp({ connect, server }, { connections, concurrency }) {
    let sockets;
    const measured = await measure(connections, async () => {
      sockets = await openAll(connect, connections, concurrency);
    });
    await resetAll(sockets);
    await server.drain(connections);
    return measured;
  },
};

const SHAPES = {
  // A slice is short: most find the processor undisturbed, and what disturbs all of a round falls on all of its peers alike.
  churn: {
    task: 'churn',
    connections: 250,
    warmup: 20,
    rounds: { quick: 40, full: 200 },
    good: undisturbed,
    aims: true,
  },
  // Nothing but connecting: up to 2 % of the range.
  'ramp to 500': {
    task: 'ramp',
    connections: 500,
    warmup: 8,
    rounds: { quick: 20, full: 80 },
    good: undisturbed,
    aims: true,
  },
  // Up to 18 %.
  'ramp to 5,000': {
    task: 'ramp',
    connections: 5000,
    warmup: 1,
    rounds: { quick: 3, full: 12 },
    good: undisturbed,
    aims: true,
  },
  // Up to 35 %. Above 25 % core's bind(2) searches half of the range in vain, each time.
  'ramp to 10,000': { task: 'ramp', connections: 10_000, warmup: 0, rounds: { quick: 1, full: 3 }, aims: false },
};

export const title = 'rate: connections a second, beginning on an empty range of 28,232 ports (32768-60999)';

export async function run({ families, contestants, atMost }) {
  const sections = [];
  const targets = [];
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, tasks: 'rate' }));
    await withParties(settings, async (parties) => {
      for (const [shape, { task, connections, warmup, rounds, good, aims }] of Object.entries(SHAPES)) {
        const plan = { warmup, rounds: atMost(rounds) };
        const taken = await interleave(
          parties,
          plan,
          (party) => party.call(task, { connections, concurrency: CONCURRENCY }),
          good,
        );
        const column = (name) => taken.map((slices) => slices.map((slice) => slice[name]));
        const rates = column('rate');
        const cpus = column('cpu');
        const of = (values, peer) => values[settings.findIndex(({ label }) => label === peer)];
        const rows = settings.map(({ label }, index) => ({
          peer: label,
          rate: summary(rates[index]),
          cpu: summary(cpus[index]),
          overPlain: pairedRatio(rates[index], of(rates, PLAIN)),
          overCore: pairedRatio(rates[index], of(rates, CORE)),
          overPlainByCpu: pairedRatio(of(cpus, PLAIN), cpus[index]),
          overCoreByCpu: pairedRatio(of(cpus, CORE), cpus[index]),
        }));
        const disturbed = summary(
          column('busy')
            .flat()
            .map((busy) => (undisturbed({ busy }) ? 0 : 1)),
        );
        sections.push({
          setting: `IPv${family}, ${shape}: ${connections} connections a slice, ${CONCURRENCY} under way, ${plan.rounds} rounds`,
          columns: [
            '',
            'a second',
            'quartiles',
            'us of CPU',
            '/ net.connect',
            'quartiles',
            'by CPU',
            '/ localAddress',
            'quartiles',
            'by CPU',
          ],
          rows: rows.map((row) => [
            row.peer,
            number(row.rate.median, 0),
            spread(row.rate, 0),
            number(row.cpu.median, 1),
            ratio(row.overPlain.median),
            spread(row.overPlain, 2),
            ratio(row.overPlainByCpu.median),
            ratio(row.overCore.median),
            spread(row.overCore, 2),
            ratio(row.overCoreByCpu.median),
          ]),
          data: { family, shape, connections, concurrency: CONCURRENCY, ...plan, disturbed, rows },
        });
        if (!aims) continue;
        const pinned = rows.find(({ peer }) => peer === PINNED);
        targets.push(
          { what: `IPv${family} ${shape}: ${PINNED} / ${CORE}`, value: pinned.overCore.median, least: 1.2 },
          { what: `IPv${family} ${shape}: ${PINNED} / ${PLAIN}`, value: pinned.overPlain.median, least: 1 },
        );
      }
    });
  }
  return { sections, targets };
}
