// The contestants that are a C program (bench/native/floor.c): compiled when a run begins, and driven over pipes. What they can
// be told to do has the names that the tasks of the cases have, and gives the same.
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { works } from '../../scripts/lib.mjs';
import { withParent } from './processes.mjs';

const source = fileURLToPath(new URL('../native/floor.c', import.meta.url));

/** By label, what floor.c calls it. */
export const FLOORS = {
  'C, connect': 'tcp-connect',
  'C, localAddress': 'tcp-pinned',
  'C, localAddress, whole range': 'tcp-pinned-range',
  'C, bind + connect': 'udp-bind',
  'C, lock + connect': 'udp-lock',
};

export const isFloor = (peer) => peer in FLOORS;

/** Into a folder, by `cc`; undefined where there is no compiler. */
export function compileFloor(directory) {
  if (!works('cc', ['--version'])) return undefined;
  const program = join(directory, 'floor');
  const flags = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror'];
  execFileSync('cc', [...flags, '-o', program, source], { stdio: 'inherit' });
  return program;
}

class Floor {
  #child;
  #lines;

  constructor(program, peer, { remote, source: from, range }) {
    const technique = FLOORS[peer];
    const [file, ...args] = withParent([program, technique, remote.host, remote.port, from, range[0]].map(String));
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask(command) {
    this.#child.stdin.write(`${command}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`floor.c ended at: ${command}`);
    return JSON.parse(value);
  }

  stop() {
    this.#child.kill('SIGKILL');
  }
}

/** The tasks, for one of them; `drain` has the listener forget so many connections. */
export function floorTasks(program, peer, ends, drain) {
  const floor = new Floor(program, peer, ends);
  process.once('exit', () => floor.stop());
  const rate = (count, us, cpu) => ({ rate: (count / us) * 1e6, cpu: cpu / count, busy: cpu / us });
  return {
    async churn(context, { connections, concurrency }) {
      const { us, cpu } = await floor.ask(`churn ${connections} ${concurrency}`);
      await drain(connections);
      return rate(connections, us, cpu);
    },
    async ramp(context, { connections, concurrency }) {
      const { us, cpu } = await floor.ask(`open ${connections} ${concurrency}`);
      await drain(connections);
      return rate(connections, us, cpu);
    },
    async open(context, { count }) {
      const { us, cpu, bothUs, bothCpu } = await floor.ask(`open ${count} 1`);
      return { opened: rate(count, us, cpu), closed: rate(count, bothUs, bothCpu) };
    },
    fill: (context, total) => floor.ask(`fill ${total}`),
    sample: (context, { count, ms }) => floor.ask(`sample ${count} ${ms * 1000}`),
  };
}
