// Child processes for the UDP tests, in the network namespace of the calling thread: clients that do as they are told
// (test/fixtures/udp-client.mjs).
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { UdpConnectOptions } from 'connectx';
import { track } from './sockets.js';

/** Starts a program of test/fixtures; killed after the test, if it still runs then. */
export function start(name: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const file = join(import.meta.dirname, '../fixtures', name);
  const child = fork(file, args, { execArgv: [], env: { ...process.env, ...env } });
  track({ close: () => void child.kill('SIGKILL') });
  return child;
}

/** What came of one `connectUdp`. */
export interface Opened {
  localAddress?: string;
  localPort?: number;
  code?: string;
  reason?: string;
  syscall?: string;
  message?: string;
}

export interface Filled {
  ports: number[];
  code?: string;
  reason?: string;
}

export interface State {
  native: boolean;
  udpShared: boolean;
  /** The codes of the process warnings so far. */
  warnings: string[];
  descriptors: number;
}

interface Reply {
  id: number;
  answer: unknown;
}

/** Options that a client can be sent, and whether it is to use `connectUdpSync`. */
export type ClientOptions = UdpConnectOptions & { sync?: boolean };

export class UdpClient {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  #asked = 0;

  constructor(env: NodeJS.ProcessEnv = {}) {
    // It hears its warnings, and need not print them.
    this.process = start('udp-client.mjs', [], { NODE_NO_WARNINGS: '1', ...env });
    this.process.on('message', (message) => {
      const { id, answer } = message as Reply;
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
  }

  async #ask(command: string, argument?: unknown): Promise<unknown> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const dead = (code: number | null, signal: string | null): void => {
        reject(new Error(`the client ended (${code ?? signal}) at "${command}"`));
      };
      this.process.once('exit', dead);
      this.#waiting.set(id, (answer) => {
        this.process.off('exit', dead);
        resolve(answer);
      });
      this.process.send({ id, command, argument });
    });
  }

  /** From now on, socket(AF_NETLINK) fails with this errno in the client: for one protocol, or (-1) for all. */
  async refuseNetlink(protocol: number, errno: number): Promise<void> {
    const status = await this.#ask('refuse', [protocol, errno]);
    if (status !== 0) throw new Error(`seccomp: ${String(status)}`);
  }

  /** All at once; what came of each. */
  async open(...list: ClientOptions[]): Promise<Opened[]> {
    return (await this.#ask('open', list)) as Opened[];
  }

  /** One after the other, until one fails, or there are as many as `limit`. */
  async fill(options: ClientOptions, limit: number): Promise<Filled> {
    return (await this.#ask('fill', { options, limit })) as Filled;
  }

  /** Closes the sockets with these local ports. */
  async close(...ports: number[]): Promise<void> {
    await this.#ask('close', ports);
  }

  async state(): Promise<State> {
    return (await this.#ask('state')) as State;
  }
}
