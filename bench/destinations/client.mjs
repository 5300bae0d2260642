// Opens TCP connections or connected UDP sockets to a destination, and holds them: until it is refused, or has no descriptors left.
//
// On standard input, a line with { host, port }. On standard output, a line with { opened, code }: no code when it is full.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { connect, connectUdp } from '../../dist/index.js';

const { peer, source } = JSON.parse(process.argv[2]);
const connected = async (socket) => {
  await once(socket, 'connect');
  return socket;
};

async function bindAndConnect({ host, port }) {
  const socket = dgram.createSocket('udp4');
  try {
    socket.bind({ address: source, exclusive: true });
    await once(socket, 'listening');
    socket.connect(port, host);
    return await connected(socket);
  } catch (error) {
    socket.close();
    throw error;
  }
}

const opens = {
  'net.connect': (destination) => connected(net.connect(destination)),
  'net.connect, localAddress': (destination) => connected(net.connect({ ...destination, localAddress: source })),
  'connectx, localAddress': (destination) => connected(connect({ ...destination, localAddress: source })),
  'dgram, bind + connect': bindAndConnect,
  connectUdp: (destination) => connectUdp({ ...destination, localAddress: source }),
};

const [, descriptors] = /Max open files +(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'));
const MOST = Number(descriptors) - 200;
const REFUSALS = new Set(['EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN']);
const held = [];

async function attempt(destination) {
  try {
    held.push(await opens[peer](destination));
    return undefined;
  } catch (error) {
    if (!REFUSALS.has(error.code)) throw error;
    return error.code;
  }
}

for await (const line of createInterface(process.stdin)) {
  const destination = JSON.parse(line);
  const before = held.length;
  let code;
  while (code === undefined && held.length < MOST) code = await attempt(destination);
  console.log(JSON.stringify({ opened: held.length - before, code }));
}
for (const socket of held) {
  if (socket instanceof net.Socket) socket.resetAndDestroy();
  else socket.close();
}
