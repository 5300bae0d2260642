// Is this checkout as fast as the one of `--against`? The two alone, slice by slice beside each other, so that a difference of two or
// three per cent shows in minutes: with all the peers of the other cases between them, the machine itself changes more than that.
import { interleave, withParties } from '../lib/party.mjs';
import { ratio } from '../lib/report.mjs';
import { undisturbed } from '../lib/slice.mjs';
import { median, pairedRatio } from '../lib/statistics.mjs';

const PINNED = 'connectx, localAddress';
const TCP = ['connectx', PINNED, 'connectx, localAddress + localPort'];
const UDP = ['connectUdp', 'connectUdpSync'];
const OCCUPIED = [20_000, 29_999];
const PORTS = OCCUPIED[1] - OCCUPIED[0] + 1;
const LEVELS = [51, 75, 90, 99];

const rateOf = ({ rate }) => rate;
const cpuOf = ({ cpu }) => cpu;

/** What is done in a slice, and how fast that was, by the clock and by CPU time: each the more the better. */
const rates = (task, argument) => ({
  take: (party) => party.call(task, argument),
  good: undisturbed,
  clock: rateOf,
  cpu: (slice) => 1 / cpuOf(slice),
});
const opened = (name) => ({
  take: (party) => party.call('open', { count: 1000 }),
  good: (slices) => undisturbed(slices.opened),
  clock: (slices) => rateOf(slices[name]),
  cpu: (slices) => 1 / cpuOf(slices[name]),
});
const sampled = {
  take: (party) => party.call('sample', { count: 50, ms: 60 }),
  good: () => true,
  clock: (samples) => 1 / median(samples.map(({ settled }) => settled)),
  cpu: (samples) => 1 / median(samples.map(cpuOf)),
};

const CONCURRENCY = 16;
const PARTS = [
  { peers: TCP, tasks: 'rate', shapes: { churn: rates('churn', { connections: 250, concurrency: CONCURRENCY }) } },
  {
    peers: TCP,
    tasks: 'rate',
    shapes: { 'ramp to 500': rates('ramp', { connections: 500, concurrency: CONCURRENCY }) },
  },
  { peers: UDP, tasks: 'udp-rate', shapes: { opened: opened('opened'), 'opened and closed': opened('closed') } },
  ...LEVELS.map((level) => ({
    peers: TCP.slice(0, 2),
    tasks: 'occupancy',
    range: OCCUPIED,
    fill: Math.round((PORTS * level) / 100),
    // How long a search takes depends on which ports are free, too: by chance.
    fills: 6,
    shapes: { [`${level} % of ${PORTS} ports taken`]: sampled },
  })),
];

export const tasks = {};

export const title =
  'against: this checkout beside the other one, new / old, by the clock and by CPU time: the more the faster';

export async function run({ families, contestants, atMost }) {
  const rounds = atMost({ quick: 40, full: 300 });
  const rows = [];
  for (const family of families) {
    for (const { peers, tasks: name, range, fill, fills = 1, shapes } of PARTS) {
      for (const peer of peers) {
        const settings = contestants([peer]).map((one) => ({ ...one, family, tasks: name, range }));
        if (settings.length < 2) throw new Error('there is nothing to compare with: --against DIR');
        // One slice for all of its shapes.
        const [{ take, good }] = Object.values(shapes);
        const taken = [[], []];
        for (let n = 0; n < fills; n++) {
          const more = await withParties(settings, async (parties) => {
            for (const party of parties) if (fill !== undefined) await party.call('fill', fill);
            return interleave(parties, { warmup: 20, rounds: Math.ceil(rounds / fills) }, take, good);
          });
          for (const [index, slices] of more.entries()) taken[index].push(...slices);
        }
        for (const [shape, { clock, cpu }] of Object.entries(shapes)) {
          const over = (value) => pairedRatio(...taken.map((slices) => slices.map(value)));
          const [byClock, byCpu] = [over(clock), over(cpu)];
          rows.push({ family, peer, shape, byClock, byCpu });
          console.error(`  IPv${family} ${shape}: ${peer} ${ratio(byClock.median)} ${ratio(byCpu.median)}`);
        }
      }
    }
  }
  const range = ({ low, high }) => `${low.toFixed(3)}-${high.toFixed(3)}`;
  return {
    sections: [
      {
        setting: `${rounds} rounds; medians, and between what they lie with a probability of 95 %`,
        text: [0, 1],
        columns: ['', '', 'by the clock', '95 %', 'by CPU', '95 %'],
        rows: rows.map(({ family, peer, shape, byClock, byCpu }) => [
          `IPv${family} ${shape}`,
          peer,
          byClock.median.toFixed(3),
          range(byClock.confidence),
          byCpu.median.toFixed(3),
          range(byCpu.confidence),
        ]),
        data: { rounds, rows },
      },
    ],
    targets: rows.map(({ family, peer, shape, byCpu }) => ({
      what: `IPv${family} ${shape}: ${peer}, new / old`,
      value: byCpu.median,
      least: 0.97,
    })),
  };
}
