// examples/udp-relay with `quic: true`: a client whose address changes keeps its flow, and whoever has only seen its connection id does not
// get it. Packets are made by hand here; quic-relay.test.ts has a real implementation.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { sourceIdOf } from '../../examples/udp-relay/quic.mjs';
import { CLEAN_END } from '../helpers/examples.js';
import { mutated, randomOf } from '../helpers/mutations.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { keep, sendUntil, udpServer, until } from '../helpers/udp.js';
import { Relay, RELAY, UPSTREAM } from '../helpers/udp-relay.js';

const MOVE = 200;
const CLIENT_ID = Buffer.from('of a client');

/** A packet with a long header, as RFC 8999 has it. */
function long(destination: Uint8Array, source: Uint8Array, { version = 1, rest = 'handshake' } = {}): Buffer {
  const head = Buffer.of(0xc0, version >>> 24, (version >>> 16) & 255, (version >>> 8) & 255, version & 255);
  const ids = [destination, source].flatMap((id) => [Buffer.of(id.length), id]);
  return Buffer.concat([head, ...ids, Buffer.from(rest)]);
}

const short = (id: Uint8Array, text: string) => Buffer.concat([Buffer.of(0x40), id, Buffer.from(text)]);

/** A client at this address: what it hears is without headers. */
async function clientAt(address: string, port = 40000) {
  const socket = keep(dgram.createSocket('udp4'));
  const heard: string[] = [];
  socket.on('message', (message) => heard.push(message.subarray(1).toString('latin1')));
  socket.bind(port, address);
  await once(socket, 'listening');
  const send = (packet: Uint8Array) => socket.send(packet, RELAY.port, RELAY.address);
  /** Sends it until it comes back, or until `condition`. */
  const ask = async (id: Uint8Array, text: string) =>
    sendUntil(
      () => send(short(id, text)),
      () => heard.includes(text),
    );
  return { heard, send, ask };
}

/** A server of QUIC, as far as a relay can tell: `id` is what it calls itself, and it sends back what comes with a short header. */
async function upstreamWith(id: Uint8Array) {
  const server = await udpServer(UPSTREAM.port, UPSTREAM.address);
  const heard: { port: number; text: string }[] = [];
  server.on('message', (message, { port, address }) => {
    const isLong = ((message[0] ?? 0) & 0x80) !== 0;
    const text = isLong ? 'handshake' : message.subarray(1 + id.length).toString('latin1');
    heard.push({ port, text });
    server.send(isLong ? long(CLIENT_ID, id) : short(Buffer.alloc(0), text), port, address);
  });
  /** From which ports of the relay this was heard. */
  const portsOf = (text: string) => new Set(heard.filter((each) => each.text === text).map(({ port }) => port));
  return { server, heard, portsOf };
}

const routesFor = (quic: boolean) => [
  {
    listen: { host: RELAY.address, port: RELAY.port },
    upstream: { host: UPSTREAM.address, port: UPSTREAM.port },
    quic,
  },
];

const start = async (settings: object = {}, quic = true) =>
  Relay.start({ routes: routesFor(quic), timeouts: { move: MOVE }, ...settings });

/** A client in the middle of its session. */
async function established(id: Uint8Array, address = '127.0.1.1') {
  const client = await clientAt(address);
  await sendUntil(
    () => client.send(long(id, CLIENT_ID)),
    () => client.heard.length >= 2,
  );
  await client.ask(id, 'hello');
  client.heard.length = 0;
  return client;
}

