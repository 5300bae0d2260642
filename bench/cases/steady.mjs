// Does anything grow while connections are opened and closed, ten million times over?
import { readdirSync } from 'node:fs';
import { once } from 'node:events';
import { churn } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number } from '../lib/report.mjs';
import { median } from '../lib/statistics.mjs';

const SLICES = 50;
/** So many at a time: the listener takes them out of its accept queue after each. */
const BATCH = 2500;
const CONCURRENCY = 16;

const isUdp = (peer) => peer.startsWith('connectUdp');

async function cycleTcp({ connect, server }) {
  await churn(connect, BATCH, CONCURRENCY);
  await server.drain(BATCH);
}

async function cycleUdp({ connect }) {
  for (let n = 0; n < BATCH; n++) {
    const socket = await connect();
    socket.close();
    await once(socket, 'close');
  }
}

/** In the party's process. */
export const tasks = {
  /** What the process holds after so many cycles more. */
  async cycles(context, { udp, count }) {
    const start = performance.now();
    for (let done = 0; done < count; done += BATCH) await (udp ? cycleUdp(context) : cycleTcp(context));
    const ms = performance.now() - start;
    for (let n = 0; n < 3; n++) {
      globalThis.gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { rss, heapUsed, external } = process.memoryUsage();
    const descriptors = readdirSync('/proc/self/fd').length;
    const handles = process.getActiveResourcesInfo().length;
    return {
      rate: (count / ms) * 1000,
      rss: rss / 2 ** 20,
      heap: (heapUsed + external) / 2 ** 20,
      descriptors,
      handles,
    };
  },
};

export const title = 'steady: what a process holds while it opens and closes connections, in MiB';

export async function run({ families, contestants, atMost }) {
  const [family] = families;
  const cycles = atMost({ quick: 50, full: Infinity }) < 50 ? 250_000 : 10_000_000;
  const sections = [];
  const targets = [];
  for (const [peer, control] of [
    ['connectx, localAddress', 'net.connect'],
    ['connectUdp', undefined],
  ]) {
    const settings = contestants([peer, ...(control === undefined ? [] : [control])]).map((one) => ({
      ...one,
      family,
      tasks: 'steady',
    }));
    const total = settings.map((setting) => (setting.peer === control ? cycles / 10 : cycles));
    await withParties(settings, async (parties) => {
      let slice = 0;
      const taken = await interleave(parties, { warmup: 0, rounds: SLICES }, async (party) => {
        const count = total[parties.indexOf(party)] / SLICES;
        const held = await party.call('cycles', { udp: isUdp(party.setting.peer), count });
        if (process.stdout.isTTY)
          process.stdout.write(`\r${party.setting.label}: ${Math.floor(slice++ / parties.length) + 1}/${SLICES} `);
        return held;
      });
      if (process.stdout.isTTY) process.stdout.write('\n');
      // By then the JIT has compiled, and the heap has the size that it needs.
      const from = (slices, name) => median(slices.slice(SLICES / 5, (SLICES * 2) / 5).map((one) => one[name]));
      const to = (slices, name) => median(slices.slice((SLICES * 4) / 5).map((one) => one[name]));
      const rows = settings.map(({ label }, index) => {
        const slices = taken[index];
        const names = ['rss', 'heap', 'descriptors', 'handles'];
        const grown = Object.fromEntries(
          names.map((name) => [name, { from: from(slices, name), to: to(slices, name) }]),
        );
        return { peer: label, cycles: total[index], rate: to(slices, 'rate'), ...grown, slices };
      });
      sections.push({
        setting: `IPv${family}: the second fifth of ${SLICES} slices, and the last one, medians`,
        columns: [
          '',
          'cycles',
          'a second',
          'RSS',
          'then',
          'JavaScript heap',
          'then',
          'descriptors',
          'then',
          'handles',
          'then',
        ],
        rows: rows.map(({ peer: name, cycles: count, rate, rss, heap, descriptors, handles }) => [
          name,
          number(count, 0),
          number(rate, 0),
          ...[rss, heap].flatMap((of) => [number(of.from, 2), number(of.to, 2)]),
          ...[descriptors, handles].flatMap((of) => [number(of.from, 0), number(of.to, 0)]),
        ]),
        data: { family, rows },
      });
      const [own] = rows;
      const what = `IPv${family} ${own.peer}, ${number(own.cycles, 0)} cycles`;
      targets.push({ what: `${what}: MiB of RSS more at the end`, value: own.rss.to - own.rss.from, most: 2 });
      targets.push({ what: `${what}: MiB of heap more at the end`, value: own.heap.to - own.heap.from, most: 0.5 });
      for (const name of ['descriptors', 'handles']) {
        targets.push({ what: `${what}: ${name} more at the end`, value: own[name].to - own[name].from, most: 0 });
      }
    });
  }
  return { sections, targets };
}
