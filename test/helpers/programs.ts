// Real servers for tests: programs of the machine, started in a folder of their own and ended after the test.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach } from 'vitest';
import { plainEnvironment } from './environment.js';
import { has, need } from './needs.js';

export { has };

/** To be appended to a test's name: what it is left out for, or nothing. */
export function leftOutWithout(...commands: string[]): string {
  const missing = commands.filter((command) => !has(command));
  return missing.length === 0 ? '' : ` [left out: ${missing.join(' and ')} is not installed]`;
}

const folders: string[] = [];
const running = new Set<Program>();

afterEach(async () => {
  await Promise.all([...running].map((program) => program.stop('SIGKILL')));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A folder that is removed after the test, with these files in it. */
export function folderWith(files: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-test-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

export class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  output = '';

  constructor(folder: string, command: string, ...args: string[]) {
    need('setpriv');
    // So that it does not outlive a test run that is killed.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      cwd: folder,
      env: plainEnvironment(),
    });
    this.#child.stdout?.on('data', (text) => (this.output += String(text)));
    this.#child.stderr?.on('data', (text) => (this.output += String(text)));
    this.#ended = once(this.#child, 'exit').finally(() => running.delete(this));
    running.add(this);
  }

  /** Resolves when it accepts connections there; rejects when it ends instead. */
  async listensOn(hosts: readonly string[], port: number): Promise<void> {
    const failed = this.#ended.then(() => {
      throw new Error(`the server ended: ${this.output}`);
    });
    failed.catch(() => {});
    await Promise.race([failed, Promise.all(hosts.map((host) => accepting(host, port)))]);
  }

  /** Once it has ended; null when a signal ended it. */
  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  /** Resolves when it has ended. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#ended;
  }
}

// Servers do not tell when they have begun to listen.
async function accepting(host: string, port: number): Promise<void> {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const socket = net.connect(port, host);
    try {
      await once(socket, 'connect');
      // Leaves nothing in TIME-WAIT.
      socket.resetAndDestroy();
      return;
    } catch {
      await pause(10);
    }
  }
  throw new Error(`nobody listens on ${host} port ${port} after 10 s`);
}

/** nginx as one process in the foreground, with this in its `http` block. */
export function nginx(folder: string, http: string): Program {
  const config = `
    daemon off;
    master_process off;
    user root;
    pid nginx.pid;
    error_log stderr error;
    events { worker_connections 4096; }
    http {
      client_body_temp_path body;
      proxy_temp_path proxy;
      fastcgi_temp_path fastcgi;
      uwsgi_temp_path uwsgi;
      scgi_temp_path scgi;
      keepalive_requests 100000;
      ${http}
    }
  `;
  writeFileSync(join(folder, 'nginx.conf'), config);
  return new Program(folder, 'nginx', '-e', 'stderr', '-p', folder, '-c', 'nginx.conf');
}

/** HAProxy in the foreground, with these sections. */
export function haproxy(folder: string, sections: string): Program {
  const config = `
    global
      maxconn 4000
      nbthread 1
    defaults
      mode http
      timeout connect 5s
      timeout queue 30s
      timeout client 30s
      timeout server 30s
    ${sections}
  `;
  writeFileSync(join(folder, 'haproxy.cfg'), `${config.trim()}\n`);
  return new Program(folder, 'haproxy', '-db', '-f', 'haproxy.cfg');
}