describeIsolated('examples/udp-relay, quic', () => {
  useNetwork({ range: [20000, 20099] });

  describe.each([8, 18, 20])('connection ids of %d bytes', (length) => {
    const id = Buffer.from('the id of a server, random').subarray(0, length);

    test('a client that moves keeps its flow', async () => {
      const { portsOf } = await upstreamWith(id);
      const relay = await start();
      const client = await established(id);
      const moved = await clientAt('127.0.1.2');
      await moved.ask(id, 'from elsewhere');
      await moved.ask(id, 'again');
      expect(portsOf('again')).toEqual(portsOf('hello'));
      expect(client.heard.filter((text) => text === 'again')).toEqual([]);
      expect((await relay.stats()).flows).toMatchObject({ open: 1, opened: 1, moved: 1 });
      // And on, to another port of the first address.
      const further = await clientAt('127.0.1.1', 40001);
      await further.ask(id, 'further');
      expect(portsOf('further')).toEqual(portsOf('hello'));
      expect((await relay.stats()).flows).toMatchObject({ open: 1, opened: 1, moved: 2 });
    });
  });

  const ID = Buffer.from('18 bytes of a server').subarray(0, 18);
  const UNKNOWN = Buffer.from('another 18 bytes, unknown').subarray(0, 18);

  test('whoever has only seen the id hears nothing while the client is there', async () => {
    const { heard } = await upstreamWith(ID);
    const relay = await start();
    const client = await established(ID);
    const thief = await clientAt('127.0.1.9');
    const began = performance.now();
    for (let n = 0; performance.now() - began < 4 * MOVE; n++) {
      thief.send(short(ID, 'forged'));
      await client.ask(ID, `mine ${n}`);
      await pause(10);
    }
    // The server hears it, and can tell.
    expect(heard.some(({ text }) => text === 'forged')).toBe(true);
    expect(thief.heard).toEqual([]);
    expect((await relay.stats()).flows).toMatchObject({ open: 1, opened: 1, moved: 0 });
  });

  test('a flow that was taken from a silent client is its own again with its next datagram', async () => {
    await upstreamWith(ID);
    const relay = await start();
    const client = await established(ID);
    const thief = await clientAt('127.0.1.9');
    await thief.ask(ID, 'forged');
    expect((await relay.stats()).flows).toMatchObject({ moved: 1 });
    client.send(short(ID, 'here I am'));
    await until(() => client.heard.includes('here I am'));
    expect((await relay.stats()).flows).toMatchObject({ open: 1, opened: 1, moved: 2 });
    // The thief was never the client, and has to wait again.
    thief.heard.length = 0;
    thief.send(short(ID, 'forged again'));
    await until(() => client.heard.includes('forged again'));
    expect(thief.heard).toEqual([]);
  });

  test('nothing goes to the new address before the server has answered', async () => {
    const { server, heard } = await upstreamWith(ID);
    await start();
    const client = await established(ID);
    const { port = 0 } = heard.at(-1) ?? {};
    server.removeAllListeners('message');
    const thief = await clientAt('127.0.1.9');
    const reached = new Promise((resolve) => server.once('message', resolve));
    thief.send(short(ID, 'forged'));
    await reached;
    // While the old address has not been silent for long enough, it gets what the server sends.
    server.send(short(Buffer.alloc(0), 'for the client'), port, '127.0.0.11');
    await until(() => client.heard.includes('for the client'));
    await pause(2 * MOVE);
    expect(thief.heard).toEqual([]);
  });

  test('a third one is turned away while another may be the client, and gets a flow of its own', async () => {
    const { portsOf } = await upstreamWith(ID);
    const relay = await start({ timeouts: { move: 60_000 } });
    await established(ID);
    const first = await clientAt('127.0.1.2');
    const second = await clientAt('127.0.1.3');
    await sendUntil(
      () => first.send(short(ID, 'first')),
      () => portsOf('first').size > 0,
    );
    await second.ask(ID, 'second');
    expect(portsOf('first')).toEqual(portsOf('hello'));
    expect(portsOf('second')).not.toEqual(portsOf('hello'));
    expect((await relay.stats()).flows).toMatchObject({ open: 2, opened: 2, moved: 0 });
  });

  test.each([
    { what: 'an id that nobody has', learned: ID, sent: UNKNOWN },
    { what: 'an id that could be guessed', learned: Buffer.from('7 bytes'), sent: Buffer.from('7 bytes') },
    { what: 'no id at all', learned: Buffer.alloc(0), sent: Buffer.alloc(0) },
  ])('$what: a flow of its own', async ({ learned, sent }) => {
    const { portsOf } = await upstreamWith(learned);
    const relay = await start();
    await established(learned);
    await (await clientAt('127.0.1.2')).ask(sent, 'elsewhere');
    expect((await relay.stats()).flows).toMatchObject({ open: 2, opened: 2, moved: 0 });
    expect(portsOf('elsewhere')).not.toEqual(portsOf('hello'));
  });

  test('without the option: a flow of its own', async () => {
    await upstreamWith(ID);
    const relay = await start({}, false);
    await established(ID);
    await (await clientAt('127.0.1.2')).ask(ID, 'elsewhere');
    expect((await relay.stats()).flows).toMatchObject({ open: 2, opened: 2, moved: 0 });
  });

  test('the first two ids of a server count, and none that comes later', async () => {
    const { server, heard, portsOf } = await upstreamWith(ID);
    const relay = await start();
    const client = await established(ID);
    const { port = 0 } = heard.at(-1) ?? {};
    const later = [1, 2, 3].map((n) => Buffer.from(`another id, no. ${n} `));
    for (const id of later) server.send(long(CLIENT_ID, id), port, '127.0.0.11');
    await until(() => client.heard.length === later.length);
    for (const [n, id] of later.entries()) {
      const other = await clientAt(`127.0.1.${n + 2}`);
      await other.ask(id, `moved ${n}`);
    }
    expect(portsOf('moved 0')).toEqual(portsOf('hello'));
    expect((await relay.stats()).flows).toMatchObject({ opened: 3, moved: 1 });
  });

  test('who may use the relay, and how many flows a client may have, holds for those who move', async () => {
    await upstreamWith(ID);
    const relay = await start({ clients: ['127.0.1.0/24'], limits: { flowsPerClient: 1 } });
    const client = await established(ID);
    const stranger = await clientAt('127.9.9.9');
    stranger.send(short(ID, 'stranger'));
    await relay.counted(({ dropped }) => Boolean(dropped.stranger));
    // 127.0.1.2 has a flow, and may have no second.
    const other = await clientAt('127.0.1.2');
    for (const text of ['a', 'b']) await other.ask(UNKNOWN, text);
    const crowded = await clientAt('127.0.1.2', 40001);
    crowded.send(short(ID, 'crowded'));
    await relay.counted(({ dropped }) => Boolean(dropped.client));
    await client.ask(ID, 'still here');
    expect([...stranger.heard, ...crowded.heard]).toEqual([]);
    expect((await relay.stats()).flows).toMatchObject({ open: 2, opened: 2, moved: 0 });
  });

  test('when a flow is over its id is forgotten', async () => {
    const { portsOf } = await upstreamWith(ID);
    const relay = await start({ timeouts: { idle: 200, move: MOVE } });
    await established(ID);
    await relay.counted(({ flows }) => flows.open === 0);
    await (await clientAt('127.0.1.2')).ask(ID, 'late');
    expect(portsOf('late')).not.toEqual(portsOf('hello'));
    expect((await relay.stats()).flows).toMatchObject({ opened: 2, moved: 0 });
  });

  test('a datagram of a stranger keeps no flow alive', async () => {
    await upstreamWith(ID);
    const relay = await start({ timeouts: { idle: 400, move: 60_000 } });
    await established(ID);
    const thief = await clientAt('127.0.1.9');
    const before = performance.now();
    let { flows } = await relay.stats();
    while (flows.evicted === 0 && performance.now() - before < 10_000) {
      thief.send(short(ID, 'forged'));
      ({ flows } = await relay.stats());
    }
    expect(flows.evicted).toBeGreaterThan(0);
  });

  test('5,000 damaged packets from both sides: it lives, and the client is served', async () => {
    const random = randomOf(20_261_126);
    const { server } = await upstreamWith(ID);
    const words = ['\0', '\xff'.repeat(21), 'x'.repeat(300)];
    server.on('message', (message, { port, address }) => {
      server.send(mutated(long(message.subarray(1, 19), ID), words, random), port, address);
    });
    const relay = await start({ limits: { flows: 50 }, timeouts: { idle: 500, move: 20, rest: 100 } });
    const client = await established(ID);
    const others = await Promise.all([2, 3, 4, 5].map(async (n) => clientAt(`127.0.1.${n}`)));
    for (let n = 0; n < 5000; n++) {
      const packet = n % 2 === 0 ? short(ID, 'a question') : long(ID, CLIENT_ID);
      others[n % others.length]?.send(mutated(packet, words, random));
      if (n % 50 === 0) await client.ask(ID, `${n}`);
    }
    await client.ask(ID, 'at last');
    expect(await relay.end('SIGTERM')).toEqual(CLEAN_END);
  });
});

