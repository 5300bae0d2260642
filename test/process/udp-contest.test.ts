// Several processes that want the same 4-tuples, and are killed in the middle of it.
// `npm run test:races` makes the long run of it (some minutes).
import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { connectUdpSync, type UdpConnectOptions } from 'connectx';
import { expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { tellRace } from '../helpers/races.js';
import { slowness } from '../helpers/sockets.js';
import { type Cast, families, keep, lockedPorts, SERVER, udpEcho } from '../helpers/udp.js';
import { start } from '../helpers/udp-processes.js';

const ATTEMPTS = Number(process.env.CONNECTX_CONTEST_ATTEMPTS ?? 40_000 / slowness);
const LIMIT_MS = (30_000 + ATTEMPTS * 2) * slowness;

/** What the contenders tell; see test/fixtures/udp-contender.mjs. */
interface Report {
  attempts: number;
  /** Which 4-tuple was held from when to when, in microseconds of the machine's clock. */
  wins: [tuple: number, from: number, to: number][];
  losses: Record<string, number>;
  /** How many winners sent tokens, and how many of those did not hear their own. */
  talks: number;
  silent: number;
}

/** Keeps so many contenders running, and adds up what they tell. */
class Contest {
  readonly total: Report = { attempts: 0, wins: [], losses: {}, talks: 0, silent: 0 };
  kills = 0;
  readonly #argument: string;
  readonly #running = new Set<ChildProcess>();

  constructor(processes: number, argument: object) {
    this.#argument = JSON.stringify(argument);
    for (let n = 0; n < processes; n++) this.#start();
  }

  #start(): void {
    const child = start('udp-contender.mjs', [this.#argument]);
    this.#running.add(child);
    child.on('message', (message) => this.#add(message as Report));
  }

  #add({ attempts, wins, losses, talks, silent }: Report): void {
    this.total.attempts += attempts;
    this.total.wins.push(...wins);
    this.total.talks += talks;
    this.total.silent += silent;
    for (const [key, count] of Object.entries(losses)) this.total.losses[key] = (this.total.losses[key] ?? 0) + count;
  }

  async #kill(child: ChildProcess): Promise<void> {
    this.#running.delete(child);
    const exit = once(child, 'exit') as Promise<[code: number | null, signal: string | null]>;
    child.kill('SIGKILL');
    const [code, signal] = await exit;
    if (signal !== 'SIGKILL') throw new Error(`a contender ended by itself, with ${code ?? signal}`);
    this.kills++;
  }

  /** Kills one of them, wherever it is in its work, and starts another. */
  async replaceOne(): Promise<void> {
    const all = [...this.#running];
    const victim = all[Math.floor(Math.random() * all.length)];
    if (victim === undefined) throw new Error('nobody runs');
    await this.#kill(victim);
    this.#start();
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.#running].map((child) => this.#kill(child)));
  }

  /** Pairs of wins of one 4-tuple that were held at the same time. */
  get overlaps(): number {
    const sorted = [...this.total.wins].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    return sorted.filter(([tuple, from], n) => {
      const before = sorted[n - 1];
      return before !== undefined && before[0] === tuple && from < before[2];
    }).length;
  }
}

/** Looks at the kernel's table of UDP sockets. */
class Observer {
  looks = 0;
  /** How often a connected socket was seen. */
  seen = 0;
  /** How often two were seen with the same 4-tuple. */
  duplicates = 0;
  readonly #path: string;
  readonly #page = Buffer.alloc(65536);

  constructor(version: 4 | 6) {
    this.#path = version === 4 ? '/proc/net/udp' : '/proc/net/udp6';
  }

  look(): void {
    this.looks++;
    const file = openSync(this.#path, 'r');
    for (;;) {
      const length = readSync(file, this.#page);
      if (length === 0) break;
      this.#judge(this.#page.toString('latin1', 0, length));
    }
    closeSync(file);
  }

  // Sockets of one local port are in one bucket of the kernel's table, and what one read(2) gives of it was there at one
  // moment. From one read to the next a 4-tuple may change hands.
  #judge(text: string): void {
    const tuples = new Set<string>();
    for (const line of text.split('\n')) {
      const [, local, remote, state] = line.trim().split(/\s+/);
      // Bound but not connected is "07".
      if (state !== '01') continue;
      const tuple = `${local} ${remote}`;
      this.seen++;
      if (tuples.has(tuple)) this.duplicates++;
      tuples.add(tuple);
    }
  }
}

/** 4 4-tuples over 2 ports: conflicts over a 4-tuple as well as over a port. */
function contestedTuples({ source, remote, remote2 }: Cast): UdpConnectOptions[] {
  return [remote, remote2].flatMap((host) =>
    [30001, 30002].map((localPort) => ({ host, port: SERVER, localAddress: source, localPort })),
  );
}

/** 8 processes, one of which is killed and replaced now and then, until `isOver` says so. */
async function contest(cast: Cast, plain: boolean, isOver: (contenders: Contest, observer: Observer) => boolean) {
  const { remote, remote2 } = cast;
  await udpEcho(SERVER, [remote, remote2]);
  const tuples = contestedTuples(cast);
  const contenders = new Contest(8, { tuples, plain });
  const observer = new Observer(cast.version);
  const started = performance.now();
  let nextKill = 0;
  while (!isOver(contenders, observer)) {
    observer.look();
    // The echo servers are on this thread, too, and the processor is for the contenders.
    await setTimeout(1);
    if (performance.now() < nextKill) continue;
    // A process needs some 100 ms of the processor until it gets to its first attempt.
    nextKill = performance.now() + (300 + Math.random() * 600) * slowness;
    await contenders.replaceOne();
  }
  await contenders.killAll();
  const seconds = (performance.now() - started) / 1000;
  return { contenders, observer, tuples, seconds };
}

describeIsolated('contest', () => {
  useNetwork({
    range: [20000, 20015],
    addresses: families.flatMap(({ version, source, remote, remote2, remote3 }) =>
      version === 6 ? [source, remote, remote2, remote3] : [],
    ),
  });

  test('control: the plain kernel lets several have one 4-tuple, and that shows', async () => {
    const [cast] = families as [Cast];
    await contest(
      cast,
      true,
      ({ total, overlaps }, { duplicates }) => overlaps > 0 && total.silent > 0 && duplicates > 0,
    );
  });

  test.each(families.map((cast) => ({ ...cast, attempts: cast.version === 4 ? ATTEMPTS : Math.ceil(ATTEMPTS / 8) })))(
    '$family: $attempts attempts of 8 processes at 4 four-tuples: never two owners, and no port stays locked',
    async ({ attempts, ...cast }) => {
      const { contenders, observer, tuples, seconds } = await contest(
        cast,
        false,
        (all) => all.total.attempts >= attempts && all.kills > 8,
      );
      const { total, kills } = contenders;
      const { duplicates } = observer;
      const losses = JSON.stringify(total.losses);
      tellRace({
        what: `UDP, ${cast.family}: 8 processes want the same 4 four-tuples`,
        tried: total.attempts,
        failed: duplicates + contenders.overlaps + total.silent,
        detail:
          `${total.wins.length} had one, ${total.talks} of them with tokens; ${losses}; ${kills} killed; ` +
          `${observer.looks} looks at the kernel's table; ${seconds.toFixed(0)} s`,
      });
      expect({ duplicates, overlaps: contenders.overlaps, silent: total.silent }).toEqual({
        duplicates: 0,
        overlaps: 0,
        silent: 0,
      });
      expect(Object.keys(total.losses)).toEqual(['EADDRINUSE tuple-in-use']);
      // All of it did happen.
      expect(new Set(total.wins.map(([tuple]) => tuple)).size).toBe(tuples.length);
      expect(observer.seen).toBeGreaterThan(0);
      expect(kills).toBeGreaterThan(8);

      expect(lockedPorts(cast.version, cast.source, [30001, 30002])).toEqual([]);
      for (const tuple of tuples) keep(connectUdpSync(tuple));
    },
    LIMIT_MS,
  );
});
