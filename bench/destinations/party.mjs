// A program of this folder in a process of its own, asked by lines on its standard input, which answers by lines.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export class Party {
  #child;
  #lines;

  constructor(program, settings) {
    const file = fileURLToPath(new URL(program, import.meta.url));
    this.#child = spawn(process.execPath, [file, JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  ask(question) {
    this.#child.stdin.write(`${JSON.stringify(question)}\n`);
  }

  async answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('it has ended without an answer');
    return value;
  }

  async end() {
    const ended = once(this.#child, 'exit');
    this.#child.stdin.end();
    await ended;
  }
}
