// TCP at the limit: what a refusal costs, and a search among ports that are nearly all taken.
import { ends } from '../lib/ends.mjs';
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
      return party.call('burst', { calls, wait });
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

const SEARCHED = [5001, 10_000];

const search = (options) =>
  bursts(
    options,
    {
      what: `${portsIn(SEARCHED)} ports outside of the ephemeral range, all somebody else's: 100 connects in one turn`,
      peer: 'connectx, localPortRange',
      calls: 100,
      wait: 50,
      range: [40_000, 40_009],
      ports: SEARCHED,
      targets: ({ peer, longest, total }) => [
        { what: `${peer}: loop held by 100 searches, ms`, value: longest.median, most: 10 },
        { what: `${peer}: 100 searches, ms`, value: total.median, most: 500 },
      ],
    },
    (party) => party.call('lock', { ...lockOf(SEARCHED), checkout: party.setting.checkout }),
  );

const lockOf = ([low, high]) => ({ address: ends[4].source, low, high });

/** 10,000 ports outside of the ephemeral range, of which 9,000 in a row are somebody else's. */
async function hole({ contestants, atMost }) {
  const ports = [10_000, 19_999];
  const settings = contestants(['connectx, localPortRange']).map((one) => {
    return { ...one, family: 4, tasks: 'limit-tcp', range: [40_000, 40_009], ports };
  });
  return withParties(settings, async (parties) => {
    for (const party of parties) {
      await party.call('lock', { ...lockOf([10_000, 18_999]), checkout: party.setting.checkout });
    }
    const plan = { warmup: 1, rounds: atMost({ quick: 5, full: 20 }) };
    const taken = await interleave(parties, plan, (party) => party.call('single', 20));
    const rows = parties.map(({ setting }, index) => ({
      peer: setting.label,
      took: percentiles(taken[index].flat().map((one) => one.ms)),
      longest: percentiles(taken[index].flat().map((one) => one.longest)),
    }));
    const [{ peer, took, longest }] = rows;
    return {
      section: {
        setting: `${portsIn(ports)} ports outside of the ephemeral range, 9,000 in a row somebody else's: one connect`,
        columns: ['', 'connected after, ms: p50', 'p99', 'loop held, ms: p50', 'p99'],
        rows: rows.map((row) => [row.peer, ...[row.took, row.longest].flatMap((one) => [ms(one.median), ms(one.p99)])]),
        data: { ports, rows },
      },
      targets: [
        { what: `${peer}: a connect, ms`, value: took.median, most: 1 },
        { what: `${peer}: it holds the loop, ms`, value: longest.median, most: 5 },
      ],
    };
  });
}

/** 100 ports, and one connection after the other, each ended by the client. */
async function takeOver({ contestants, atMost }) {
  // The control has a free port for each.
  const settings = contestants(['connectx, reuseTimeWait', 'connectx, localAddress']).map((one) => {
    const range = one.peer === 'connectx, reuseTimeWait' ? [40_000, 40_099] : [5000, 64_999];
    return { ...one, family: 4, tasks: 'limit-tcp', range };
  });
  return withParties(settings, async (parties) => {
    const plan = { warmup: 1, rounds: atMost({ quick: 3, full: 10 }) };
    const taken = await interleave(parties, plan, (party) => party.call('ended', 2000));
    const rows = parties.map(({ setting }, index) => ({
      peer: setting.label,
      rate: percentiles(taken[index].map((one) => one.rate)),
      refused: taken[index].reduce((sum, one) => sum + one.refused, 0),
    }));
    const [{ peer, rate, refused }, { rate: control }] = rows;
    return {
      section: {
        setting: 'reuseTimeWait: 100 ports, each connection ended by the client, 16 at a time',
        columns: ['', 'a second', 'refused'],
        rows: rows.map((row) => [row.peer, number(row.rate.median, 0), number(row.refused, 0)]),
        data: { rows },
      },
      targets: [
        { what: `${peer}: connections a second`, value: rate.median, least: 20_000 },
        { what: `${peer}: its rate, against that with free ports`, value: rate.median / control.median, least: 0.5 },
        { what: `${peer}: refused`, value: refused, most: 0 },
      ],
    };
  });
}

const PARTS = [steady, pool, search, hole, takeOver];

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
