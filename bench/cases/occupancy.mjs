// How long a connect takes when the ports towards its destination are largely taken, and what a refusal costs.
import { interleave, withParties } from '../lib/party.mjs';
import { number } from '../lib/report.mjs';
import { median, quantile } from '../lib/statistics.mjs';

const PLAIN = 'net.connect';
const CORE = 'net.connect, localAddress';
const PINNED = 'connectx, localAddress';
const PEERS = [PLAIN, CORE, 'connectx', PINNED];
const PORTS = 10_000;
const RANGE = [20_000, 20_000 + PORTS - 1];
const LEVELS = [0, 51, 90, 99, 99.9];
const SAMPLES = 200;

let held = [];

/** In the party's process. */
export const tasks = {
  /** Fills the range up to this level, by the party's own technique. */
  async fill({ connect }, percent) {
    const wanted = Math.round((PORTS * percent) / 100);
    while (held.length < wanted) held.push(await opened(connect));
  },
  /** One connection after another, each reset before the next: the system calls until it is under way, in microseconds. */
  async sample({ connect }, count) {
    const times = [];
    for (let i = 0; i < count; i++) {
      const { socket, us } = await timed(connect);
      times.push(us);
      await reset(socket);
    }
    return times;
  },
  async refuse({ connect }, count) {
    const times = [];
    for (let i = 0; i < count; i++) {
      const { us, error } = await timed(connect);
      if (error === undefined) throw new Error('a port was left');
      times.push(us);
    }
    return times;
  },
  async empty({ server }) {
    const { length } = held;
    await Promise.all(held.map(reset));
    held = [];
    await server.drain(length);
  },
};

function opened(connect) {
  return new Promise((resolve, reject) => {
    const socket = connect();
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

function reset(socket) {
  return new Promise((resolve) => {
    socket.once('close', resolve);
    socket.resetAndDestroy();
  });
}

/**
 * What the event loop is held for: core makes the system calls of a connect to a numeric address in the tick after, and what
 * lies between 'connectionAttempt' and the next tick is just them, for all peers alike.
 */
function timed(connect) {
  return new Promise((resolve) => {
    const socket = connect();
    let us;
    // Core binds before it announces the attempt, so the clock starts with the tick in which it does both.
    const start = performance.now();
    process.nextTick(() => {
      us = (performance.now() - start) * 1000;
    });
    socket.once('connect', () => resolve({ socket, us }));
    socket.once('error', (error) => resolve({ socket, us, error }));
  });
}

export const title = `occupancy: the time of one connect, over ${PORTS.toLocaleString('en-US')} ports towards one destination, each peer over ports that it filled itself`;

export async function run({ families, contestants, quick }) {
  const sections = [];
  const targets = [];
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, range: RANGE, tasks: 'occupancy' }));
    await withParties(settings, async (parties) => {
      const rounds = quick ? 3 : 10;
      const p50 = {};
      const rows = settings.map(({ label }) => [label]);
      const data = [];
      for (const percent of LEVELS) {
        for (const party of parties) await party.call('fill', percent);
        const plan = { warmup: 1, rounds };
        const taken = await interleave(parties, plan, (party) => party.call('sample', SAMPLES));
        for (const [index, { label }] of settings.entries()) {
          const times = taken[index].flat();
          (p50[percent] ??= {})[label] = median(times);
          rows[index].push(number(median(times), 1), number(quantile(times, 0.99), 0));
          data.push({ peer: label, percent, p50: median(times), p99: quantile(times, 0.99), samples: times.length });
        }
      }
      for (const party of parties) await party.call('fill', 100);
      const refused = await interleave(parties, { warmup: 0, rounds }, (party) => party.call('refuse', 20));
      for (const [index, { label }] of settings.entries()) {
        const times = refused[index].flat();
        rows[index].push(number(median(times), 0));
        data.push({ peer: label, percent: 100, p50: median(times), samples: times.length });
      }
      for (const party of parties) await party.call('empty');
      sections.push({
        setting: `IPv${family}, microseconds, ${rounds} rounds of ${SAMPLES}`,
        columns: ['', ...LEVELS.flatMap((percent) => [`${percent} %`, 'p99']), 'refusal'],
        rows,
        data: { family, rounds, samples: SAMPLES, rows: data },
      });
      for (const [percent, overCore, overPlain] of [
        [51, 5, 2],
        [90, 12, 3],
        [99, 12, 3],
      ]) {
        const at = p50[percent];
        const what = `IPv${family} ${percent} %, p50`;
        targets.push({ what: `${what}: ${CORE} / ${PINNED}`, value: at[CORE] / at[PINNED], least: overCore });
        targets.push({ what: `${what}: ${PLAIN} / ${PINNED}`, value: at[PLAIN] / at[PINNED], least: overPlain });
      }
    });
  }
  return { sections, targets };
}
