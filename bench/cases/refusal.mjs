// What does it cost to be told that no port is left?
import { openAll } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, spread } from '../lib/report.mjs';
import { percentiles, summary } from '../lib/statistics.mjs';

const PEERS = ['net.connect', 'net.connect, localAddress', 'connectx', 'connectx, localAddress'];
const RANGE = [20_000, 29_999];
const PORTS = RANGE[1] - RANGE[0] + 1;
const SAMPLES = 20;
const BURST = 50;

const held = [];

/** In the party's process. */
export const tasks = {
  async fill({ connect }) {
    held.push(...(await openAll(connect, PORTS)));
  },
  /** Refusals one after the other, in microseconds. */
  async refused({ connect }, count) {
    const samples = [];
    for (let i = 0; i < count; i++) samples.push(await refusal(connect));
    return samples;
  },
  /** Many calls in one turn of the event loop: milliseconds until the next turn, and of CPU. */
  async burst({ connect }, count) {
    const cpu = process.cpuUsage();
    const start = performance.now();
    const ends = Array.from({ length: count }, () => refusal(connect));
    await new Promise((resolve) => setImmediate(resolve));
    const delay = performance.now() - start;
    const { user, system } = process.cpuUsage(cpu);
    await Promise.all(ends);
    return { delay, cpu: (user + system) / 1000 };
  },
};

function refusal(connect) {
  return new Promise((resolve, reject) => {
    let blocked;
    let told;
    const cpu = process.cpuUsage();
    const start = performance.now();
    const socket = connect();
    // Core calls connect(2) in a tick of its own, which comes before this one.
    process.nextTick(() => (blocked = (performance.now() - start) * 1000));
    socket.once('error', ({ code }) => {
      const { user, system } = process.cpuUsage(cpu);
      told = { told: (performance.now() - start) * 1000, cpu: user + system, code };
    });
    socket.once('connect', () => reject(new Error('there was a port left')));
    socket.once('close', () => setImmediate(() => resolve({ blocked, ...told })));
  });
}

export const title = `refusal: all of ${PORTS} ports taken towards the destination`;

export async function run({ families, contestants, quick }) {
  const sections = [];
  const rounds = quick ? 6 : 25;
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, range: RANGE, tasks: 'refusal' }));
    await withParties(settings, async (parties) => {
      for (const party of parties) await party.call('fill');
      const plan = { warmup: 3, rounds };
      const slices = await interleave(parties, plan, (party) => party.call('refused', SAMPLES));
      const bursts = await interleave(parties, plan, (party) => party.call('burst', BURST));
      const rows = settings.map(({ label }, index) => {
        const samples = slices[index].flat();
        return {
          peer: label,
          code: samples[0].code,
          blocked: percentiles(samples.map(({ blocked }) => blocked)),
          told: percentiles(samples.map(({ told }) => told)),
          cpu: percentiles(samples.map(({ cpu }) => cpu)),
          burstDelay: summary(bursts[index].map(({ delay }) => delay)),
          burstCpu: summary(bursts[index].map(({ cpu }) => cpu)),
        };
      });
      sections.push({
        setting: `IPv${family}, ${rounds} rounds of ${SAMPLES}, in microseconds; and of ${BURST} calls in one turn, in milliseconds`,
        text: [0, 1],
        columns: [
          '',
          'code',
          'loop held p50',
          'p99',
          "'error' p50",
          'p99',
          'CPU p50',
          'quartiles',
          'p99',
          `${BURST}: loop held`,
          'CPU',
          'quartiles',
        ],
        rows: rows.map(({ peer, code, blocked, told, cpu, burstDelay, burstCpu }) => [
          peer,
          code,
          number(blocked.median, 0),
          number(blocked.p99, 0),
          number(told.median, 0),
          number(told.p99, 0),
          number(cpu.median, 0),
          spread(cpu, 0),
          number(cpu.p99, 0),
          number(burstDelay.median, 1),
          number(burstCpu.median, 1),
          spread(burstCpu, 1),
        ]),
        data: { family, range: RANGE, rounds, samples: SAMPLES, burst: BURST, rows },
      });
    });
  }
  return { sections, targets: [] };
}
