// examples/forward-proxy: sessions that keep their source, sources that a destination does not want, and sources that are drained.
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import * as http from 'node:http';
import type * as net from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CLEAN_END, Example } from '../helpers/examples.js';
import { connectTo, everything, ORIGIN, PROXY, rawClient, statusOf, urlOf } from '../helpers/forward-proxy.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { track } from '../helpers/sockets.js';

const SOURCES = ['127.0.0.11', '127.0.0.12', '127.0.0.13'];
const SESSIONS = Array.from({ length: 12 }, (_, n) => `session-${n}`);

interface Settings {
  sources?: string[];
  restOn?: number[];
  rest?: number;
}

const settingsOf = ({ sources = SOURCES, restOn = [], rest = 60_000 }: Settings) => ({
  listen: PROXY,
  tenants: { alice: { password: 'wonderland', sources, restOn } },
  allow: ['127.0.0.0/8'],
  timeouts: { rest, cooldown: 1 },
});

/** The proxy, and the file that it has its settings from. */
async function start(settings: Settings = {}): Promise<{ proxy: Example; file: string }> {
  const file = join(folderWith(), 'config.json');
  writeFileSync(file, JSON.stringify(settingsOf(settings)));
  const proxy = new Example('forward-proxy', file);
  await proxy.logged('listening');
  return { proxy, file };
}

/** An origin that answers with the source that it sees, and with what `statusFor` says. */
async function origin(
  statusFor: (source: string, path: string) => { status: number; headers?: http.OutgoingHttpHeaders } = () => ({
    status: 200,
  }),
): Promise<void> {
  const server = track(
    http.createServer(({ socket, url = '' }, response) => {
      const source = socket.remoteAddress ?? '';
      const { status, headers } = statusFor(source, url);
      response.writeHead(status, headers).end(source);
    }),
  );
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => track(socket));
  await once(server.listen(ORIGIN.port, ORIGIN.host), 'listening');
}

const authorization = (session?: string) => {
  const user = session === undefined ? 'alice' : `alice+${session}`;
  return `Proxy-Authorization: Basic ${Buffer.from(`${user}:wonderland`).toString('base64')}\r\n`;
};

/** The status of the answer, and the source that the origin has seen. */
async function get(session?: string, path = '/'): Promise<{ status: number; source: string }> {
  const socket = await rawClient(
    `GET ${urlOf(path)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${authorization(session)}\r\n`,
  );
  const answer = await everything(socket);
  socket.destroy();
  return { status: statusOf(answer), source: /127\.0\.0\.1\d/.exec(answer.split('\r\n\r\n')[1] ?? '')?.[0] ?? '' };
}

const tunnels = new Set<net.Socket>();

// The proxy's shutdown waits for those that are open.
function closeTunnels(): void {
  for (const socket of tunnels) socket.destroy();
  tunnels.clear();
}

/** A tunnel, and the source that the origin sees at its end. */
async function tunnel(session?: string): Promise<{ socket: net.Socket; source: string }> {
  const plain = connectTo(`${ORIGIN.host}:${ORIGIN.port}`);
  const socket = await rawClient(plain.replace(/Proxy-Authorization: .*\r\n/, authorization(session)));
  tunnels.add(socket);
  await once(socket, 'data');
  return { socket, source: await through(socket) };
}

async function through(socket: net.Socket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const [data] = (await once(socket, 'data')) as [Buffer];
  return /127\.0\.0\.1\d/.exec(data.toString())?.[0] ?? '';
}

