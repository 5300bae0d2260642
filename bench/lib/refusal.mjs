// What does it cost to be told that no port is left? For TCP and for UDP alike.
import { once } from 'node:events';
import { interleave, withParties } from './party.mjs';
import { number, spread } from './report.mjs';
import { percentiles, summary } from './statistics.mjs';
import { burst, hold, sample } from './transports.mjs';

const RANGE = [20_000, 29_999];
export const PORTS = RANGE[1] - RANGE[0] + 1;
/** As many as fit into `ms`. */
const SLICE = { count: 50, ms: 100 };
const BURST = 50;
/** A burst of these would take many seconds. */
const SLOW = "the article's algorithm";

/** In the party's process. */
export function refusalTasks(transport, startHolder) {
  const held = [];
  let holder;
  return {
    async fill({ connect }, by) {
      if (by === 'itself') return hold(transport, connect, held, PORTS);
      // What the JIT is to have seen before the first refusal counts.
      await sample(transport, connect, { count: 2000, ms: 500 });
      holder = await startHolder(PORTS);
    },
    /** One port is given back and taken again, by whoever holds them, and then there is none. */
    async refused({ connect }, slice) {
      if (holder === undefined) {
        await transport.end(held.pop());
        await hold(transport, connect, held, 1);
      }
      const [first] = await sample(transport, connect, { count: 1, ms: 0 });
      return { first, known: await sample(transport, connect, slice) };
    },
    /** A port has become free: how many calls are refused until one gets it? */
    async refusedInVain({ connect }) {
      if (holder === undefined) await transport.end(held.pop());
      else await holder.release();
      for (let refused = 0; refused <= 100; refused++) {
        const { socket } = await transport.attempt(connect);
        if (socket === undefined) continue;
        if (holder === undefined) held.push(socket);
        else await transport.end(socket);
        return refused;
      }
      throw new Error('refused a hundred times, with a port free');
    },
    burst: ({ connect }, count) => burst(transport, connect, count),
    async stop() {
      if (holder !== undefined) await holder.stop();
    },
  };
}

/** Asks for lines on standard output, one for each line on standard input. */
export class Holder {
  #child;
  constructor(child) {
    this.#child = child;
  }
  async ready() {
    await once(this.#child.stdout, 'data');
    return this;
  }
  async release() {
    this.#child.stdin.write('release\n');
    await once(this.#child.stdout, 'data');
  }
  async stop() {
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}

/**
 * `holders`: who holds the ports, of 'itself' and 'another process'. In the latter case the first refusal is the first of the process,
 * so each round has fresh ones. `targets(where, row)` are those of a row.
 */
export async function measureRefusal({ families, contestants, atMost }, { tasks, peers, holders, targets: targetsOf }) {
  const sections = [];
  const targets = [];
  for (const family of families) {
    for (const by of holders) {
      const settings = contestants(peers).map((one) => ({ ...one, family, range: RANGE, tasks }));
      const plans = {
        itself: { fresh: 1, rounds: atMost({ quick: 6, full: 25 }) },
        'another process': { fresh: atMost({ quick: 3, full: 9 }), rounds: atMost({ quick: 2, full: 4 }) },
      };
      const { fresh, rounds } = plans[by];
      const found = settings.map(() => ({ first: [], known: [], bursts: [], inVain: [] }));
      for (let n = 0; n < fresh; n++) {
        await withParties(settings, async (parties) => {
          for (const party of parties) await party.call('fill', by);
          const slices = await interleave(parties, { warmup: 0, rounds }, (party) => party.call('refused', SLICE));
          const bursting = parties.filter(({ setting }) => setting.peer !== SLOW);
          const bursts = await interleave(bursting, { warmup: 0, rounds }, (party) => party.call('burst', BURST));
          for (const [index, party] of parties.entries()) {
            const own = found[index];
            const firsts = slices[index].map(({ first }) => first);
            own.first.push(...(by === 'itself' ? firsts : firsts.slice(0, 1)));
            own.known.push(...slices[index].flatMap(({ known }) => known));
            own.bursts.push(...(bursts[bursting.indexOf(party)] ?? []));
            own.inVain.push(await party.call('refusedInVain'));
            await party.call('stop');
          }
        });
      }
      const rows = settings.map(({ label }, index) => {
        const { first, known, bursts, inVain } = found[index];
        const odd = [...first, ...known].find(({ code }) => code === undefined);
        if (odd) throw new Error(`${label}: there was a port left`);
        return {
          peer: label,
          code: known[0].code,
          first: summary(first.map(({ settled }) => settled)),
          known: percentiles(known.map(({ settled }) => settled)),
          blocked: known[0].blocked === undefined ? null : percentiles(known.map(({ blocked }) => blocked)),
          cpu: percentiles(known.map(({ cpu }) => cpu)),
          burst: bursts.length === 0 ? null : summary(bursts),
          inVain: Math.max(...inVain),
        };
      });
      sections.push(sectionOf({ family, by, rounds, fresh, rows }));
      for (const row of rows) targets.push(...targetsOf(`IPv${family}, ports held by ${by}`, row));
    }
  }
  return { sections, targets };
}

function sectionOf({ family, by, rounds, fresh, rows }) {
  const times = fresh === 1 ? `${rounds} rounds` : `${fresh} fresh processes, ${rounds} rounds each`;
  return {
    setting: `IPv${family}, the ports held by ${by}: microseconds until refused, ${times} of at most ${SLICE.count}; and ${BURST} calls in one turn`,
    text: [0, 1],
    columns: [
      '',
      'code',
      'first, p50',
      'quartiles',
      'then p50',
      'p99',
      'p99.9',
      'loop held p50',
      'CPU p50',
      `${BURST} at once: loop held, ms`,
      'quartiles',
      'in vain',
    ],
    rows: rows.map(({ peer, code, first, known, blocked, cpu, burst: own, inVain }) => [
      peer,
      code,
      number(first.median, 0),
      spread(first, 0),
      number(known.median, 1),
      number(known.p99, 1),
      number(known.p999, 1),
      blocked === null ? '-' : number(blocked.median, 1),
      number(cpu.median, 0),
      own === null ? '-' : number(own.median, 1),
      own === null ? '-' : spread(own, 1),
      number(inVain, 0),
    ]),
    data: { family, by, range: RANGE, rounds, fresh, slice: SLICE, burst: BURST, rows },
  };
}
