// examples/udp-relay in hostile hands: forged senders, floods, upstreams that never stop, names that do not resolve.
import { expect, test } from 'vitest';
import { CLEAN_END } from '../helpers/examples.js';
import { forge } from '../helpers/forged.js';
import { nameServer } from '../helpers/name-server.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { slowness } from '../helpers/sockets.js';
import { sendUntil, udpServer, until } from '../helpers/udp.js';
import { clientAt, echoing, Relay, RELAY, UPSTREAM } from '../helpers/udp-relay.js';

const PORTS = 8;
const RANGE = [20000, 20000 + PORTS - 1] as const;
const V6 = { relay: '2001:db8::1', upstream: '2001:db8::2', source: '2001:db8::3' };
/** Of one /64. */
const NEIGHBOURS = ['2001:db8:1::1', '2001:db8:1::2', '2001:db8:1::3'];
const STRANGER = '2001:db8:2::1';

const routeV6 = {
  listen: { host: V6.relay, port: RELAY.port },
  upstream: { host: V6.upstream, port: UPSTREAM.port },
};

describeIsolated(`examples/udp-relay in hostile hands, ${PORTS} ephemeral ports`, () => {
  useNetwork({ range: RANGE, addresses: [...Object.values(V6), ...NEIGHBOURS, STRANGER] });

  test.each([
    ['IPv4', '127.0.1.1', RELAY.address],
    ['IPv6', NEIGHBOURS[0] ?? '', V6.relay],
  ])('a datagram from port 0 is dropped, %s', async (_, from, to) => {
    await echoing();
    await echoing(V6.upstream);
    const listen = { host: RELAY.address, port: RELAY.port };
    const routes = [{ listen, upstream: { host: UPSTREAM.address, port: UPSTREAM.port } }, routeV6];
    const relay = await Relay.start({ routes, clients: ['0.0.0.0/0', '::/0'], sources: ['127.0.0.11', V6.source] });
    for (let n = 0; n < 3; n++) forge({ address: from, port: 0 }, { address: to, port: RELAY.port }, 'hello');
    expect((await relay.counted(({ dropped }) => dropped.unanswerable === 3)).datagrams).toEqual({ up: 0, down: 0 });
    await (await clientAt(from, 40000, to)).ask('alive');
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('a datagram that pretends to be from the relay, or from its upstream, begins no endless exchange', async () => {
    const { heard } = await echoing();
    const relay = await Relay.start();
    for (const from of [RELAY, UPSTREAM]) forge(from, RELAY, 'hello');
    // Spoken of as another address of this machine.
    forge({ ...RELAY, address: '127.0.9.9' }, RELAY, 'hello');
    await relay.counted(({ dropped }) => dropped.unanswerable === 3);
    expect(heard).toEqual([]);
  });

  test('one forged datagram gets its sender no stream, and no more bytes than it had', async () => {
    const streaming = await udpServer(UPSTREAM.port, UPSTREAM.address);
    let sent = 0;
    streaming.on('message', (_, { port, address }) => {
      const timer = setInterval(() => {
        sent++;
        // What has nothing in it has headers all the same.
        streaming.send(sent % 2 === 0 ? '' : 'x'.repeat(50), port, address);
      }, 10);
      streaming.once('close', () => clearInterval(timer));
    });
    const victim = await clientAt('127.0.1.1');
    const relay = await Relay.start({ timeouts: { idle: 400 } });
    forge({ address: '127.0.1.1', port: 40000 }, RELAY, 'x'.repeat(120));
    await until(() => sent > 100);
    const { flows, dropped } = await relay.counted((stats) => stats.flows.open === 0);
    expect(flows).toMatchObject({ opened: 1, evicted: 1 });
    expect(dropped.unproven).toBeGreaterThan(0);
    const onTheWire = victim.heard.reduce((sum, text) => sum + text.length + 28, 0);
    expect(onTheWire).toBeGreaterThan(0);
    expect(onTheWire).toBeLessThanOrEqual(120 + 28);
    const [before, heard] = [sent, victim.heard.length];
    await until(() => sent > before + 20);
    expect(victim.heard).toHaveLength(heard);
  });

  test('a client that sends twice gets the stream, for as long as it sends', async () => {
    const streaming = await udpServer(UPSTREAM.port, UPSTREAM.address);
    streaming.on('message', (_, { port, address }) => {
      for (let n = 0; n < 10; n++) streaming.send('x'.repeat(500), port, address);
    });
    const client = await clientAt('127.0.1.1');
    const relay = await Relay.start({ timeouts: { idle: 600 } });
    await sendUntil(
      () => client.send('more'),
      () => client.heard.length >= 20,
    );
    expect((await relay.stats()).flows).toMatchObject({ open: 1, opened: 1 });
    await relay.counted(({ flows }) => flows.open === 0);
  });

  test('an IPv6 network of 64 bits counts as one client, and strangers get nothing', async () => {
    const { heard } = await echoing(V6.upstream);
    const settings = { routes: [routeV6], sources: [V6.source], clients: ['2001:db8:1::/48'] };
    const relay = await Relay.start({ ...settings, limits: { flowsPerClient: 2 } });
    const [first, second, third] = await Promise.all(
      NEIGHBOURS.map(async (address) => clientAt(address, 40000, V6.relay)),
    );
    for (const round of [1, 2]) {
      await first?.ask(`first ${round}`);
      await second?.ask(`second ${round}`);
    }
    const stranger = await clientAt(STRANGER, 40000, V6.relay);
    await sendUntil(
      () => {
        third?.send('third');
        stranger.send('stranger');
        first?.send('first');
      },
      () => heard.length > 8,
    );
    const { flows } = await relay.counted(({ dropped }) => Boolean(dropped.client) && Boolean(dropped.stranger));
    expect(flows).toMatchObject({ open: 2, opened: 2 });
    expect([...(third?.heard ?? []), ...stranger.heard]).toEqual([]);
  });

  test.each([
    ['the table is full', { limits: { flows: 6 } }],
    ['every port is taken', {}],
  ])('newcomers get in under a flood of forged senders: %s', async (_, settings) => {
    const { heard } = await echoing();
    const relay = await Relay.start(settings);
    const steady = await clientAt('127.0.1.1');
    for (const text of ['a', 'b']) await steady.ask(text);
    let forged = 0;
    const flood = () => {
      forged++;
      forge({ address: `127.2.${(forged >> 8) & 255}.${forged & 255}`, port: 1024 + (forged % 60000) }, RELAY, 'x');
    };
    for (let n = 0; n < 100; n++) flood();
    for (let n = 0; n < 20; n++) {
      const newcomer = await clientAt(`127.3.0.${n + 1}`);
      for (let more = 0; more < 3; more++) flood();
      // Again if a datagram was lost, as clients do; the flood goes on.
      await sendUntil(
        () => {
          newcomer.send('hello');
          flood();
        },
        () => newcomer.heard.includes('hello'),
      );
    }
    await steady.ask('c');
    expect((await relay.stats()).flows.opened).toBeGreaterThan(100);
    // Who has sent twice has kept the flow.
    const steadily = heard.filter(({ text }) => ['a', 'b', 'c'].includes(text));
    expect(new Set(steadily.map(({ port }) => port)).size).toBe(1);
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('the port of a flow that is over rests: a late answer reaches nobody', async () => {
    const { server, heard } = await echoing();
    const relay = await Relay.start({ timeouts: { idle: 200, rest: 600_000 } });
    await (await clientAt('127.0.1.1')).ask('first');
    await relay.counted(({ flows }) => flows.resting === 1);
    const [old = { address: '', port: 0 }] = heard;
    // As many as there are ports beside it; none of them gets this one, and none hears what was for the first.
    const others = [];
    for (let n = 1; n < PORTS; n++) {
      const client = await clientAt(`127.0.2.${n}`);
      await client.ask(`client ${n}`);
      server.send('late', old.port, old.address);
      others.push(client);
    }
    expect(new Set(heard.map(({ port }) => port)).size).toBe(PORTS);
    expect(others.flatMap(({ heard: texts }) => texts).filter((text) => text === 'late')).toEqual([]);
    // Only when no other is left does the one that has rested longest go to a newcomer.
    await (await clientAt('127.0.3.1')).ask('newcomer');
    expect(heard.at(-1)?.port).toBe(old.port);
    expect((await relay.stats()).dropped.exhausted).toBe(0);
  });

  test('a port rests for as long as it is told, and nothing stays open', async () => {
    await echoing();
    const relay = await Relay.start({ timeouts: { idle: 100, rest: 200 } });
    // What is opened once for all: to ask the kernel who has a 4-tuple.
    await (await clientAt('127.0.2.200')).ask('hello');
    await relay.counted(({ flows }) => flows.open === 0 && flows.resting === 0);
    const before = relay.descriptors();
    for (let n = 0; n < PORTS; n++) await (await clientAt(`127.0.2.${n + 1}`)).ask('hello');
    await relay.counted(({ flows }) => flows.open === 0 && flows.resting === 0);
    await until(() => relay.descriptors() <= before);
  });

  test('names that are not answered: what waits is bounded for all together, other routes and the end do not wait', async () => {
    await nameServer('127.0.0.4', 53, { 'hangs.test': undefined });
    await echoing();
    const hanging = { listen: { host: '127.0.0.1', port: 5301 }, upstream: { host: 'hangs.test', port: 5353 } };
    const listen = { host: RELAY.address, port: RELAY.port };
    const routes = [hanging, { listen, upstream: { host: UPSTREAM.address, port: UPSTREAM.port } }];
    const limits = { opening: 10, queueDatagrams: 4 };
    const timeouts = { lookup: 600_000, shutdown: 300 };
    const relay = await Relay.start({ routes, resolvers: ['127.0.0.4'], limits, timeouts });
    const CLIENTS = 200;
    for (let n = 0; n < CLIENTS; n++) {
      for (let more = 0; more < 10; more++) {
        forge({ address: `127.2.0.${n + 1}`, port: 40000 }, { ...RELAY, port: 5301 }, 'x'.repeat(1000));
      }
    }
    const { flows, dropped } = await relay.counted((stats) => (stats.dropped.opening ?? 0) > CLIENTS);
    expect(flows).toMatchObject({ open: 0, opening: 10 });
    expect(dropped.queue).toBeGreaterThan(0);
    const started = performance.now();
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
    expect(performance.now() - started).toBeLessThan(3000 * slowness);
  });

  test('names that are not answered for a while: the datagrams that waited are sent when they are', async () => {
    const names: Record<string, string[] | undefined> = { 'late.test': undefined };
    await nameServer('127.0.0.4', 53, names);
    await echoing();
    const listen = { host: RELAY.address, port: RELAY.port };
    const routes = [{ listen, upstream: { host: 'late.test', port: UPSTREAM.port } }];
    await Relay.start({ routes, resolvers: ['127.0.0.4'], timeouts: { lookup: 3000 } });
    const client = await clientAt('127.0.1.1');
    client.send('early');
    names['late.test'] = [UPSTREAM.address];
    await sendUntil(
      () => client.send('again'),
      () => client.heard.includes('again'),
    );
  });
});
