// examples/forward-proxy in hostile hands: names, destinations, limits, passwords and settings.
import { once } from 'node:events';
import type * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { CLEAN_END, Example } from '../helpers/examples.js';
import {
  authorization,
  clean,
  connectTo,
  echoOrigin,
  everything,
  exchange,
  ORIGIN,
  PASSWORDS,
  rawClient,
  rawOrigin,
  startProxy,
  statusOf,
  urlOf,
} from '../helpers/forward-proxy.js';
import { nameServer } from '../helpers/name-server.js';
import { describeIsolated, tcpStates, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { slowness, until } from '../helpers/sockets.js';

const RESOLVER = '127.0.0.53';
const TARGET = `${ORIGIN.host}:${ORIGIN.port}`;
/** Addresses of this machine that look like anybody's. */
const OWN = { ipv4: '5.5.5.5', ipv6: '2606:4700::5' };
/** How late a deadline may be on a busy machine. */
const LATE = 2500 * slowness;

describeIsolated('examples/forward-proxy: limits in hostile hands', () => {
  useNetwork({ range: [20000, 20007], addresses: Object.values(OWN) });

  test('names that hang are their own tenant’s trouble', async () => {
    await nameServer(RESOLVER, 53, { 'hangs.test': undefined, 'good.test': [ORIGIN.host] });
    await echoOrigin();
    const proxy = await startProxy({ resolvers: [RESOLVER], timeouts: { connect: 3000 } });
    const hanging = await Promise.all(
      Array.from({ length: 50 }, async (_, n) => rawClient(connectTo(`hangs.test:${n + 1}`))),
    );
    const started = performance.now();
    const url = `http://good.test:${ORIGIN.port}/`;
    for (let n = 0; n < 5; n++) {
      const request = `GET ${url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${authorization('bob')}\r\n`;
      expect(statusOf(await exchange(request))).toBe(200);
    }
    expect(performance.now() - started).toBeLessThan(LATE);
    const answers = await Promise.all(hanging.map(everything));
    expect(new Set(answers.map(statusOf))).toEqual(new Set([504]));
    for (const client of hanging) client.destroy();
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('destinations that no client may be taken to', async () => {
    const names = { 'own.test': [OWN.ipv4, OWN.ipv6], 'loopback.test': ['127.0.0.1', '::1'] };
    await nameServer(RESOLVER, 53, { ...names, 'metadata.test': ['169.254.169.254', 'fd00:ec2::254'] });
    await echoOrigin({ host: OWN.ipv4, port: 80 });
    // A block of which no interface has an address.
    const tenants = { alice: { password: PASSWORDS.alice, sources: ['127.0.0.11', '9.9.9.0/28', '2001:db8::3'] } };
    await startProxy({ tenants, allow: [], resolvers: [RESOLVER] });
    for (const host of [
      ...[OWN.ipv4, '127.0.0.1', '127.255.255.254', '0.0.0.0', '10.1.2.3', '169.254.169.254', '100.100.100.200'],
      ...['168.63.129.16', '255.255.255.255', '224.0.0.1', '[::]', '[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'],
      ...['[0:0:0:0:0:ffff:a9fe:a9fe]', '[::127.0.0.1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]', '[fd00:ec2::254]'],
      ...[`[${OWN.ipv6}]`, '[fe80::1]', '[ff02::1]', '[2001:db8::1]', '9.9.9.5'],
      ...Object.keys(names),
      'metadata.test',
    ]) {
      const url = `GET http://${host}/ HTTP/1.1\r\nHost: a\r\n${authorization()}\r\n`;
      for (const request of [connectTo(`${host}:80`), url]) {
        expect([request, statusOf(await exchange(request))]).toEqual([request, 403]);
      }
    }
  });

  test('spellings of an address that are none are names, and everybody else is reached', async () => {
    await nameServer(RESOLVER, 53, {});
    await startProxy({ allow: [], resolvers: [RESOLVER], timeouts: { connect: 2000 } });
    for (const host of ['127.1', '2130706433', '0x7f000001', '0177.0.0.1', 'localhost', '127.0.0.1.']) {
      expect([host, statusOf(await exchange(connectTo(`${host}:80`)))]).toEqual([host, 502]);
    }
    // URLs have more spellings of one address.
    for (const host of ['127.1', '2130706433', '0x7f000001', '0177.0.0.1', '127.0.0.1.']) {
      const url = `GET http://${host}/ HTTP/1.1\r\nHost: a\r\n${authorization()}\r\n`;
      expect([host, statusOf(await exchange(url))]).toEqual([host, 403]);
    }
    // There is no way to it from here.
    expect([502, 504]).toContain(statusOf(await exchange(connectTo('1.1.1.1:80'))));
  });

  test('the limit of a tenant counts connections that wait for another request', async () => {
    const LIMIT = 3;
    const hosts = Array.from({ length: 20 }, (_, n) => `127.0.2.${n + 1}`);
    for (const host of hosts) await echoOrigin({ host, port: 80 });
    const tenants = { alice: { password: PASSWORDS.alice, sources: ['127.0.0.11'], connections: LIMIT } };
    const proxy = await startProxy({ tenants, timeouts: { keepAlive: 60_000 } });
    const before = proxy.descriptors();
    for (const host of hosts) {
      const request = `GET http://${host}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${authorization()}\r\n`;
      expect(statusOf(await exchange(request))).toBe(200);
      const upstreams = tcpStates().filter(({ state, remote }) => state === 'ESTAB' && remote.endsWith(':80'));
      expect(upstreams.length).toBeLessThanOrEqual(LIMIT);
    }
    await until(() => proxy.descriptors() <= before + LIMIT);
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test('a destination without a free port is not tried again and again', async () => {
    const sockets: net.Socket[] = [];
    await rawOrigin((socket) => void sockets.push(socket.resume()));
    const proxy = await startProxy({ timeouts: { cooldown: 600_000 }, logInterval: 1 });
    const tunnels = await Promise.all(Array.from({ length: 8 }, async () => rawClient(connectTo(TARGET))));
    await until(() => sockets.length === 8);
    const started = performance.now();
    for (let n = 0; n < 50; n++) expect(statusOf(await exchange(connectTo(TARGET)))).toBe(503);
    const took = performance.now() - started;
    await until(() => proxy.linesOf('exhausted').reduce((sum, { count }) => sum + Number(count), 0) === 50);
    // The kernel was asked for a port once.
    const asked = proxy.linesOf('exhausted').filter(({ reason }) => reason !== undefined);
    expect([asked.length, took < 50 * LATE]).toEqual([1, true]);
    // As soon as one closes there is a port again.
    const [first] = tunnels;
    first?.resetAndDestroy();
    await until(() => sockets.some((socket) => socket.closed));
    let status = 0;
    for (let n = 0; n < 20 && status !== 200; n++) {
      const next = await rawClient(connectTo(TARGET));
      const [answer] = (await once(next, 'data')) as [Buffer];
      status = statusOf(answer.toString());
    }
    expect(status).toBe(200);
  });

  test('wrong passwords are answered late, few at a time, and written down', async () => {
    await echoOrigin();
    const proxy = await startProxy({ limits: { failedLogins: 4 }, timeouts: { failedLogin: 1000 } });
    const guess = (user: string, password: string) =>
      `GET ${urlOf()} HTTP/1.1\r\nHost: a\r\n${authorization(user, password)}\r\n`;
    const started = performance.now();
    const guessers = Array.from({ length: 20 }, async (_, n) => {
      const socket = await rawClient(guess(n % 2 === 0 ? 'alice' : 'nobody', `guess ${n}`), '127.9.0.1');
      const answer = await everything(socket);
      return { status: statusOf(answer), took: performance.now() - started };
    });
    await until(() => proxy.linesOf('login-failed').length === 1);
    // Somebody from another network is not concerned; one without a password is asked for it at once.
    expect(statusOf(await clean('/'))).toBe(200);
    expect(statusOf(await exchange(`GET ${urlOf()} HTTP/1.1\r\nHost: a\r\n\r\n`))).toBe(407);
    const answers = await Promise.all(guessers);
    const late = answers.filter(({ status }) => status === 407);
    expect(late).toHaveLength(4);
    expect(Math.min(...late.map(({ took }) => took))).toBeGreaterThan(950);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(16);
    expect(proxy.linesOf('login-failed')).toMatchObject([{ client: '127.9.0.1', count: 1 }]);
    expect(JSON.stringify(proxy.lines)).not.toContain('guess');
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    // What was held back, in one line.
    expect(proxy.linesOf('login-failed').map(({ count }) => count)).toEqual([1, 3]);
  });
});

describe('examples/forward-proxy: settings in hostile hands', () => {
  test.each([
    ['a comma too many', '{ "tenants": { "alice": { "password": "wonderland",, "sources": [] } } }'],
    ['a quote that is missing', '{ "tenants": { "alice": { "password": wonderland", "sources": [] } } }'],
    ['an end that is missing', '{\n"tenants": { "alice": { "password": "wonderland'],
    ['a place that is wrong', '{ "listen": {}, "tenants": { "alice": "wonderland" } }'],
    ['a character that is wrong', '{ "tenants": { "alice": { "password": "wonder\nland", "sources": [] } } }'],
  ])('a mistake prints nothing of a password: %s', async (_, text) => {
    const file = `${folderWith({ 'config.json': text })}/config.json`;
    const proxy = new Example('forward-proxy', file);
    expect(await proxy.end()).toEqual({ ...CLEAN_END, code: 1 });
    expect(proxy.lines).toMatchObject([{ event: 'not-started' }]);
    expect(JSON.stringify(proxy.lines)).not.toMatch(/wond|land/);
  });
});