describeIsolated('examples/forward-proxy, for tenants', () => {
  useNetwork({ range: [20000, 20063] });

  describe('sessions', () => {
    test('each keeps its source, in tunnels and plain requests alike', async () => {
      await origin();
      const { proxy } = await start();
      const sources = [];
      for (const session of SESSIONS) {
        const { source } = await get(session);
        sources.push(source);
        expect(await get(session)).toEqual({ status: 200, source });
        expect((await tunnel(session)).source).toBe(source);
      }
      expect(new Set(sources)).toEqual(new Set(SOURCES));
      closeTunnels();
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    });

    test('control: without one the sources take turns', async () => {
      await origin();
      await start();
      const seen = [await tunnel(), await tunnel(), await tunnel()].map(({ source }) => source);
      expect(new Set(seen)).toEqual(new Set(SOURCES));
    });

    test('a kept connection is never another session’s', async () => {
      await origin();
      await start({ sources: ['127.0.0.11', '127.0.0.12'] });
      // Both at once, so that there is a kept one of each.
      const of = new Map<string, string>();
      for (const session of SESSIONS) of.set(session, (await get(session)).source);
      for (const session of [...SESSIONS].reverse()) expect((await get(session)).source).toBe(of.get(session));
    });

    test('somebody else’s password, and a tenant with a + in its name', async () => {
      const { proxy } = await start();
      const basic = Buffer.from('alice+1:wrong').toString('base64');
      const socket = await rawClient(
        `GET ${urlOf('/')} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`,
      );
      expect(statusOf(await everything(socket))).toBe(407);
      expect((await proxy.end('SIGTERM')).code).toBe(0);
      const tenants = { 'a+b': { password: 'x', sources: SOURCES } };
      const wrong = new Example('forward-proxy', { ...settingsOf({}), tenants });
      expect(await wrong.logged('not-started')).toMatchObject({ message: expect.stringContaining('tenants.a+b') });
    });
  });

  describe('a source that the destination does not want', () => {
    test.each([403, 429])('%d: it rests there, and its sessions go on from another one', async (status) => {
      const banned = new Set<string>();
      await origin((source) => ({ status: banned.has(source) ? status : 200 }));
      const { proxy } = await start({ restOn: [403, 429] });
      const session = 'mine';
      const { source } = await get(session);
      banned.add(source);
      // The answer itself is the client's.
      expect(await get(session)).toEqual({ status, source });
      const next = await get(session);
      expect(next.status).toBe(200);
      expect(next.source).not.toBe(source);
      expect(await get(session)).toEqual(next);
      for (let n = 0; n < 6; n++) expect((await get()).source).not.toBe(source);
      expect(proxy.linesOf('source-rests')).toMatchObject([
        { tenant: 'alice', localAddress: source, address: ORIGIN.host, status, ms: 60_000, count: 1 },
      ]);
    });

    test('for as long as Retry-After says; then its sessions are back', async () => {
      let isBanned = true;
      await origin(() => (isBanned ? { status: 429, headers: { 'Retry-After': '1' } } : { status: 200 }));
      const { proxy } = await start({ restOn: [429] });
      const { source } = await get('mine');
      isBanned = false;
      expect(await proxy.logged('source-rests')).toMatchObject({ ms: 1000 });
      // A request would go by the connection that is kept.
      const now = async () => {
        const { source: from } = await tunnel('mine');
        closeTunnels();
        return from;
      };
      let from = await now();
      expect(from).not.toBe(source);
      for (let n = 0; n < 500 && from !== source; n++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        from = await now();
      }
      expect(from).toBe(source);
    });

    test('all of them: 503', async () => {
      await origin(() => ({ status: 403 }));
      await start({ restOn: [403] });
      const statuses = [];
      for (let n = 0; n < 4; n++) statuses.push((await get()).status);
      expect(statuses).toEqual([403, 403, 403, 503]);
    });

    test('control: without restOn nothing rests', async () => {
      await origin(() => ({ status: 403 }));
      const { proxy } = await start();
      for (let n = 0; n < 6; n++) expect((await get()).status).toBe(403);
      expect(proxy.linesOf('source-rests')).toEqual([]);
    });
  });

  describe('SIGHUP', () => {
    test('a source drains: its tunnels go on, nothing new begins there, and the log says when it is empty', async () => {
      await origin();
      const { proxy, file } = await start();
      const three = [await tunnel(), await tunnel(), await tunnel()];
      const [gone = ''] = SOURCES;
      const [old] = three.filter(({ source }) => source === gone);
      writeFileSync(file, JSON.stringify(settingsOf({ sources: [...SOURCES.slice(1), '127.0.0.14'] })));
      proxy.kill('SIGHUP');
      await proxy.logged('reloaded');
      expect(proxy.linesOf('draining')).toMatchObject([{ tenant: 'alice', source: gone, connections: 1 }]);
      // Requests would go by a connection that is kept.
      const seen = new Set<string>();
      for (let n = 0; n < 9; n++) seen.add((await tunnel()).source);
      expect(seen).toEqual(new Set(['127.0.0.12', '127.0.0.13', '127.0.0.14']));
      expect(proxy.linesOf('drained')).toEqual([]);
      expect(await through(old?.socket as net.Socket)).toBe(gone);
      old?.socket.destroy();
      expect(await proxy.logged('drained')).toMatchObject({ tenant: 'alice', source: gone });
      // And back.
      writeFileSync(file, JSON.stringify(settingsOf({ sources: [gone] })));
      proxy.kill('SIGHUP');
      await proxy.logged('reloaded', () => proxy.linesOf('reloaded').length === 2);
      expect((await tunnel()).source).toBe(gone);
      closeTunnels();
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    });

    test('a kept connection from it is closed', async () => {
      await origin();
      const { proxy, file } = await start();
      for (let n = 0; n < 3; n++) await get();
      writeFileSync(file, JSON.stringify(settingsOf({ sources: SOURCES.slice(1) })));
      proxy.kill('SIGHUP');
      expect(await proxy.logged('drained')).toMatchObject({ source: SOURCES[0] });
    });

    test('settings that are wrong change nothing', async () => {
      await origin();
      const { proxy, file } = await start();
      writeFileSync(file, '{');
      proxy.kill('SIGHUP');
      await proxy.logged('not-reloaded');
      expect((await get()).status).toBe(200);
      closeTunnels();
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    });
  });
});
