// Connected UDP sockets: the rate on an empty range, the last ports of a range, and what a refusal costs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ends } from '../lib/ends.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { withParent } from '../lib/processes.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { median, pairedRatio, quantile, summary } from '../lib/statistics.mjs';

const CORE = 'dgram, bind + connect';
const PEERS = [CORE, 'connectUdp', 'connectUdpSync'];
const RANGE = [20_000, 29_999];
const HELD = 10;

/** In the party's process. */
export const tasks = {
  /** Opens and holds, then closes: both are measured, the closing apart. */
  async open({ connect }, count) {
    globalThis.gc({ type: 'minor' });
    const sockets = [];
    const start = performance.now();
    for (let i = 0; i < count; i++) sockets.push(await connect());
    const opened = performance.now();
    for (const socket of sockets) socket.close();
    const closed = performance.now();
    await once(sockets.at(-1), 'close');
    return { open: (count / (opened - start)) * 1000, both: (count / (closed - start)) * 1000 };
  },
  /** Fills the range but for the ports that another process holds, and then goes on trying. */
  async fill({ connect }, { address, refusals }) {
    const holder = await holdPorts(address);
    const total = RANGE[1] - RANGE[0] + 1 - HELD;
    const sockets = [];
    const times = [];
    for (let i = 0; i < total; i++) times.push(await timed(async () => sockets.push(await connect())));
    const refused = [];
    for (let i = 0; i < refusals; i++) refused.push(await timed(() => refusal(connect)));
    for (const socket of sockets) socket.close();
    await once(sockets.at(-1), 'close');
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const first = times.slice(0, total / 10);
    const last = times.slice(-total / 100);
    return {
      first: median(first),
      last: median(last),
      lastP99: quantile(last, 0.99),
      refusal: median(refused.slice(refusals / 10)),
    };
  },
};

async function timed(act) {
  const start = performance.now();
  await act();
  return (performance.now() - start) * 1000;
}

async function refusal(connect) {
  try {
    await connect();
  } catch (error) {
    if (error.code === 'EAGAIN' || error.code === 'EADDRINUSE') return;
    throw error;
  }
  throw new Error('a port was left');
}

/** Another process, with sockets that do not share. */
async function holdPorts(address) {
  const [low] = RANGE;
  const type = address.includes(':') ? 'udp6' : 'udp4';
  const program = `
    const sockets = Array.from({ length: ${HELD} }, (_, i) =>
      require('node:dgram').createSocket('${type}').bind({ port: ${low} + i * 997, address: '${address}', exclusive: true }));
    Promise.all(sockets.map((socket) => require('node:events').once(socket, 'listening'))).then(() => console.log('held'));`;
  const [file, ...args] = withParent([process.execPath, '-e', program]);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

export const title = 'udp: connected UDP sockets from one source address, over 10,000 ports towards one destination';

export async function run({ families, contestants, quick }) {
  const sections = [];
  const targets = [];
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, range: RANGE, tasks: 'udp' }));
    await withParties(settings, async (parties) => {
      const at = (peer) => settings.findIndex((one) => one.label === peer);
      const plan = { warmup: 5, rounds: quick ? 15 : 60 };
      const taken = await interleave(parties, plan, (party) => party.call('open', 1000));
      for (const measure of ['open', 'both']) {
        const rates = taken.map((slices) => slices.map((slice) => slice[measure]));
        const rows = settings.map(({ label }, index) => ({
          peer: label,
          rate: summary(rates[index]),
          overCore: pairedRatio(rates[index], rates[at(CORE)]),
        }));
        const what = measure === 'open' ? 'opened' : 'opened and closed';
        sections.push({
          setting: `IPv${family}, empty range: 1,000 sockets a slice, ${what} one after another, ${plan.rounds} rounds`,
          columns: ['', 'a second', 'quartiles', `/ ${CORE}`, ''],
          rows: rows.map(({ peer, rate, overCore }) => [
            peer,
            number(rate.median, 0),
            spread(rate, 0),
            ratio(overCore.median),
            spread(overCore, 2),
          ]),
          data: { family, measure, ...plan, rows },
        });
        for (const peer of PEERS.slice(1)) {
          const value = rows[at(peer)].overCore.median;
          targets.push({ what: `IPv${family} empty range, ${what}: ${peer} / ${CORE}`, value, least: 0.6 });
        }
      }
      const filling = { warmup: 0, rounds: quick ? 1 : 3 };
      const filled = await interleave(parties, filling, (party) =>
        party.call('fill', { address: ends[family].source, refusals: 500 }),
      );
      const rows = settings.map(({ label }, index) => ({
        peer: label,
        first: median(filled[index].map((slice) => slice.first)),
        last: median(filled[index].map((slice) => slice.last)),
        lastP99: median(filled[index].map((slice) => slice.lastP99)),
        refusal: median(filled[index].map((slice) => slice.refusal)),
      }));
      sections.push({
        setting: `IPv${family}, a range of 10,000 filled but for ${HELD} ports of another process, microseconds, ${filling.rounds} rounds`,
        columns: ['', 'first 10 %, p50', 'last 1 %, p50', 'p99', 'refusal, p50'],
        rows: rows.map(({ peer, ...us }) => [peer, ...Object.values(us).map((value) => number(value, 1))]),
        data: { family, ...filling, rows },
      });
      for (const peer of PEERS.slice(1)) {
        const { first, last, refusal: refused } = rows[at(peer)];
        targets.push({ what: `IPv${family} last 1 % / first 10 %, p50: ${peer}`, value: last / first, most: 2 });
        targets.push({ what: `IPv${family} refusal, microseconds, p50: ${peer}`, value: refused, most: 500 });
      }
    });
  }
  return { sections, targets };
}
