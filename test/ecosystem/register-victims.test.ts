// The program that connectx/register's `assign` is for: a proxy in front of one backend, which sets no source and so holds one range of
// ports. It is configurable-http-proxy as npm installs it, started by its own command, as docs/register.md has it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import type * as net from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'connectx';
import { describe, expect, test } from 'vitest';
import { plainEnvironment } from '../helpers/environment.js';
import { libraryFolder } from '../helpers/libraries.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, errorOf, track, until } from '../helpers/sockets.js';

const PORTS = 8;
const SOURCES = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];
const PROXY = { host: '127.0.0.1', port: 8000 };
const BACKEND = { host: '127.0.0.1', port: 9000 };
const WANTED = SOURCES.length * PORTS;

let clients = 0;

const folder = libraryFolder('configurable-http-proxy');
const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { bin: Record<string, string> };
const command = join(folder, bin['configurable-http-proxy'] ?? '');

/** A backend that takes every WebSocket, sends back what it hears, and remembers from where each came. */
async function backend(): Promise<string[]> {
  const seen: string[] = [];
  const server = track(http.createServer((_request, response) => response.end('backend')));
  server.on('upgrade', (_request, socket: net.Socket) => {
    track(socket).on('error', () => {});
    seen.push(socket.remoteAddress ?? '');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    socket.pipe(socket);
  });
  server.on('connection', (socket) => track(socket));
  await once(server.listen(BACKEND), 'listening');
  return seen;
}

async function proxy(execArgv: readonly string[], env: Record<string, string>): Promise<void> {
  const target = `http://${BACKEND.host}:${BACKEND.port}`;
  const args = ['--ip', PROXY.host, '--port', String(PROXY.port), '--api-ip', '127.0.0.1', '--default-target', target];
  // connectx is found from the folder that the program is started in.
  const child = spawn(process.execPath, [...execArgv, command, ...args, '--log-level', 'info'], {
    cwd: join(import.meta.dirname, '../..'),
    env: { ...plainEnvironment(), CONFIGPROXY_AUTH_TOKEN: 'secret', ...env },
  });
  track({ close: () => void child.kill('SIGKILL') });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += String(text)));
  // It says so before it does.
  for (let n = 0; n < 1000 && child.exitCode === null; n++) {
    if (await accepts()) return;
    await pause(10);
  }
  throw new Error(`the proxy does not listen: ${output}`);
}

async function accepts(): Promise<boolean> {
  clients++;
  const socket = connect({ ...PROXY, localAddress: '127.1.0.1', localPort: 40_000 + clients });
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.resetAndDestroy());
  });
}

/** A WebSocket to the backend, through the proxy, from an address and port of its own: the status of the answer, and the socket. */
async function webSocket(): Promise<{ status: number; socket: net.Socket }> {
  clients++;
  const socket = await connected(connect({ ...PROXY, localAddress: '127.1.0.1', localPort: 40_000 + clients }));
  socket.on('error', () => {});
  const key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
  socket.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${key}\r\n\r\n`);
  const text = await new Promise<string>((resolve) => {
    let head = '';
    socket.on('data', (data) => {
      head += data.toString('latin1');
      if (head.includes('\r\n\r\n')) resolve(head);
    });
    socket.once('close', () => resolve(head));
  });
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), socket };
}

/** Opens one WebSocket after the other, and keeps them. */
async function fill(count: number): Promise<{ open: net.Socket[]; refused: number }> {
  const open: net.Socket[] = [];
  let refused = 0;
  for (let n = 0; n < count; n++) {
    const { status, socket } = await webSocket();
    if (status === 101) open.push(socket);
    else refused++;
  }
  return { open, refused };
}

async function echoes(socket: net.Socket): Promise<string> {
  socket.removeAllListeners('data');
  socket.write('hello');
  return String((await once(socket, 'data'))[0]);
}

const countOf = (seen: readonly string[]) => {
  const counts: Record<string, number> = {};
  for (const one of seen) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
};

describeIsolated('configurable-http-proxy, unmodified, in front of one backend, with 8 ports', () => {
  useNetwork({ range: [20000, 20000 + PORTS - 1], reserved: '' });

  test('control: it holds as many WebSockets as there are ports', async () => {
    const seen = await backend();
    await proxy([], {});
    const { open, refused } = await fill(WANTED);
    expect([open.length, refused]).toEqual([PORTS, WANTED - PORTS]);
    expect(countOf(seen)).toEqual({ '127.0.0.1': PORTS });
  });

  describe.each([
    ['--import', ['--import', 'connectx/register']],
    ['--require', ['--require', 'connectx/register']],
  ])('%s connectx/register', (_option, execArgv) => {
    test('with CONNECTX_ASSIGN it holds as many from each source, and the backend sees the sources', async () => {
      const seen = await backend();
      await proxy(execArgv, { CONNECTX_ASSIGN: '127.0.0.2-127.0.0.4>127.0.0.0/8;192.0.2.0/28' });
      const { open, refused } = await fill(WANTED + 2);
      expect([open.length, refused]).toEqual([WANTED, 2]);
      expect(countOf(seen)).toEqual(Object.fromEntries(SOURCES.map((source) => [source, PORTS])));
      for (const socket of open) expect(await echoes(socket)).toBe('hello');
      // What closes makes room.
      open[0]?.resetAndDestroy();
      await until(() => open[0]?.closed === true);
      let status = 0;
      // The proxy has closed its connection first: the kernel takes a tuple in TIME-WAIT for another one after a second.
      for (let n = 0; n < 100 && status !== 101; n++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        ({ status } = await webSocket());
      }
      expect(status).toBe(101);
    });

    test.each<Record<string, string>>([{}, { CONNECTX_ASSIGN: '127.0.0.2-127.0.0.4>203.0.113.0/24' }])(
      'with %o, which has no source for this backend: as without it',
      async (env) => {
        const seen = await backend();
        await proxy(execArgv, env);
        const { open, refused } = await fill(PORTS + 2);
        expect([open.length, refused]).toEqual([PORTS, 2]);
        expect(countOf(seen)).toEqual({ '127.0.0.1': PORTS });
      },
    );
  });

  test.each(['nonsense', '127.0.0.2>nonsense', '127.0.0.2>127.0.0.0/8>1', '127.0.0.9-127.0.0.2'])(
    'CONNECTX_ASSIGN=%s ends the program at its start, with the name of the variable',
    async (value) => {
      const error = await errorOf(async () => proxy(['--import', 'connectx/register'], { CONNECTX_ASSIGN: value }));
      expect(error.message).toContain('ERR_INVALID_ARG_VALUE');
      expect(error.message).toContain("'CONNECTX_ASSIGN'");
    },
  );
});
