// One TCP connection from its beginning to its end.
import { once } from 'node:events';
import * as net from 'node:net';
import { connect } from 'connectx';
import { ofTcp, perhapsAbort, plainly } from './ways.mjs';

const PATIENCE_S = 20;
let flows = 0;

/** Resolves when it has come back; rejects when something else has, or nothing in time. */
function echoed(socket, token) {
  return new Promise((resolve, reject) => {
    let heard = '';
    const end = (act) => (value) => {
      clearInterval(timer);
      socket.off('data', listen).off('close', resolve);
      act(value);
    };
    const listen = (data) => {
      heard += data;
      if (heard === token) done();
      else if (!token.startsWith(heard)) fail(new Error(`heard ${heard} for ${token}`));
    };
    const done = end(resolve);
    const fail = end(reject);
    // Turns of the event loop, and not time: a process that is kept from running has heard nothing either.
    let seconds = 0;
    const timer = setInterval(() => {
      if (++seconds === PATIENCE_S) fail(new Error(`no answer to ${token.trim()} in ${PATIENCE_S} s`));
    }, 1000);
    // Ended by its own timeout or abort.
    socket.on('data', listen).once('close', resolve);
    socket.write(token);
  });
}

function start(client, abort) {
  const { chance, ledger } = client;
  const options = ledger.plain ? plainly(chance) : ofTcp(chance);
  const socket = ledger.plain ? net.connect(options) : connect({ ...options, signal: abort.signal });
  client.sockets.add(socket);
  socket.once('close', () => client.sockets.delete(socket));
  return { socket, options };
}

const ENDS = [
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.destroy(),
  (socket) => socket.end(),
  (socket) => socket.write('bye'),
];

export async function tcpFlow(client) {
  const { chance, ledger } = client;
  const abort = new AbortController();
  ledger.count('tcp attempts');
  const { socket, options } = start(client, abort);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  let connected = false;
  let ending = false;
  socket.on('timeout', () => socket.destroy());
  socket.on('error', (error) => {
    // What a fault spoils is the attempt, and never the connection.
    if (!connected || !ending) ledger.failed('tcp', error);
  });
  if (!ledger.plain) perhapsAbort(chance, () => abort.abort());
  try {
    await Promise.race([once(socket, 'connect'), closed]);
  } catch {
    await closed;
    return;
  }
  if (socket.destroyed) {
    await closed;
    return;
  }
  connected = true;
  ledger.count('tcp connected');
  const name = `${client.name}/${++flows}`;
  const until = performance.now() + chance.around(ledger.plain ? 1000 : client.hold);
  try {
    for (let n = 0; !socket.destroyed; n++) {
      await echoed(socket, `tcp ${name} ${n}\n`);
      const left = until - performance.now();
      if (left <= 0 || client.stopping) break;
      await client.rest(Math.min(left, 3000), socket);
      if (client.stopping) break;
    }
  } catch (error) {
    const end = `${socket.localAddress} ${socket.localPort} ${socket.remoteAddress}`;
    const faults = client.faults === undefined ? '' : `; after the faults ${client.faults}`;
    ledger.wrong(
      `tcp ${name}, ${end}, ${JSON.stringify(options)}: ${error.message}; longest turn ${client.longestTurn.toFixed(0)} ms${faults}`,
    );
  }
  if (socket.destroyed) ledger.count('tcp ended early');
  else {
    ending = true;
    socket.resume();
    (client.stopping || ledger.plain ? ENDS[0] : chance.of(ENDS))(socket);
  }
  await closed;
}
