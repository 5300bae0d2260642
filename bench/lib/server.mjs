// A party's handle on its listener process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onCore, SERVER_CORE, withParent } from './processes.mjs';

const listener = fileURLToPath(new URL('listener.mjs', import.meta.url));

export class Server {
  #child;

  static async start(end) {
    const server = new Server();
    const [file, ...args] = withParent(onCore(SERVER_CORE, [process.execPath, listener, JSON.stringify(end)]));
    server.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(server.#child.stdout, 'data');
    return server;
  }

  /** Accepts and closes this many connections, which have been made before. */
  async drain(connections) {
    this.#child.stdin.write(`${connections}\n`);
    await once(this.#child.stdout, 'data');
  }

  stop() {
    this.#child.kill('SIGKILL');
  }
}
