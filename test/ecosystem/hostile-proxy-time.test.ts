// examples/forward-proxy in hostile hands: deadlines, the end of the process, and answers that never end.
import { once } from 'node:events';
import type * as net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { CLEAN_END } from '../helpers/examples.js';
import {
  authorization,
  clean,
  connectTo,
  echoOrigin,
  everything,
  exchange,
  ORIGIN,
  plain,
  rawClient,
  rawOrigin,
  startProxy,
  statusOf,
  urlOf,
} from '../helpers/forward-proxy.js';
import { nameServer } from '../helpers/name-server.js';
import { describeIsolated, tcpStates, useNetwork } from '../helpers/netns.js';
import { closed, slowness, track, until } from '../helpers/sockets.js';

const RESOLVER = '127.0.0.53';
const TARGET = `${ORIGIN.host}:${ORIGIN.port}`;
/** How late a deadline may be on a busy machine. */
const LATE = 2500 * slowness;

/** Sends a byte now and then, for as long as it can, and never ends; what it hears is read. */
function trickle(socket: net.Socket, bytes = 'x'): net.Socket {
  const timer = setInterval(() => socket.write(bytes), 20);
  socket.once('close', () => clearInterval(timer));
  return socket.resume();
}

describeIsolated('examples/forward-proxy: time in hostile hands', () => {
  useNetwork({ range: [20000, 20007] });

  test.each([
    ['no password', `CONNECT ${TARGET} HTTP/1.1\r\nHost: a\r\n\r\n`, 407],
    ['no target', connectTo('nowhere'), 400],
    ['a destination that is denied', connectTo('169.254.169.254:80'), 403],
    ['a destination that refuses', connectTo('127.0.0.9:9'), 502],
    ['a plain request without a password', `POST ${urlOf()} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n`, 407],
  ])('a refused client that goes on sending is got rid of: %s', async (_, request, status) => {
    const proxy = await startProxy({ timeouts: { refused: 300 } });
    const client = await rawClient(request);
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(statusOf(answer.toString())).toBe(status);
    const started = performance.now();
    await closed(trickle(client));
    expect(performance.now() - started).toBeLessThan(300 + LATE);
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('it ends in time, whatever its clients and origins do', async () => {
    await nameServer(RESOLVER, 53, { 'hangs.test': undefined });
    await rawOrigin((socket) => {
      socket.on('data', (data: Buffer) => {
        // Headers, and bodies, without end.
        if (data.includes('/endless')) trickle(socket, data.includes('/endless-body') ? 'x' : 'X: y\r\n');
        if (data.includes('/endless-body')) socket.write('HTTP/1.1 200 OK\r\n\r\n');
      });
    });
    const timeouts = { shutdown: 500, refused: 60_000, headers: 60_000, connect: 60_000, failedLogin: 60_000 };
    const proxy = await startProxy({ resolvers: [RESOLVER], timeouts });
    const clients = await Promise.all([
      rawClient(),
      rawClient('GET http://a'),
      rawClient(plain('/endless')),
      rawClient(plain('/endless-body')),
      rawClient(plain('/held')),
      rawClient(plain('/upload', 'Content-Length: 99999\r\n', 'x', 'POST')),
      rawClient(plain('/chunks', 'Transfer-Encoding: chunked\r\n', '1\r\nx\r\nffff\r\n', 'POST')),
      rawClient(connectTo(TARGET)),
      rawClient(connectTo(TARGET)),
      rawClient(connectTo('nowhere')),
      rawClient(connectTo('hangs.test:80')),
      rawClient(plain('/').replace(urlOf('/'), 'http://hangs.test/')),
      rawClient(`CONNECT ${TARGET} HTTP/1.1\r\nHost: a\r\n${authorization('alice', 'wrong')}\r\n`),
      rawClient(plain('/').repeat(50)),
    ]);
    await until(() => tcpStates().filter(({ remote }) => remote === TARGET).length >= 7);
    // Half of them never read, and some have said all that they have to say.
    for (const [index, client] of clients.entries()) {
      if (index % 2 === 0) trickle(client);
      else if (index % 3 === 0) client.end();
    }
    await pause(100);
    const started = performance.now();
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    const took = performance.now() - started;
    console.log(`the proxy has ended after ${Math.round(took)} ms, of which 500 were its deadline`);
    expect(took).toBeGreaterThan(450);
    expect(took).toBeLessThan(500 + LATE);
  });

  test('an end is no later than it has to be', async () => {
    await echoOrigin();
    const proxy = await startProxy({ timeouts: { shutdown: 60_000, keepAlive: 60_000 } });
    const client = await rawClient(plain('/'));
    await once(client, 'data');
    const started = performance.now();
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    expect(performance.now() - started).toBeLessThan(LATE);
  });

  test('an origin that sends headers byte by byte is 504 in time', async () => {
    await rawOrigin((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nX: ');
        trickle(socket);
      });
    });
    await startProxy({ timeouts: { idle: 300 } });
    const started = performance.now();
    expect(statusOf(await clean('/'))).toBe(504);
    expect(performance.now() - started).toBeLessThan(300 + LATE);
  });

  test('100 (Continue) without end is an error, and goes to nobody who has not asked for it', async () => {
    let sent = 0;
    await rawOrigin((socket) => {
      const interim = 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100);
      const more = () => {
        while (!socket.destroyed && socket.write(interim)) sent += interim.length;
      };
      socket.once('data', more).on('drain', more);
    });
    const proxy = await startProxy();
    const before = proxy.memory();
    for (let n = 0; n < 5; n++) {
      const answer = await clean('/');
      expect(answer).not.toContain('100 Continue');
      expect(statusOf(answer)).toBe(502);
    }
    // To one that has asked for it it goes once.
    const asked = await exchange(
      plain('/', 'Expect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n', '', 'POST'),
    );
    expect(asked.split('100 Continue')).toHaveLength(2);
    expect(asked).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 502 /);
    console.log(`100 (Continue): ${sent} bytes sent, ${Math.round(proxy.memory() - before)} MB kept`);
    expect(proxy.memory() - before).toBeLessThan(40);
  });

  test('a server that means it is heard: 100 (Continue), and then the answer', async () => {
    await rawOrigin((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.once('data', (data: Buffer) => socket.end(`HTTP/1.1 200 OK\r\n\r\nheard ${data.toString()}`));
      });
    });
    await startProxy();
    const client = await rawClient(
      plain('/', 'Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n', '', 'POST'),
    );
    const [interim] = (await once(client, 'data')) as [Buffer];
    expect(interim.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.write('hello');
    expect(await everything(client)).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*heard hello/);
  });

  test('a client that reads nothing keeps no memory and no connection', async () => {
    await rawOrigin((socket) =>
      socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(50_000_000)}`)),
    );
    const proxy = await startProxy({ timeouts: { connect: 200, idle: 200 } });
    const before = proxy.memory();
    const clients = await Promise.all(Array.from({ length: 4 }, async () => track(await rawClient(plain('/')))));
    for (const client of clients) client.pause();
    await pause(300);
    expect(proxy.memory() - before).toBeLessThan(60);
    await until(() => tcpStates().every(({ state, remote }) => state !== 'ESTAB' || remote !== TARGET));
  });
});
