// Processes that are told what to do over IPC, and what they say of how far they are.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { withParent } from '../lib/processes.mjs';

const programOf = (name) => fileURLToPath(new URL(`${name}.mjs`, import.meta.url));

export class Fleet {
  #members = [];
  #program;

  constructor(program) {
    this.#program = program;
  }

  /** One more process; resolves when it is ready. `descriptor` becomes its descriptor 4. */
  async add(setting, descriptor) {
    const [file, ...args] = withParent([process.execPath, programOf(this.#program), JSON.stringify(setting)]);
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc', ...(descriptor === undefined ? [] : [descriptor])];
    // In a process group of its own: what ends the group of the terminal ends the coordinator, and it ends these.
    const child = spawn(file, args, { stdio, detached: true, serialization: 'advanced' });
    const member = { child, open: 0, answered: 0, late: 0, waiting: new Map() };
    this.#members.push(member);
    child.on('message', (message) => this.#heard(member, message));
    child.once('exit', (code, signal) => {
      const error = new Error(`${this.#program} ${child.pid} ended with ${signal ?? `exit code ${code}`}`);
      for (const { reject } of member.waiting.values()) reject(error);
      member.waiting.clear();
    });
    await answer(member, 'start');
  }

  get pids() {
    return this.#members.filter(isAlive).map(({ child }) => child.pid);
  }

  /** The sum of what the processes last said. */
  total(what) {
    return this.#members.reduce((sum, member) => sum + member[what], 0);
  }

  /** The largest of it. */
  worst(what) {
    return this.#members.reduce((worst, member) => Math.max(worst, member[what]), 0);
  }

  /** Has all of them do it at the same time; resolves with what came of it, in order. */
  all(task) {
    return Promise.all(
      this.#members.map((member) => {
        member.child.send({ task });
        return answer(member, task);
      }),
    );
  }

  /** Without an answer. */
  tell(task) {
    for (const member of this.#members.filter(isAlive)) member.child.send({ task });
  }

  /** Ends them, and resolves when they have ended. */
  async stop() {
    await Promise.all(
      this.#members.filter(isAlive).map(async ({ child }) => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }),
    );
  }

  #heard(member, { done, value, ...progress }) {
    Object.assign(member, progress);
    if (done === undefined) return;
    member.waiting.get(done)?.resolve(value);
    member.waiting.delete(done);
  }
}

const isAlive = ({ child }) => child.exitCode === null && child.signalCode === null;

function answer(member, task) {
  if (!isAlive(member)) return Promise.reject(new Error(`process ${member.child.pid} has ended`));
  return new Promise((resolve, reject) => member.waiting.set(task, { resolve, reject }));
}
