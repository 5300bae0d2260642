// examples/udp-relay as users run it: DNS by dig and dnsmasq, and a session of many clients, with fewer ports than flows.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { answerOf, CLEAN_END, Example } from '../helpers/examples.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { nameServer } from '../helpers/name-server.js';
import { folderWith, leftOutWithout, Program } from '../helpers/programs.js';
import { keep, sendUntil, udpServer, until } from '../helpers/udp.js';

const PORTS = 4;
const RANGE = [20000, 20000 + PORTS - 1] as const;
const LISTEN = '127.0.0.1';
const SOURCE = '127.0.0.11';
const UPSTREAMS = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];
const [A = ''] = UPSTREAMS;
const V6 = { listen: '2001:db8::1', source: '2001:db8::11', upstream: '2001:db8::2' };
const UPSTREAM = 5353;
/** Route n listens here, and leads to upstream n. */
const LISTENING = 5300;

interface Settings {
  routes?: object[];
  sources?: string[];
  clients?: string[];
  resolvers?: string[];
  limits?: object;
  timeouts?: object;
  logInterval?: number;
}

const routes = UPSTREAMS.map((host, n) => ({
  listen: { host: LISTEN, port: LISTENING + n },
  upstream: { host, port: UPSTREAM },
}));

async function startRelay(settings: Settings = {}, env?: NodeJS.ProcessEnv): Promise<Example> {
  const example = new Example('udp-relay', { routes, sources: [SOURCE], logInterval: 600_000, ...settings }, env);
  await example.logged('listening');
  return example;
}

interface Stats {
  flows: Record<string, number>;
  datagrams: Record<string, number>;
  dropped: Record<string, number>;
}

async function statsOf(relay: Example): Promise<Stats> {
  const before = relay.linesOf('stats').length;
  relay.kill('SIGUSR2');
  await until(() => relay.linesOf('stats').length > before);
  return relay.linesOf('stats').at(-1) as unknown as Stats;
}

/** A game's server: tells each player, by the address that it sees, what it has sent itself, and how often. */
async function gameServers(hosts: readonly string[]): Promise<Set<string>> {
  const seen = new Set<string>();
  for (const host of hosts) {
    const server = await udpServer(UPSTREAM, host);
    server.on('message', (message, { address, port }) => {
      seen.add(`${address} ${port} ${host}`);
      server.send(message, port, address);
    });
  }
  return seen;
}

/** A player, who sends a token with a sequence number and must hear nothing but that. */
class Player {
  static #players = 0;
  readonly #name = `player ${++Player.#players}`;
  readonly heard: string[] = [];
  readonly strange: string[] = [];
  #sent = 0;

  private constructor(
    readonly socket: dgram.Socket,
    readonly route: number,
  ) {
    socket.on('message', (message) => {
      const text = message.toString();
      (text.startsWith(`${this.#name}/`) ? this.heard : this.strange).push(text);
    });
  }

