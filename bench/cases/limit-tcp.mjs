// TCP at the limit: what a refusal costs, and a search among ports that are nearly all taken.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { join } from 'node:path';
import { ends } from '../lib/ends.mjs';
import { limitTasks } from '../lib/limit.mjs';
import { LimitFigures } from '../lib/limit-figures.mjs';
import { addInterfaces } from '../lib/namespace.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number } from '../lib/report.mjs';
import { percentiles } from '../lib/statistics.mjs';
import { transports } from '../lib/transports.mjs';

export const tasks = {
  ...limitTasks(transports.tcp),

  /** A pinned port that is shared, on a machine with so many interfaces; net.connect with a port of its own beside it. In us. */
  async interfaces(_, { checkout, count, connects }) {
    const connectx = createRequire(join(checkout, 'package.json'))('./dist/index.js');
    const [localAddress, host] = ['192.0.2.1', '198.51.100.1'];
    addInterfaces(count, [`${localAddress}/24 dev a0`, `${host}/32 dev a1`]);
    const server = net.createServer((socket) => socket.on('error', () => {})).listen(9000, host);
    const other = net.createServer().listen(9001, host);
    await Promise.all([once(server, 'listening'), once(other, 'listening')]);
    const options = { host, port: 9000, localAddress };
    const open = {
      shared: () => connectx.connect({ ...options, localPort: 7000 }),
      plain: (n) => net.connect({ ...options, localPort: 10_000 + n }),
    };
    // One other connection from the port all the time.
    const neighbour = connectx.connect({ ...options, port: 9001, localPort: 7000 });
    await once(neighbour, 'connect');
    const taken = { shared: [], plain: [] };
    for (let n = 0; n < connects; n++) {
      for (const name of ['shared', 'plain']) {
        const began = process.hrtime.bigint();
        const socket = open[name](n);
        await once(socket, 'connect');
        taken[name].push(Number(process.hrtime.bigint() - began) / 1000);
        const closed = once(socket, 'close');
        // With RST: the 4-tuple is free at once.
        socket.resetAndDestroy();
        await closed;
      }
    }
    neighbour.destroy();
    for (const one of [server, other]) one.close();
    const warm = Math.min(200, connects / 2);
    return { shared: taken.shared.slice(warm), plain: taken.plain.slice(warm) };
  },
};

export const title = 'limit-tcp: ports nearly or all gone';

const RANGE = [20_000, 34_999];
const POOL_RANGE = [20_000, 21_999];
const portsIn = ([low, high]) => high - low + 1;
const eight = (family) =>
  Array.from({ length: 8 }, (_, n) => (family === 4 ? `127.0.1.${n + 1}` : undefined)).filter(Boolean);

const us = (value) => number(value, 0);
const ms = (value) => number(value, 1);

/** Nothing is scanned for it: no failing connect of core's costs less. */
const NO_SUCH_SOURCE = 'net.connect, no such source';