describe('sourceIdOf', () => {
  const of = (packet: Uint8Array) => {
    // What is behind the packet in the memory of a batch is of others.
    const data = Buffer.concat([Buffer.alloc(3, 0xff), packet, Buffer.alloc(300, 0x14)]);
    return sourceIdOf({ data, offset: 3, end: 3 + packet.length });
  };
  const id = Buffer.from('12 bytes, or');

  test('the second id of a long header, whatever the version', () => {
    for (const version of [1, 0x6b3343cf, 0xff00001d, 0xfaceb00c]) {
      for (const destination of [0, 8, 20, 255]) {
        expect(of(long(Buffer.alloc(destination), id, { version }))).toBe(id.toString('latin1'));
      }
    }
  });

  test('none in a short header, in a version negotiation, of too few or too many bytes', () => {
    expect(of(short(id, 'text'))).toBeUndefined();
    expect(of(long(CLIENT_ID, id, { version: 0 }))).toBeUndefined();
    for (const length of [0, 7, 21, 255]) expect(of(long(CLIENT_ID, Buffer.alloc(length, 7)))).toBeUndefined();
  });

  test('none in a packet that ends before it', () => {
    const packet = long(CLIENT_ID, id, { rest: '' });
    for (let length = 0; length < packet.length; length++) expect(of(packet.subarray(0, length))).toBeUndefined();
    expect(of(packet)).toBe(id.toString('latin1'));
  });
});
