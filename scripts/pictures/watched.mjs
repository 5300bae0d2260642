// Runs `connectx watch` beside three programs that open connections from one address, on a machine with 1,000 ephemeral ports:
// `unshare -Urn node watched.mjs`. With a name it is one of these programs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'connectx';
import { root } from '../lib.mjs';

const SOURCE = '192.0.2.7';
const PORT = 443;
const SAMPLES = 8;

/** To which host each has how many connections, how many more it opens a second, and how many it has closed itself. */
const PROGRAMS = [
  { name: 'proxy', host: '203.0.113.10', open: 640, growth: 24, closed: 0 },
  { name: 'crawler', host: '203.0.113.11', open: 310, growth: 0, closed: 260 },
  { name: 'gateway', host: '203.0.113.12', open: 120, growth: 0, closed: 0 },
];

async function open(host, times) {
  const sockets = Array.from({ length: times }, () => connect({ host, port: PORT, localAddress: SOURCE }));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

async function beProgram(name) {
  process.title = name;
  const { host, open: times, growth, closed } = PROGRAMS.find((one) => one.name === name);
  for (const socket of await open(host, closed)) socket.end().resume();
  await open(host, times);
  process.send('ready');
  process.once('disconnect', () => process.exit());
  const began = performance.now();
  for (let opened = 0; ; await pause(100)) {
    const due = Math.floor(((performance.now() - began) / 1000) * growth);
    await open(host, due - opened);
    opened = due;
  }
}

async function main() {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  for (const address of [SOURCE, ...PROGRAMS.map(({ host }) => host)])
    execFileSync('ip', ['addr', 'add', `${address}/32`, 'dev', 'lo']);
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', '32768 33767');
  const server = net.createServer((socket) => socket.resume().on('error', () => {})).listen(PORT, '0.0.0.0', 1000);
  await once(server, 'listening');
  const programs = PROGRAMS.map(({ name }) =>
    spawn(process.execPath, [import.meta.filename, name], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  await Promise.all(programs.map((program) => once(program, 'message')));
  const command = [join(root, 'dist/cli.js'), 'watch', '-n', `${SAMPLES}`];
  const [status] = await once(spawn(process.execPath, command, { stdio: 'inherit' }), 'exit');
  // They end with the channel.
  for (const program of programs) program.disconnect();
  process.exit(status);
}

if (process.argv.length > 2) await beProgram(process.argv[2]);
else await main();