  /** From a port that is not one of the few. */
  static async at(port: number, route = 0, address = '127.0.1.1', server = LISTEN): Promise<Player> {
    const socket = keep(dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4'));
    socket.bind(port, address);
    await once(socket, 'listening');
    socket.connect(LISTENING + route, server);
    await once(socket, 'connect');
    return new Player(socket, route);
  }

  send(): string {
    const token = `${this.#name}/${++this.#sent}`;
    this.socket.send(token);
    return token;
  }

  /** Plays one round: sends until the last token has come back. */
  async play(): Promise<void> {
    let last = '';
    await sendUntil(
      () => (last = this.send()),
      () => this.heard.includes(last),
    );
  }
}

const players = async (count: number, route = 0, first = 40000) =>
  Promise.all(Array.from({ length: count }, async (_, n) => Player.at(first + 1000 * route + n, route)));

describeIsolated(`examples/udp-relay, ${PORTS} ephemeral ports`, () => {
  useNetwork({ range: RANGE, addresses: Object.values(V6) });

  test('a game: more flows than ports, and each player hears only what is theirs', async () => {
    const seen = await gameServers(UPSTREAMS);
    const relay = await startRelay();
    const all = (await Promise.all(UPSTREAMS.map(async (_, route) => players(PORTS, route)))).flat();
    for (let round = 0; round < 20; round++) await Promise.all(all.map(async (player) => player.play()));
    expect(all.flatMap(({ strange }) => strange)).toEqual([]);
    // A 4-tuple for each, all from the one source and its ports.
    expect(seen.size).toBe(PORTS * UPSTREAMS.length);
    expect(new Set([...seen].map((line) => line.split(' ')[0]))).toEqual(new Set([SOURCE]));
    expect(await statsOf(relay)).toMatchObject({ flows: { open: all.length, opened: all.length, opening: 0 } });
    expect(await relay.end('SIGKILL')).toMatchObject({ complaints: '' });
  });

  test('exhaustion: newcomers are dropped, counted, and served when flows are evicted', async () => {
    await gameServers(UPSTREAMS);
    const relay = await startRelay({ timeouts: { idle: 400, cooldown: 50 } });
    const first = await players(PORTS);
    await Promise.all(first.map(async (player) => player.play()));
    const late = await Player.at(45000);
    // The first ones go on, so that none of theirs is evicted.
    await sendUntil(
      () => {
        for (const player of [...first, late]) player.send();
      },
      () => relay.linesOf('exhausted').length > 0,
    );
    const dropped = async () => (await statsOf(relay)).dropped.exhausted ?? 0;
    const { dropped: counts, flows } = await statsOf(relay);
    expect(counts.exhausted).toBeGreaterThan(0);
    expect(flows).toMatchObject({ opened: PORTS });
    expect(relay.linesOf('exhausted')).toMatchObject([
      { level: 'error', reason: 'pool-exhausted', upstream: { host: A }, sources: [SOURCE] },
    ]);
    expect(late.heard).toEqual([]);
    // Another upstream has all the ports for itself.
    await (await Player.at(45001, 1)).play();
    // Nobody else says anything any more: sooner or later there is a port.
    await late.play();
    expect((await statsOf(relay)).flows.evicted).toBeGreaterThan(0);
    expect(await dropped()).toBeGreaterThanOrEqual(counts.exhausted ?? 0);
    expect(relay.linesOf('exhausted')).toHaveLength(1);
    expect([...first, late].flatMap(({ strange }) => strange)).toEqual([]);
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test(`control: without connectx there are ${PORTS} flows in all`, async () => {
    await gameServers(UPSTREAMS);
    const relay = await startRelay({ sources: [SOURCE] }, { CONNECTX_DISABLE_NATIVE: '1' });
    await Promise.all((await players(PORTS)).map(async (player) => player.play()));
    const late = await Player.at(45000, 1);
    await sendUntil(
      () => late.send(),
      () => relay.linesOf('exhausted').length + relay.linesOf('flow-failed').length > 0,
    );
    expect(late.heard).toEqual([]);
  });

  test('limits: flows in all, and of one address', async () => {
    await gameServers(UPSTREAMS);
    const relay = await startRelay({ limits: { flows: 3, flowsPerClient: 2 } });
    // Who has sent twice does not make room for anybody.
    const first = await players(2);
    for (const _ of [1, 2]) await Promise.all(first.map(async (player) => player.play()));
    const third = await Player.at(45000);
    const other = await Player.at(45000, 0, '127.0.1.2');
    for (const _ of [1, 2]) await other.play();
    const fourth = await Player.at(45000, 0, '127.0.1.3');
    let stats = await statsOf(relay);
    // A datagram may be lost on a busy machine.
    while (!stats.dropped.client || !stats.dropped.flows) {
      third.send();
      fourth.send();
      stats = await statsOf(relay);
    }
    expect(stats.flows).toMatchObject({ open: 3, opened: 3, replaced: 0 });
    expect([...third.heard, ...fourth.heard]).toEqual([]);
  });

  test('back-pressure: while a flow is being opened its queue is bounded, and the rest is counted', async () => {
    await gameServers([A]);
    // A name takes a while to be looked up.
    await nameServer(A, 53, { 'game.test': [A] });
    const upstream = { host: 'game.test', port: UPSTREAM };
    const route = { listen: { host: LISTEN, port: LISTENING }, upstream };
    const limits = { queueDatagrams: 2 };
    const relay = await startRelay({ routes: [route], resolvers: [A], limits });
    const player = await Player.at(45000);
    // While it stands still the burst waits in its socket, and is then read at once.
    relay.kill('SIGSTOP');
    const BURST = 20;
    for (let n = 0; n < BURST; n++) player.send();
    relay.kill('SIGCONT');
    await until(() => player.heard.length > 0);
    const { dropped, datagrams } = await statsOf(relay);
    expect(dropped.queue).toBeGreaterThan(0);
    expect((dropped.queue ?? 0) + (datagrams.up ?? 0)).toBeLessThanOrEqual(BURST);
    await player.play();
  });

  test('an upstream that refuses costs no flow, and is heard when it comes back', async () => {
    const relay = await startRelay();
    const player = await Player.at(45000);
    let refused = 0;
    while (refused === 0) {
      player.send();
      refused = (await statsOf(relay)).dropped.send ?? 0;
    }
    await gameServers([A]);
    await player.play();
    expect((await statsOf(relay)).flows).toMatchObject({ opened: 1, failed: 0 });
  });

  test('IPv6', async () => {
    const seen = await gameServers([V6.upstream]);
    const route = { listen: { host: V6.listen, port: LISTENING }, upstream: { host: V6.upstream, port: UPSTREAM } };
    await startRelay({ routes: [route], sources: [V6.source], clients: [`${V6.listen}/64`] });
    await (await Player.at(45000, 0, V6.listen, V6.listen)).play();
    expect([...seen].map((line) => line.split(' ')[0])).toEqual([V6.source]);
  });

  test('SIGTERM: those who play go on until they are quiet; newcomers are dropped', async () => {
    await gameServers([A]);
    const relay = await startRelay({ timeouts: { quiet: 1500, shutdown: 20_000 } });
    const player = await Player.at(45000);
    await player.play();
    const before = relay.descriptors();
    relay.kill('SIGTERM');
    await relay.logged('stopping');
    const late = await Player.at(45001);
    late.send();
    await player.play();
    expect(relay.descriptors()).toBe(before);
    expect(await relay.end()).toEqual(CLEAN_END);
    expect(late.heard).toEqual([]);
    expect(relay.linesOf('stopped')).toMatchObject([{ cut: 0 }]);
  });

  test('SIGTERM: at the deadline it ends, whoever still plays', async () => {
    await gameServers([A]);
    const relay = await startRelay({ timeouts: { quiet: 60_000, shutdown: 50 } });
    await (await Player.at(45000)).play();
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
    expect(relay.linesOf('stopped')).toMatchObject([{ cut: 1 }]);
  });

  test('evicted flows leave nothing open', async () => {
    await gameServers(UPSTREAMS);
    const relay = await startRelay({ timeouts: { idle: 100 } });
    await (await Player.at(44999)).play();
    const idle = async () => until(() => relay.descriptors() === before);
    await until(() => true);
    let before = 0;
    for (let round = 0; round < 5; round++) {
      const all = (await Promise.all(UPSTREAMS.map(async (_, n) => players(PORTS, n, 46000 + 10 * round)))).flat();
      await Promise.all(all.map(async (player) => player.play()));
      let stats = await statsOf(relay);
      while (stats.flows.open !== 0) stats = await statsOf(relay);
      if (round === 0) before = relay.descriptors();
      else await idle();
    }
  });

  const leftOut = leftOutWithout('dig', 'dnsmasq', 'setpriv');

  test.skipIf(leftOut)(`DNS: dig through the relay to dnsmasq${leftOut}`, async () => {
    const log: Program[] = [];
    for (const [n, host] of UPSTREAMS.entries()) {
      const options = ['--no-daemon', '--no-resolv', '--no-hosts', '--conf-file=/dev/null', '--pid-file='];
      const listen = [
        '--bind-interfaces',
        '--except-interface=nothing',
        `--listen-address=${host}`,
        `--port=${UPSTREAM}`,
      ];
      const names = [`--address=/example.test/192.0.2.${n + 1}`, '--txt-record=long.test,' + 'x'.repeat(200)];
      const logging = ['--log-queries'];
      const program = new Program(folderWith(), 'dnsmasq', ...options, ...listen, ...names, ...logging);
      await program.listensOn([host], UPSTREAM);
      log.push(program);
    }
    // An answer has the question in it, and is longer.
    const relay = await startRelay({ limits: { amplification: 4 } });
    let client = 0;
    const dig = async (route: number, ...question: string[]) => {
      const from = `127.0.3.1#${41000 + client++}`;
      const { output } = await answerOf(
        'dig',
        '-b',
        from,
        `@${LISTEN}`,
        '-p',
        `${LISTENING + route}`,
        '+short',
        ...question,
      );
      return output.trim();
    };
    // More than there are ports, at once: dig asks again after some seconds if an answer is lost.
    const questions = UPSTREAMS.flatMap((_, route) => Array.from({ length: PORTS }, () => route));
    const answers = await Promise.all(questions.map(async (route) => dig(route, 'a.example.test')));
    expect(answers).toEqual(questions.map((route) => `192.0.2.${route + 1}`));
    for (const { output } of log) {
      const askers = [...output.matchAll(/query\[A\] a\.example\.test from (\S+)/g)].map(([, from]) => from);
      expect(new Set(askers)).toEqual(new Set([SOURCE]));
    }
    expect(await statsOf(relay)).toMatchObject({ flows: { opened: questions.length } });
    // No port is left, and a flow with a single datagram makes room for the newcomer.
    expect(await dig(0, 'a.example.test')).toBe('192.0.2.1');
    expect(await statsOf(relay)).toMatchObject({ flows: { opened: questions.length + 1 } });
  });
});

describe('examples/udp-relay: settings', () => {
  const good = { routes, sources: [SOURCE] };
  test.each([
    ['routes', { ...good, routes: [] }],
    ['routes[0].upstream', { ...good, routes: [{ listen: { host: LISTEN, port: 1 } }] }],
    ['limits.flow', { ...good, limits: { flow: 1 } }],
    ['sources', { ...good, sources: 'x' }],
  ])('%s', async (name, config) => {
    const relay = new Example('udp-relay', config);
    expect(await relay.end()).toEqual({ ...CLEAN_END, code: 1 });
    expect(relay.lines).toMatchObject([{ event: 'not-started', message: expect.stringContaining(name) }]);
  });
});
