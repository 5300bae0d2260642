// How many connected UDP sockets a second, beginning on an empty range?
import { once } from 'node:events';
import { interleave, withParties } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { undisturbed } from '../lib/slice.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';

const CORE = 'dgram, bind + connect';
const OURS = ['connectUdp', 'connectUdpSync'];
const PEERS = [CORE, ...OURS, "the article's algorithm", 'C, bind + connect', 'C, lock + connect'];
const SOCKETS = 1000;

/** In the party's process. */
export const tasks = {
  /** Opens and holds, then closes: both are measured. */
  async open({ connect }, { count }) {
    globalThis.gc({ type: 'minor' });
    const sockets = [];
    const cpu = process.cpuUsage();
    const start = performance.now();
    const lap = () => {
      const us = (performance.now() - start) * 1000;
      const { user, system } = process.cpuUsage(cpu);
      return { rate: (count / us) * 1e6, cpu: (user + system) / count, busy: (user + system) / us };
    };
    for (let i = 0; i < count; i++) sockets.push(await connect());
    const opened = lap();
    for (const socket of sockets) socket.close();
    const closed = lap();
    // A bare descriptor has no events.
    if (sockets.at(-1).once !== undefined) await once(sockets.at(-1), 'close');
    return { opened, closed };
  },
};

const SHAPES = { opened: 'opened', closed: 'opened and closed' };

export const title =
  'udp-rate: connected UDP sockets a second from one source address, beginning on an empty range of 28,232 ports (32768-60999)';

export async function run({ families, contestants, atMost }) {
  const sections = [];
  const targets = [];
  const plan = { warmup: 5, rounds: atMost({ quick: 25, full: 120 }) };
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, tasks: 'udp-rate' }));
    await withParties(settings, async (parties) => {
      const take = (party) => party.call('open', { count: SOCKETS });
      const taken = await interleave(parties, plan, take, ({ opened }) => undisturbed(opened));
      const at = (peer) => settings.findIndex((one) => one.label === peer);
      for (const [measure, what] of Object.entries(SHAPES)) {
        const column = (name) => taken.map((slices) => slices.map((slice) => slice[measure][name]));
        const [rates, cpus] = [column('rate'), column('cpu')];
        const rows = settings.map(({ label }, index) => ({
          peer: label,
          rate: summary(rates[index]),
          cpu: summary(cpus[index]),
          overCore: pairedRatio(rates[index], rates[at(CORE)]),
        }));
        sections.push({
          setting: `IPv${family}: ${SOCKETS} sockets a slice, ${what} one after another, ${plan.rounds} rounds`,
          columns: ['', 'a second', 'quartiles', 'us of CPU', `/ ${CORE}`, 'quartiles'],
          rows: rows.map(({ peer, rate, cpu, overCore }) => [
            peer,
            number(rate.median, 0),
            spread(rate, 0),
            number(cpu.median, 1),
            ratio(overCore.median),
            spread(overCore, 2),
          ]),
          data: { family, measure, sockets: SOCKETS, ...plan, rows },
        });
        for (const peer of OURS) {
          const value = rows[at(peer)].overCore.median;
          targets.push({ what: `IPv${family} ${what}: ${peer} / ${CORE}`, value, least: 0.7 });
        }
      }
    });
  }
  return { sections, targets };
}
