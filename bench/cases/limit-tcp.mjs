// TCP at the limit: what a refusal costs, and a search among ports that are nearly all taken.
import { limitTasks } from '../lib/limit.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number } from '../lib/report.mjs';
import { percentiles } from '../lib/statistics.mjs';
import { transports } from '../lib/transports.mjs';

export const tasks = limitTasks(transports.tcp);

export const title = 'limit-tcp: ports nearly or all gone';

const RANGE = [20_000, 34_999];
const POOL_RANGE = [20_000, 21_999];
const portsIn = ([low, high]) => high - low + 1;
const eight = (family) =>
  Array.from({ length: 8 }, (_, n) => (family === 4 ? `127.0.1.${n + 1}` : undefined)).filter(Boolean);

const us = (value) => number(value, 0);
const ms = (value) => number(value, 1);

/** All ports of one source taken, and refused a thousand times a second. */
async function steady({ contestants, atMost }) {
  const peers = ['net.connect, localAddress', 'connectx, localAddress'];
  const settings = contestants(peers).map((one) => ({ ...one, family: 4, range: RANGE, tasks: 'limit-tcp' }));
  return withParties(settings, async (parties) => {
    for (const party of parties) await party.call('fill', portsIn(RANGE));
    const plan = { warmup: 0, rounds: atMost({ quick: 1, full: 4 }) };
    const taken = await interleave(parties, plan, (party) => party.call('steady', { perSecond: 1000, ms: 2000 }));
    const rows = [];
    for (const [index, party] of parties.entries()) {
      const cpu = percentiles(taken[index].flatMap((one) => one.cpu));
      const settled = percentiles(taken[index].flatMap((one) => one.settled));
      const longest = Math.max(...taken[index].map((one) => one.longest));
      const inVain = await party.call('inVain');
      rows.push({ peer: party.setting.label, cpu, settled, longest, inVain, codes: taken[index][0].codes });
    }
    return {
      section: {
        setting: `all ${portsIn(RANGE)} ports of one source taken, 1,000 connects a second refused`,
        columns: [
          '',
          'CPU each, us: p50',
          'high quartile',
          'refused after, us: p50',
          'p99',
          'loop held, ms',
          'in vain',
        ],
        rows: rows.map(({ peer, cpu, settled, longest, inVain }) => [
          peer,
          us(cpu.median),
          us(cpu.high),
          us(settled.median),
          us(settled.p99),
          ms(longest),
          number(inVain, 0),
        ]),
        data: { range: RANGE, rows },
      },
      targets: rows
        .filter(({ peer }) => peer === 'connectx, localAddress')
        .flatMap(({ peer, cpu, inVain }) => [
          { what: `${peer}: CPU of a refusal at 1,000 a second, us`, value: cpu.median, most: 50 },
          { what: `${peer}: refused although a port of its own was free`, value: inVain, most: 0 },
        ]),
    };
  });
}

/** So many calls in one turn, again and again. */
async function bursts({ contestants, atMost }, { what, peer, calls, targets, wait = 0, ...more }, fill) {
  const settings = contestants([peer]).map((one) => ({ ...one, family: 4, tasks: 'limit-tcp', ...more }));
  return withParties(settings, async (parties) => {
    for (const party of parties) await fill(party);
    const plan = { warmup: 1, rounds: atMost({ quick: 10, full: 40 }) };
    const taken = await interleave(parties, plan, async (party) => {
      await new Promise((resolve) => setTimeout(resolve, wait));
      return party.call('burst', calls);
    });
    const rows = parties.map(({ setting }, index) => ({
      peer: setting.label,
      longest: percentiles(taken[index].map((one) => one.longest)),
      total: percentiles(taken[index].map((one) => one.total)),
      cpu: percentiles(taken[index].map((one) => one.cpu)),
      worst: Math.max(...taken[index].map((one) => one.longest)),
      codes: taken[index][0].codes,
    }));
    return {
      section: {
        setting: what,
        columns: ['', 'loop held, ms: p50', 'longest', 'all done, ms: p50', 'CPU each, us: p50', ''],
        text: [0, 5],
        rows: rows.map(({ peer: name, longest, total, cpu, worst, codes }) => [
          name,
          ms(longest.median),
          ms(worst),
          ms(total.median),
          us(cpu.median),
          JSON.stringify(codes),
        ]),
        data: { calls, ...more, rows },
      },
      targets: targets(rows[0]),
    };
  });
}

const pool = (options) =>
  bursts(
    options,
    {
      what: 'a pool of 8 sources x 2,000 ports, all taken: 200 connects in one turn',
      peer: 'connectx, a pool',
      calls: 200,
      wait: 50,
      range: POOL_RANGE,
      sources: eight(4),
      targets: ({ peer, longest, cpu }) => [
        { what: `${peer}: loop held by 200 refusals, ms`, value: longest.median, most: 10 },
        { what: `${peer}: CPU of a refusal, us`, value: cpu.median, most: 50 },
      ],
    },
    (party) => party.call('fill', 8 * portsIn(POOL_RANGE)),
  );

const PARTS = [steady, pool];

export async function run(options) {
  const sections = [];
  const targets = [];
  for (const part of PARTS) {
    const { section, targets: own } = await part(options);
    sections.push(section);
    targets.push(...own);
  }
  return { sections, targets };
}
