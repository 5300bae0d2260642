// What a process at the limit does, in the party's process: refused at a steady rate, or by the hundred in one turn. TCP and UDP.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { hold, longestTurn } from './transports.mjs';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
const cpuSince = (before) => {
  const { user, system } = process.cpuUsage(before);
  return user + system;
};

/** Calls `act` at this rate, in bundles a millisecond apart, for `ms`: CPU time a call in microseconds, for each slice of 100 ms. */
async function paced(act, { perSecond, ms }) {
  const slices = [];
  const pending = [];
  for (let slice = 0; slice < ms / 100; slice++) {
    const before = process.cpuUsage();
    const start = performance.now();
    let made = 0;
    for (let elapsed = 0; elapsed < 100; elapsed = performance.now() - start) {
      for (const due = Math.min((elapsed * perSecond) / 1000, perSecond / 10); made < due; made++) pending.push(act());
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    slices.push(cpuSince(before) / Math.max(made, 1));
  }
  return { slices, values: await Promise.all(pending) };
}

/** In the party's process, for a case: with its transport. */
export function limitTasks(transport) {
  const held = [];
  const count = (outcomes) => {
    const codes = {};
    for (const { times } of outcomes) codes[times.code ?? 'connected'] = (codes[times.code ?? 'connected'] ?? 0) + 1;
    return codes;
  };
  return {
    fill: ({ connect }, ports) => hold(transport, connect, held, ports),
    /** Ports that nobody else may bind: somebody else's, as far as a search is concerned. */
    lock(_, { checkout, address, low, high }) {
      const sys = createRequire(join(checkout, 'package.json'))('./dist/sys.js');
      for (let port = low; port <= high; port++) {
        sys.bind(sys.socket(sys.constants.AF_INET, sys.constants.SOCK_STREAM), { address, port });
      }
    },
    /** One call after the other, each closed again: how long it takes and holds the event loop, in ms. */
    async single({ connect }, calls) {
      const rows = [];
      for (let n = 0; n < calls; n++) {
        const { value, longest } = await longestTurn(() => transport.attempt(connect));
        rows.push({ ms: value.times.settled / 1000, longest });
        if (value.socket !== undefined) await transport.end(value.socket);
        await nextTurn();
      }
      return rows;
    },
    /** One connection after the other, ended by this side: how many a second. */
    async ended({ connect, server }, count) {
      let codes = 0;
      const start = performance.now();
      const batch = Math.min(count, 16);
      let left = count;
      const one = async () => {
        while (left > 0) {
          left--;
          const { socket } = await transport.attempt(connect);
          if (socket === undefined) codes++;
          else {
            const closed = new Promise((resolve) => socket.once('close', resolve));
            socket.resume();
            socket.end();
            await closed;
          }
        }
      };
      const drained = server.drain(count);
      await Promise.all(Array.from({ length: batch }, one));
      const rate = (count / (performance.now() - start)) * 1000;
      if (codes === 0) await drained;
      return { rate, refused: codes };
    },
    /** Refused at a steady rate; what the timers and the loop alone take is measured in between, and left out. */
    async steady({ connect }, { perSecond, ms }) {
      await paced(() => transport.attempt(connect), { perSecond, ms: ms / 4 });
      const idle = await paced(async () => {}, { perSecond, ms: ms / 4 });
      const attempts = (time) => paced(() => transport.attempt(connect), { perSecond, ms: time });
      const value = await attempts(ms);
      // Apart: to watch the event loop keeps the processor busy.
      const { longest } = await longestTurn(() => attempts(ms / 4));
      const median = idle.slices.sort((a, b) => a - b)[idle.slices.length >> 1];
      return {
        cpu: value.slices.map((us) => us - median),
        settled: value.values.map(({ times }) => times.settled),
        longest,
        codes: count(value.values),
      };
    },
    /** So many calls in one turn: how long it holds the event loop and how long all of it takes, in ms; CPU time a call in us. */
    async burst({ connect }, { calls, wait }) {
      const act = () => Promise.all(Array.from({ length: calls }, () => transport.attempt(connect)));
      const end = async (outcomes) => {
        for (const { socket } of outcomes) if (socket !== undefined) await transport.end(socket);
      };
      await nextTurn();
      const before = process.cpuUsage();
      const start = performance.now();
      const outcomes = await act();
      const figures = { total: performance.now() - start, cpu: cpuSince(before) / calls, codes: count(outcomes) };
      await end(outcomes);
      await new Promise((resolve) => setTimeout(resolve, wait));
      // Apart: to watch the event loop keeps the processor busy.
      const { value, longest } = await longestTurn(act);
      await end(value);
      return { ...figures, longest };
    },
    /** A held socket is closed: how many calls are refused until one gets its port. */
    async inVain({ connect }) {
      await transport.end(held.pop());
      for (let refused = 0; refused <= 1000; refused++) {
        const { socket } = await transport.attempt(connect);
        if (socket === undefined) continue;
        held.push(socket);
        return refused;
      }
      throw new Error('refused a thousand times, with a port free');
    },
  };
}
