// Runs blocks of the documentation as a user would: in a project in which connectx is installed, on a machine that has the addresses
// and reaches the servers that the pages speak of.
import { execFile } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { type Block, root } from './documents.js';
import { libraryFolder } from './libraries.js';
import { need } from './needs.js';
import { folderWith } from './programs.js';
import { track } from './sockets.js';

// What the pages say of their examples: these addresses are ours, and these servers are there.
export const OURS: readonly string[] = ['192.0.2.7', '2001:db8::7'];
export const SERVERS: readonly string[] = ['203.0.113.10', '203.0.113.11', '2001:db8:1::10'];
const HOSTS = '127.0.0.1 localhost\n203.0.113.10 example.org\n2001:db8:1::10 example.org\n';

// What the blocks find: packages, and programs of a user.
const APP = `
import net from 'node:net';
const socket = net.connect({ host: '203.0.113.10', port: 80, localAddress: '192.0.2.7' }, () => {
  console.log('app.js is connected from', socket.localAddress);
  socket.destroy();
});
`;
const PACKAGES = ['prom-client', 'undici'];

/** A folder in which `connectx` is installed as it is for a user, its command too. */
export function project(files: Record<string, string>): string {
  const manifest = { type: 'module', scripts: { start: 'node app.js' } };
  const folder = folderWith({ 'package.json': JSON.stringify(manifest), 'app.js': APP, hosts: HOSTS, ...files });
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '.bin'), { recursive: true });
  symlinkSync(root, join(modules, 'connectx'));
  for (const name of PACKAGES) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(libraryFolder(name === 'undici' ? 'undici7' : name), join(modules, name));
  }
  const program = `#!/bin/sh\nexec node ${join(root, 'dist/cli.js')} "$@"\n`;
  writeFileSync(join(modules, '.bin/connectx'), program, { mode: 0o755 });
  return folder;
}

/** Starts the servers of the pages; they end with the test. */
export async function startServers(): Promise<void> {
  for (const host of SERVERS) {
    const server = track(http.createServer((_, response) => response.end('hello\n')).listen(80, host));
    server.on('connection', (socket) => track(socket));
    await once(server, 'listening');
    const echo = track(dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4'));
    echo.on('message', (message, { port, address }) => echo.send(message, port, address));
    echo.bind(5300, host);
    await once(echo, 'listening');
  }
}

/** Runs a command in the folder, and returns the lines that it prints; names are looked up in a hosts file of its own. */
export async function runIn(
  folder: string,
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string[]> {
  need('mount');
  const script = 'mount --bind hosts /etc/hosts && exec "$@"';
  const path = [dirname(process.execPath), join(folder, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const { stdout, stderr } = await promisify(execFile)('unshare', ['-m', 'sh', '-ec', script, 'sh', ...command], {
    cwd: folder,
    timeout: 20_000,
    env: { ...process.env, PATH: path, npm_config_loglevel: 'error', ...env },
  });
  expect(stderr).toBe('');
  return stdout.split('\n').filter(Boolean);
}

/** The lines that the block says that it prints. */
export function promised({ code }: Block): string[] {
  return [...code.matchAll(/(?:\/\/|#) prints (.*?)( \(twice\))?$/gm)].flatMap(({ 1: line = '', 2: twice }) =>
    twice === undefined ? [line] : [line, line],
  );
}

/** It prints what it promises; an example that promises nothing has to print something, or nobody would see it fail. */
export function expectPromised(block: Block, lines: readonly string[]): void {
  const expected = promised(block);
  if (expected.length > 0) expect(lines).toEqual(expected);
  else expect(lines).not.toEqual([]);
}
