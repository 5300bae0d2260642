// How many connections a second, beginning on an empty range?
import { churn, openAll, resetAll } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
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
];
const CONCURRENCY = 16;

/** In the party's process. */
export const tasks = {
  /** Opens and resets, so that the range stays empty. */
  async churn({ connect, server }, connections) {
    const measured = await measure(connections, () => churn(connect, connections, CONCURRENCY));
    await server.drain(connections);
    return measured;
  },
  /** Opens and holds; the resets that follow are not measured. */
  async ramp({ connect, server }, connections) {
    let sockets;
    const measured = await measure(connections, async () => {
      sockets = await openAll(connect, connections, CONCURRENCY);
    });
    await resetAll(sockets);
    await server.drain(connections);
    return measured;
  },
};

async function measure(connections, act) {
  // What the slice before left behind is not this one's to collect.
  globalThis.gc({ type: 'minor' });
  const before = process.cpuUsage();
  const start = performance.now();
  await act();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(before);
  return { rate: (connections / ms) * 1000, cpu: (user + system) / connections };
}

const SHAPES = {
  // A slice is short, so that what else the machine does falls on all peers of a round alike.
  churn: { task: 'churn', connections: 250, warmup: 20, rounds: { quick: 40, full: 200 }, targets: true },
  // 18 % of the range.
  'ramp to 5,000': { task: 'ramp', connections: 5000, warmup: 1, rounds: { quick: 3, full: 12 }, targets: true },
  // 35 % of the range: above 25 % core's bind(2) searches half of the range before it finds a port.
  'ramp to 10,000': { task: 'ramp', connections: 10_000, warmup: 0, rounds: { quick: 1, full: 3 }, targets: false },
};

export const title = 'rate: connections a second, beginning on an empty range of 28,232 ports (32768-60999)';

export async function run({ families, contestants, quick }) {
  const sections = [];
  const targets = [];
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, tasks: 'rate' }));
    await withParties(settings, async (parties) => {
      for (const [shape, { task, connections, warmup, rounds, targets: aims }] of Object.entries(SHAPES)) {
        const plan = { warmup, rounds: quick ? rounds.quick : rounds.full };
        const taken = await interleave(parties, plan, (party) => party.call(task, connections));
        const rates = taken.map((slices) => slices.map(({ rate }) => rate));
        const at = (peer) => rates[settings.findIndex((one) => one.label === peer)];
        const rows = settings.map(({ label }, index) => ({
          peer: label,
          rate: summary(rates[index]),
          cpu: summary(taken[index].map(({ cpu }) => cpu)),
          overPlain: pairedRatio(rates[index], at(PLAIN)),
          overCore: pairedRatio(rates[index], at(CORE)),
        }));
        const setting = `IPv${family}, ${shape}: ${connections} connections a slice, ${CONCURRENCY} under way, ${plan.rounds} rounds`;
        sections.push({
          setting,
          columns: ['', 'a second', 'quartiles', 'CPU us', '/ net.connect', '', '/ localAddress', ''],
          rows: rows.map(({ peer, rate, cpu, overPlain, overCore }) => [
            peer,
            number(rate.median, 0),
            spread(rate, 0),
            number(cpu.median, 1),
            ratio(overPlain.median),
            spread(overPlain, 2),
            ratio(overCore.median),
            spread(overCore, 2),
          ]),
          data: { family, shape, connections, concurrency: CONCURRENCY, ...plan, rows },
        });
        if (!aims) continue;
        const pinned = rows.find(({ peer }) => peer === PINNED);
        targets.push(
          { what: `IPv${family} ${shape}: ${PINNED} / ${CORE}`, value: pinned.overCore.median, least: 1.15 },
          { what: `IPv${family} ${shape}: ${PINNED} / ${PLAIN}`, value: pinned.overPlain.median, least: 0.95 },
        );
      }
    });
  }
  return { sections, targets };
}
