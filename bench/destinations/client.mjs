// Opens connections to a destination, and holds them: until it is refused, or has no descriptors left to spare.
//
// On standard input, a line with { host, port }. On standard output, a line with { opened, code }: no code when it is full.
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { connect } from '../../dist/index.js';

const { peer, source } = JSON.parse(process.argv[2]);
const opens = {
  'net.connect': (destination) => net.connect(destination),
  'net.connect, localAddress': (destination) => net.connect({ ...destination, localAddress: source }),
  'connectx, localAddress': (destination) => connect({ ...destination, localAddress: source }),
};

const [, descriptors] = /Max open files +(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'));
const MOST = Number(descriptors) - 200;
const REFUSALS = new Set(['EADDRNOTAVAIL', 'EADDRINUSE']);
const held = [];

const attempt = (destination) =>
  new Promise((resolve, reject) => {
    const socket = opens[peer](destination);
    socket.once('connect', () => {
      held.push(socket);
      resolve(undefined);
    });
    socket.once('error', (error) => (REFUSALS.has(error.code) ? resolve(error.code) : reject(error)));
  });

for await (const line of createInterface(process.stdin)) {
  const destination = JSON.parse(line);
  const before = held.length;
  let code;
  while (code === undefined && held.length < MOST) code = await attempt(destination);
  console.log(JSON.stringify({ opened: held.length - before, code }));
}
for (const socket of held) socket.resetAndDestroy();
