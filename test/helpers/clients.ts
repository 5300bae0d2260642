// Clients outside of the test's own thread, each running test/fixtures/client.mjs in the test's network namespace.
import { fork } from 'node:child_process';
import cluster from 'node:cluster';
import { Worker } from 'node:worker_threads';
import { fixture } from './run.js';
import { track } from './sockets.js';

/** What came of one connection. */
export interface Attempted {
  localAddress?: string;
  localPort?: number;
  code?: string;
  reason?: string;
  message?: string;
}

export interface Filled {
  ports: number[];
  code?: string;
  reason?: string;
}

type Message = { ready: true } | { churned: true } | { id: number; answer: unknown };

export class Client {
  /** Cycles of {@link churn} so far. */
  churned = 0;
  /** Of a client that is a process. */
  pid: number | undefined;
  readonly #send: (message: object) => void;
  readonly #waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  readonly #ready: Promise<void>;
  #asked = 0;
  #begin = () => {};

  constructor(send: (message: object) => void) {
    this.#send = send;
    this.#ready = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  /** To be called with each message that comes from it. */
  hear(message: Message): void {
    if ('ready' in message) this.#begin();
    else if ('churned' in message) this.churned++;
    else {
      this.#waiting.get(message.id)?.resolve(message.answer);
      this.#waiting.delete(message.id);
    }
  }

  /** To be called when it has ended. */
  end(how: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(`the client has ended: ${String(how)}`));
    this.#waiting.clear();
  }

  async #ask(command: string, argument?: object): Promise<unknown> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      void this.#ready.then(() => this.#send({ id, command, argument }));
    });
  }

  /** All at once; what came of each. */
  async open(list: readonly object[]): Promise<Attempted[]> {
    return (await this.#ask('open', list)) as Attempted[];
  }

  /** One after the other, until one fails. */
  async fill(options: object): Promise<Filled> {
    return (await this.#ask('fill', options)) as Filled;
  }

  /** One after the other, so many, each ended by this side; what came of them, by how often. */
  async endEach(options: object, count: number): Promise<Record<string, number>> {
    return (await this.#ask('endEach', { options, count })) as Record<string, number>;
  }

  /** Resets every connection of this client. */
  async release(): Promise<void> {
    await this.#ask('release');
  }

  /** Connects and destroys all of these again and again, without end. */
  churn(list: readonly object[]): void {
    this.#ask('churn', list).catch(() => {});
  }
}

/** `dropped`: without these capabilities, e.g. `net_admin`; takes setpriv. */
export function processClient(dropped: readonly string[] = []): Client {
  const execArgv = [`--bounding-set=${dropped.map((name) => `-${name}`).join()}`, process.execPath];
  const child = fork(
    fixture('client.mjs'),
    dropped.length === 0 ? { execArgv: [] } : { execPath: 'setpriv', execArgv },
  );
  track({ close: () => void child.kill('SIGKILL') });
  const client = new Client((message) => void child.send(message));
  client.pid = child.pid;
  child.on('message', (message) => client.hear(message as Message));
  child.once('exit', (...how) => client.end(how));
  return client;
}

export function clusterClient(): Client {
  cluster.setupPrimary({ exec: fixture('client.mjs'), execArgv: [], args: [] });
  const worker = cluster.fork();
  track({ close: () => void worker.process.kill('SIGKILL') });
  const client = new Client((message) => void worker.send(message));
  worker.on('message', (message: Message) => client.hear(message));
  worker.once('exit', (...how) => client.end(how));
  return client;
}

export function threadClient(): { client: Client; worker: Worker } {
  const worker = new Worker(fixture('client.mjs'), { execArgv: [] });
  track({ close: () => void worker.terminate() });
  const client = new Client((message) => worker.postMessage(message));
  worker.on('message', (message: Message) => client.hear(message));
  worker.once('error', (error) => client.end(error));
  worker.once('exit', (code) => client.end(code));
  return { client, worker };
}
