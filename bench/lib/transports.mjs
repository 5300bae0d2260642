// One connection, timed, and its end: for TCP and for UDP. `connect` is a peer's; see peers.mjs.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/**
 * Times are in microseconds from the call on. `blocked`: until the event loop goes on to something else; `settled`: until connected,
 * or refused with `code`; `cpu`: what the process spent until then.
 */
function stopwatch() {
  const cpu = process.cpuUsage();
  const start = performance.now();
  return {
    now: () => (performance.now() - start) * 1000,
    settled(code) {
      const settled = (performance.now() - start) * 1000;
      const { user, system } = process.cpuUsage(cpu);
      return { settled, cpu: user + system, ...(code === undefined ? {} : { code }) };
    },
  };
}

const REFUSALS = new Set(['EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN']);

function attemptTcp(connect) {
  return new Promise((resolve, reject) => {
    let blocked;
    const watch = stopwatch();
    const socket = connect();
    // Core calls connect(2) in a tick of its own, which comes before this one.
    process.nextTick(() => (blocked = watch.now()));
    socket.once('connect', () => resolve({ times: { blocked, ...watch.settled() }, socket }));
    socket.once('error', (error) => {
      if (!REFUSALS.has(error.code)) return reject(error);
      const times = { blocked, ...watch.settled(error.code) };
      socket.once('close', () => resolve({ times, socket: undefined }));
    });
  });
}

// These do their work in the call, or in the ticks that follow it, before the event loop goes on.
async function attemptUdp(connect) {
  const watch = stopwatch();
  try {
    const pending = connect();
    const socket = typeof pending.then === 'function' ? await pending : pending;
    return { times: watch.settled(), socket };
  } catch (error) {
    if (!REFUSALS.has(error.code)) throw error;
    return { times: watch.settled(error.code), socket: undefined };
  }
}

export const transports = {
  tcp: {
    attempt: attemptTcp,
    /** Whether the listener has to accept what was connected, see listener.mjs. */
    isAccepted: true,
    /** A reset: an orderly close would keep the port in TIME-WAIT. */
    async end(socket) {
      socket.resetAndDestroy();
      await once(socket, 'close');
    },
  },
  udp: {
    attempt: attemptUdp,
    isAccepted: false,
    async end(socket) {
      socket.close();
      // A bare descriptor has no events.
      if (socket.once !== undefined) await once(socket, 'close');
    },
  },
};

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** One after the other, each closed again, so that the occupancy stays: `count`, or as many as fit into `ms`. */
export async function sample({ attempt, end }, connect, { count, ms }) {
  const samples = [];
  const until = performance.now() + ms;
  do {
    const { times, socket } = await attempt(connect);
    if (socket !== undefined) await end(socket);
    samples.push(times);
    // In a turn of its own, not in the middle of the last one's end.
    await nextTurn();
  } while (samples.length < count && performance.now() < until);
  return samples;
}

/** Opens `total` more into `held`, `atOnce` of them under way. */
export async function hold({ attempt }, connect, held, total, atOnce = 16) {
  let left = total;
  let turn;
  const open = async () => {
    while (left > 0) {
      left--;
      const { times, socket } = await attempt(connect);
      if (socket === undefined) throw new Error(`refused with ${times.code} after ${held.length}`);
      held.push(socket);
      // As in a program that has other things to do: what is put off to the next turn does not pile up. All wait for it, or those
      // that connect within a call would go on in the same turn.
      if (held.length % atOnce === 0) turn = nextTurn();
      await turn;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, open));
}

/** The longest time between two turns of the event loop while `act` is going on, in milliseconds, and what came of it. */
export async function longestTurn(act) {
  let last = performance.now();
  let longest = 0;
  let isOver = false;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const value = await act();
  isOver = true;
  // The turn that `act` ended in counts, too.
  await nextTurn();
  return { value, longest };
}

/** Looks once in a millisecond, or after a turn that is longer, until `act` is done: to look in every turn would take a processor. */
async function looking(act, look) {
  const timer = setInterval(look, 1);
  const value = await act();
  clearInterval(timer);
  await nextTurn();
  look();
  return value;
}

/** The same where other threads of the process work meanwhile: the most that a timer, due each millisecond, has come late. */
export async function latestTurn(act) {
  let due = performance.now() + 1;
  let longest = 0;
  const value = await looking(act, () => {
    const now = performance.now();
    longest = Math.max(longest, now - due);
    due = now + 1;
  });
  return { value, longest };
}

const ownProcessor = () => Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6;

/** The same where several processes share the processors: the most that the thread has had of one between two looks, in milliseconds. */
export async function busiestTurn(act) {
  let last = ownProcessor();
  let longest = 0;
  const value = await looking(act, () => {
    const now = ownProcessor();
    longest = Math.max(longest, now - last);
    last = now;
  });
  return { value, longest };
}

/** So many attempts in one turn of the event loop: how long the others have to wait, in milliseconds. */
export async function burst({ attempt, end }, connect, count) {
  await nextTurn();
  const { value, longest } = await longestTurn(() =>
    Promise.all(Array.from({ length: count }, () => attempt(connect))),
  );
  for (const { socket } of value) if (socket !== undefined) await end(socket);
  return longest;
}
