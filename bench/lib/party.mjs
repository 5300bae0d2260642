// A party is one contestant: a process of its own, so that heap, inline caches and descriptors are its own, in a network
// namespace of its own, so that its ports are; with a listener beside it. Parties take turns: the run asks one at a time to do
// something, and the others sleep.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ends } from './ends.mjs';
import { isolated } from './namespace.mjs';
import { CLIENT_CORE, onCore, withParent } from './processes.mjs';

const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));

export class Party {
  #child;

  constructor(child, setting) {
    this.#child = child;
    this.setting = setting;
  }

  /**
   * `setting` is for worker.mjs: { peer, family, checkout, tasks, range?, floor? }. `onAllCores`: where threads or processes of the party
   * are to work beside it. `wrap` is put before the command, e.g. strace.
   */
  static async start(setting, { wrap = [], execArgv = [] } = {}) {
    const node = [process.execPath, '--expose-gc', ...execArgv, worker, JSON.stringify(setting)];
    const command = [...wrap, ...node];
    const placed = setting.onAllCores === true ? command : onCore(CLIENT_CORE, command);
    const [file, ...args] = withParent(isolated(placed, ends[setting.family].addresses));
    const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const party = new Party(child, setting);
    await party.#answer();
    return party;
  }

  /** Has the worker do `name` of its case with the argument, and resolves with what came of it. */
  async call(name, argument) {
    this.#child.send({ name, argument });
    return this.#answer();
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  #answer() {
    const child = this.#child;
    const { label: peer } = this.setting;
    return new Promise((resolve, reject) => {
      const settle = (act, value) => {
        child.off('message', onMessage);
        child.off('exit', onExit);
        act(value);
      };
      const onMessage = ({ value, error }) =>
        error === undefined ? settle(resolve, value) : settle(reject, new Error(`${peer}: ${error}`));
      const onExit = (code, signal) =>
        settle(reject, new Error(`${peer}: ended with ${signal ?? `exit code ${code}`}`));
      child.on('message', onMessage);
      child.on('exit', onExit);
    });
  }
}

/** `use` gets a party for each setting, all of them up; they are stopped whatever happens. */
export async function withParties(settings, use) {
  const parties = [];
  try {
    for (const setting of settings) parties.push(await Party.start(setting));
    return await use(parties);
  } finally {
    await Promise.all(parties.map((party) => party.stop()));
  }
}

/**
 * Round after round, each party in turn, and each round begins with another one. What `take(party)` resolves with is
 * gathered by party; the first `warmup` rounds, in which the JIT compiles, are thrown away. What `good` does not like is taken
 * again, three times at most.
 */
export async function interleave(parties, { warmup, rounds }, take, good = () => true) {
  const taken = parties.map(() => []);
  for (let round = 0; round < warmup + rounds; round++) {
    for (let turn = 0; turn < parties.length; turn++) {
      const index = (round + turn) % parties.length;
      let value = await take(parties[index]);
      for (let again = 0; again < 3 && round >= warmup && !good(value); again++) value = await take(parties[index]);
      if (round >= warmup) taken[index].push(value);
    }
  }
  return taken;
}
