// How long does a connection take when so much of the range is taken towards its destination?
import { openAll } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { median, pairedRatio, percentiles } from '../lib/statistics.mjs';

const PLAIN = 'net.connect';
const CORE = 'net.connect, localAddress';
const PINNED = 'connectx, localAddress';
const PEERS = [PLAIN, CORE, 'connectx', PINNED];
const RANGE = [20_000, 29_999];
const PORTS = RANGE[1] - RANGE[0] + 1;
const LEVELS = [0, 26, 51, 90, 99, 99.9];
const SAMPLES = 25;

const held = [];

/** In the party's process. */
export const tasks = {
  /** Opens, in the peer's own way, as many as are missing. */
  async fill({ connect }, total) {
    for (const socket of await openAll(connect, total - held.length)) held.push(socket);
  },
  /** Connections one after the other, in microseconds; each is reset, so that the occupancy stays. */
  async sample({ connect }, count) {
    const samples = [];
    for (let i = 0; i < count; i++) samples.push(await timed(connect));
    return samples;
  },
};

function timed(connect) {
  return new Promise((resolve, reject) => {
    let blocked;
    let taken;
    const cpu = process.cpuUsage();
    const start = performance.now();
    const socket = connect();
    // Core calls connect(2) in a tick of its own, which comes before this one.
    process.nextTick(() => (blocked = (performance.now() - start) * 1000));
    socket.once('connect', () => {
      const connected = (performance.now() - start) * 1000;
      const { user, system } = process.cpuUsage(cpu);
      taken = { connected, cpu: user + system };
      socket.resetAndDestroy();
    });
    socket.once('error', reject);
    // In a turn of its own, not in the middle of the last one's end.
    socket.once('close', () => setImmediate(() => resolve({ blocked, ...taken })));
  });
}

export const title = `occupancy: microseconds until 'connect', of ${PORTS} ports towards one destination, each peer over ports that it filled itself`;

export async function run({ families, contestants, quick }) {
  const sections = [];
  const targets = [];
  const rounds = quick ? 8 : 40;
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, range: RANGE, tasks: 'occupancy' }));
    await withParties(settings, async (parties) => {
      // At no occupancy worth mentioning, for the JIT.
      await interleave(parties, { warmup: 0, rounds: 40 }, (party) => party.call('sample', SAMPLES));
      for (const level of LEVELS) {
        const taken = Math.round((PORTS * level) / 100);
        for (const party of parties) await party.call('fill', taken);
        const slices = await interleave(parties, { warmup: 1, rounds }, (party) => party.call('sample', SAMPLES));
        const medians = slices.map((some) => some.map((samples) => median(samples.map(({ cpu }) => cpu))));
        const pinned = settings.findIndex(({ label }) => label === PINNED);
        const rows = settings.map(({ label }, index) => {
          const samples = slices[index].flat();
          return {
            peer: label,
            blocked: percentiles(samples.map(({ blocked }) => blocked)),
            connected: percentiles(samples.map(({ connected }) => connected)),
            cpu: percentiles(samples.map(({ cpu }) => cpu)),
            overPinned: pairedRatio(medians[index], medians[pinned]),
          };
        });
        sections.push({
          setting: `IPv${family}, ${level} % taken (${taken} ports), ${rounds} rounds of ${SAMPLES}`,
          columns: [
            '',
            'loop held p50',
            'p99',
            "'connect' p50",
            'p99',
            'CPU p50',
            'quartiles',
            'p99',
            `CPU / ${PINNED}`,
            'quartiles',
          ],
          rows: rows.map(({ peer, blocked, connected, cpu, overPinned }) => [
            peer,
            number(blocked.median, 0),
            number(blocked.p99, 0),
            number(connected.median, 0),
            number(connected.p99, 0),
            number(cpu.median, 0),
            spread(cpu, 0),
            number(cpu.p99, 0),
            ratio(overPinned.median),
            spread(overPinned, 2),
          ]),
          data: { family, level, taken, range: RANGE, rounds, samples: SAMPLES, rows },
        });
        if (level !== 90) continue;
        const times = (peer) => rows.find((row) => row.peer === peer).overPinned.median;
        targets.push(
          { what: `IPv${family} at 90 %: ${CORE} takes, times ${PINNED}`, value: times(CORE), least: 12 },
          { what: `IPv${family} at 90 %: ${PLAIN} takes, times ${PINNED}`, value: times(PLAIN), least: 3 },
        );
      }
    });
  }
  return { sections, targets };
}
