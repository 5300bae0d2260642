// Programs of examples/, as users start them, in the network namespace of the calling thread.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { plainEnvironment } from './environment.js';
import { folderWith } from './programs.js';
import { track, until } from './sockets.js';
import { need } from './needs.js';

const root = join(import.meta.dirname, '../../examples');

/** A line of its log. */
export type Line = Record<string, unknown> & { event: string };

export class Example {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown[]>;
  readonly lines: Line[] = [];
  #complaints = '';

  /** `config`: the settings, or the file that they are in (below examples/, or an absolute path). */
  constructor(name: string, config: object | string, env: NodeJS.ProcessEnv = {}) {
    const file =
      typeof config === 'string'
        ? resolve(root, config)
        : join(folderWith({ 'config.json': JSON.stringify(config) }), 'config.json');
    need('setpriv');
    // So that it does not outlive a test run that is killed; setpriv becomes the program.
    const args = ['--pdeathsig', 'KILL', process.execPath, join(root, name, 'main.mjs'), file];
    const child = spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    createInterface(child.stdout).on('line', (line) => this.lines.push(JSON.parse(line) as Line));
    child.stderr.on('data', (text) => (this.#complaints += String(text)));
    this.#child = child;
    this.#ended = once(child, 'close');
    track({ close: () => void child.kill('SIGKILL') });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  linesOf(event: string): Line[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves with the first line of this event when it has been written. */
  async logged(event: string, matches: (line: Line) => boolean = () => true): Promise<Line> {
    const found = () => this.linesOf(event).find(matches);
    await until(
      () => found() !== undefined || this.#child.exitCode !== null,
      () => JSON.stringify(this.lines),
    );
    const line = found();
    if (line === undefined) throw new Error(`no ${event}: ${JSON.stringify(this.lines)} ${this.#complaints}`);
    return line;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** How it ends; it must not have complained. */
  async end(signal?: NodeJS.Signals): Promise<{ code: unknown; signal: unknown; complaints: string }> {
    if (signal) this.kill(signal);
    const [code, by] = await this.#ended;
    return { code, signal: by, complaints: this.#complaints };
  }

  /** How many descriptors it has open. */
  descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Its resident memory, in megabytes. */
  memory(): number {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes) / 1024;
  }
}

export const CLEAN_END = { code: 0, signal: null, complaints: '' };

/** What a program prints, and what it ends with; a failure of it is an answer, too. */
export async function answerOf(command: string, ...args: string[]): Promise<{ exit: unknown; output: string }> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 25_000, maxBuffer: 2 ** 26, env: plainEnvironment() }, (error, stdout) => {
      resolve({ exit: error === null ? 0 : (error.code ?? error.signal), output: stdout });
    });
  });
}
