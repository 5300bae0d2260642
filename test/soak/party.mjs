// A process that takes part, as its parent sees it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const interposer = join(import.meta.dirname, '../native/build/Release/faults.node');

export class Party {
  name;
  child;
  ended;
  /** Whether it is meant to end. */
  expected = false;
  /** Points [seconds, figure] for each figure. */
  points = {};

  constructor(name, program, argument, { faults = false } = {}) {
    this.name = name;
    const env = { ...process.env, NODE_NO_WARNINGS: '1' };
    if (faults) env.LD_PRELOAD = [interposer, process.env.LD_PRELOAD].filter(Boolean).join(':');
    this.child = fork(join(import.meta.dirname, program), [JSON.stringify(argument)], {
      execArgv: ['--expose-gc'],
      env,
    });
    this.ended = once(this.child, 'exit').then(([code, signal]) => signal ?? code);
  }

  async ready() {
    const failed = this.ended.then((how) => {
      throw new Error(`${this.name} ended with ${how} before it was ready`);
    });
    failed.catch(() => {});
    for (;;) {
      const [message] = await Promise.race([once(this.child, 'message'), failed]);
      if (message.what === 'ready') return;
    }
  }

  send(message) {
    this.child.send(message);
  }

  /** Resident set and descriptors from outside; nothing where it has just ended. */
  look() {
    try {
      const [, kb] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.child.pid}/status`, 'utf8')) ?? [];
      if (kb === undefined) return undefined;
      return { rss: kb * 1024, descriptors: readdirSync(`/proc/${this.child.pid}/fd`).length };
    } catch (error) {
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return undefined;
      throw error;
    }
  }

  note(figures, time) {
    for (const [name, figure] of Object.entries(figures)) (this.points[name] ??= []).push([time, figure]);
  }
}