/** All ports of one source taken, and refused a thousand times a second. */
async function steady({ contestants, atMost }) {
  const peers = ['net.connect, localAddress', NO_SUCH_SOURCE, 'connectx, localAddress'];
  const settings = contestants(peers).map((one) => ({
    ...one,
    family: 4,
    range: RANGE,
    onAllCores: true,
    tasks: 'limit-tcp',
  }));
  return withParties(settings, async (parties) => {
    const isFull = ({ setting }) => setting.peer !== NO_SUCH_SOURCE;
    for (const party of parties.filter(isFull)) await party.call('fill', portsIn(RANGE));
    const plan = { warmup: 0, rounds: atMost({ quick: 1, full: 4 }) };
    const taken = await interleave(parties, plan, (party) => party.call('steady', { perSecond: 1000, ms: 2000 }));
    const rows = [];
    for (const [index, party] of parties.entries()) {
      const cpu = percentiles(taken[index].flatMap((one) => one.cpu));
      const settled = percentiles(taken[index].flatMap((one) => one.settled));
      const longest = Math.max(...taken[index].map((one) => one.longest));
      const inVain = isFull(party) ? await party.call('inVain') : null;
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
          inVain === null ? '-' : number(inVain, 0),
        ]),
        data: { range: RANGE, rows },
      },
      figures: rows
        .filter(({ peer }) => peer !== 'net.connect, localAddress')
        .flatMap(({ peer, cpu, settled }) =>
          peer === NO_SUCH_SOURCE
            ? [[peer, 'a connect that core refuses without a scan, 1,000 a second: CPU of each', 'us', cpu]]
            : [
                [peer, '15,000 ports, all taken, 1,000 connects a second: CPU of each', 'us', cpu, 50],
                [peer, '15,000 ports, all taken: refused after', 'us', settled],
              ],
        ),
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
async function bursts({ contestants, atMost }, { what, peer, calls, figures, targets, wait = 0, ...more }, fill) {
  const settings = contestants([peer]).map((one) => ({
    ...one,
    family: 4,
    onAllCores: true,
    tasks: 'limit-tcp',
    ...more,
  }));
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
      figures: rows.flatMap((row) => figures(row).map((figure) => [row.peer, ...figure])),
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
      figures: ({ longest, cpu }) => [
        ['a pool of 8 x 2,000 ports, all taken, 200 connects at once: event loop held', 'ms', longest, 10],
        ['a pool of 8 x 2,000 ports, all taken, 200 connects at once: CPU of each', 'us', cpu, 50],
      ],
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
      figures: ({ longest, total }) => [
        ["a search of 5,000 ports, all somebody else's, 100 at once: event loop held", 'ms', longest, 10],
        ["a search of 5,000 ports, all somebody else's, 100 at once: all refused after", 'ms', total, 500],
      ],
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
    return { ...one, family: 4, onAllCores: true, tasks: 'limit-tcp', range: [40_000, 40_009], ports };
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
      figures: rows.flatMap((row) => [
        [row.peer, "10,000 ports, 9,000 in a row somebody else's: a connect", 'ms', row.took, 1],
        [row.peer, "10,000 ports, 9,000 in a row somebody else's: event loop held", 'ms', row.longest, 5],
      ]),
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
    return { ...one, family: 4, onAllCores: true, tasks: 'limit-tcp', range };
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
      figures: rows
        .filter((row) => row.peer.includes('reuseTimeWait'))
        .map((row) => [
          row.peer,
          'reuseTimeWait, 100 ports, each connection ended by the client',
          'a second',
          row.rate,
        ]),
      targets: [
        { what: `${peer}: connections a second`, value: rate.median, least: 20_000 },
        { what: `${peer}: its rate, against that with free ports`, value: rate.median / control.median, least: 0.5 },
        { what: `${peer}: refused`, value: refused, most: 0 },
      ],
    };
  });
}

/** `localPort`, where each of very many interfaces may have a socket of its own with the 4-tuple. */
async function interfaces({ contestants, atMost }) {
  const settings = contestants(['connectx, localAddress']).map((one) => {
    return { ...one, family: 4, onAllCores: true, tasks: 'limit-tcp', range: [5000, 64_999] };
  });
  const connects = atMost({ quick: 600, full: 2000 });
  return withParties(settings, async (parties) => {
    const rows = [];
    for (const party of parties) {
      const { checkout, label } = party.setting;
      const { shared, plain } = await party.call('interfaces', { checkout, count: 100, connects });
      const times = shared.map((us, n) => us / plain[n]);
      rows.push({ peer: label, shared: percentiles(shared), plain: percentiles(plain), times: percentiles(times) });
    }
    const [{ times }] = rows;
    return {
      section: {
        setting:
          '100 interfaces: a connect with localPort that shares its port, beside net.connect with a port of its own',
        columns: ['', 'connected after, us: p50', 'p99', 'net.connect, us: p50', 'p99', 'times: p50'],
        rows: rows.map((row) => [
          row.peer,
          ...[row.shared, row.plain].flatMap((one) => [us(one.median), us(one.p99)]),
          number(row.times.median, 2),
        ]),
        data: { rows },
      },
      figures: rows.map((row) => [
        row.peer,
        '100 interfaces, a localPort that is shared / net.connect with its own',
        'times',
        row.times,
        5,
      ]),
      targets: [{ what: '100 interfaces, a shared localPort / net.connect, times', value: times.median, most: 5 }],
    };
  });
}

const PARTS = [steady, pool, search, hole, takeOver, interfaces];

export async function run(options) {
  const sections = [];
  const targets = [];
  for (const part of PARTS) {
    const { section, figures, targets: own } = await part(options);
    const listed = new LimitFigures();
    for (const figure of figures) listed.add(...figure);
    sections.push({ ...section, data: { ...section.data, figures: listed.list() } });
    targets.push(...own);
  }
  return { sections, targets };
}
