// What does it cost to be told that no port is left?
import { openAll } from '../lib/connections.mjs';
import { interleave, withParties } from '../lib/party.mjs';
import { number, spread } from '../lib/report.mjs';
import { quantile, summary } from '../lib/statistics.mjs';

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
    const blocked = [];
    const told = [];
    let code;
    for (let i = 0; i < count; i++) {
      const one = await refusal(connect);
      blocked.push(one.blocked * 1000);
      told.push(one.told * 1000);
      code = one.code;
    }
    return { blocked, told, code };
  },
  /** Many calls in one turn of the event loop: milliseconds until the next turn. */
  async burst({ connect }, count) {
    const start = performance.now();
    const ends = Array.from({ length: count }, () => refusal(connect));
    const delay = await new Promise((resolve) => setImmediate(() => resolve(performance.now() - start)));
    await Promise.all(ends);
    return delay;
  },
};

function refusal(connect) {
  return new Promise((resolve, reject) => {
    let blocked;
    let told;
    const start = performance.now();
    const socket = connect();
    // Core calls connect(2) in a tick of its own, which comes before this one.
    process.nextTick(() => (blocked = performance.now() - start));
    socket.once('error', (error) => (told = { told: performance.now() - start, code: error.code }));
    socket.once('connect', () => reject(new Error('there was a port left')));
    socket.once('close', () => setImmediate(resolve, { blocked, ...told }));
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
        const told = slices[index].flatMap((slice) => slice.told);
        return {
          peer: label,
          code: slices[index][0].code,
          blocked: summary(slices[index].flatMap(({ blocked }) => blocked)),
          told: { ...summary(told), p99: quantile(told, 0.99) },
          burst: summary(bursts[index]),
        };
      });
      sections.push({
        setting: `IPv${family}, ${rounds} rounds of ${SAMPLES}, and of ${BURST} at once`,
        text: [0, 1],
        columns: [
          '',
          'code',
          'loop held us p50',
          "until 'error' us p50",
          'quartiles',
          'p99',
          `${BURST} at once: loop held ms`,
          'quartiles',
        ],
        rows: rows.map(({ peer, code, blocked, told, burst }) => [
          peer,
          code,
          number(blocked.median, 0),
          number(told.median, 0),
          spread(told, 0),
          number(told.p99, 0),
          number(burst.median, 1),
          spread(burst, 1),
        ]),
        data: { family, range: RANGE, rounds, samples: SAMPLES, burst: BURST, rows },
      });
    });
  }
  return { sections, targets: [] };
}
