// What does connectx/register cost the connections that it does not touch, and what do those gain that it does?
import { churn } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';

const PLAIN = 'net.connect';
const PLAIN_REGISTERED = 'net.connect, registered';
const CORE = 'net.connect, localAddress';
const REGISTERED = 'net.connect, localAddress, registered';
const PINNED = 'connectx, localAddress';
/** What each of them is compared with. */
const PAIRS = [
  [PLAIN, PLAIN],
  [PLAIN_REGISTERED, PLAIN],
  [CORE, CORE],
  [REGISTERED, CORE],
  [PINNED, CORE],
];
const CONNECTIONS = 250;
const CONCURRENCY = 16;

/** In the party's process. */
export const tasks = {
  /** Opens and resets, so that the range stays empty. */
  async churn({ connect, server }) {
    // What the slice before left behind is not this one's to collect.
    globalThis.gc({ type: 'minor' });
    const before = process.cpuUsage();
    const start = performance.now();
    await churn(connect, CONNECTIONS, CONCURRENCY);
    const us = (performance.now() - start) * 1000;
    const { user, system } = process.cpuUsage(before);
    await server.drain(CONNECTIONS);
    return { cpu: (user + system) / CONNECTIONS, busy: (user + system) / us };
  },
};

// The client never waits for anything but the processor, so when it did not have that, something else had.
const undisturbed = ({ busy }) => busy > 0.97;

export const title = 'register: microseconds of CPU time for one connection, with and without connectx/register';

export async function run({ families, contestants, atMost }) {
  const sections = [];
  const targets = [];
  const plan = { warmup: 20, rounds: atMost({ quick: 60, full: 400 }) };
  for (const family of families) {
    const settings = contestants(PAIRS.map(([peer]) => peer)).map((one) => ({ ...one, family, tasks: 'register' }));
    await withParties(settings, async (parties) => {
      const taken = await interleave(parties, plan, (party) => party.call('churn'), undisturbed);
      const cpus = taken.map((slices) => slices.map(({ cpu }) => cpu));
      const of = (peer) => cpus[settings.findIndex(({ label }) => label === peer)];
      const rows = settings.map(({ label, peer }, index) => {
        const [, other] = PAIRS.find(([name]) => name === peer);
        return { peer: label, other, cpu: summary(cpus[index]), over: pairedRatio(cpus[index], of(other)) };
      });
      sections.push({
        setting: `IPv${family}: ${CONNECTIONS} connections a slice, ${CONCURRENCY} under way, ${plan.rounds} rounds`,
        columns: ['', 'us of CPU', 'quartiles', 'compared with', 'ratio', 'quartiles'],
        text: [0, 3],
        rows: rows.map(({ peer, other, cpu, over }) => [
          peer,
          number(cpu.median, 1),
          spread(cpu, 1),
          other,
          ratio(over.median),
          spread(over, 2),
        ]),
        data: { family, connections: CONNECTIONS, concurrency: CONCURRENCY, ...plan, rows },
      });
      const untouched = rows.find(({ peer }) => peer === PLAIN_REGISTERED);
      targets.push({ what: `IPv${family}: ${PLAIN_REGISTERED} / ${PLAIN}`, value: untouched.over.median, most: 1.02 });
    });
  }
  return { sections, targets };
}
