// One UDP flow from its beginning to its end. It is sent tokens of its own, and must hear these and no others.
import { once } from 'node:events';
import * as dgram from 'node:dgram';
import { connectUdp, connectUdpSync } from 'connectx';
import { ofUdp, perhapsAbort, plainly } from './ways.mjs';

/** Loopback, too, loses datagrams while the machine is busy: so each is sent again until it has come back. */
const AGAIN_MS = 100;
/** So many times: turns of the event loop, and not time, because a process that is kept from running hears nothing either. */
const PATIENCE = 200;
let flows = 0;

async function openPlainly({ host, port, localAddress, type }) {
  const lookup = (name, _family, callback) => callback(null, name, type === 'udp6' ? 6 : 4);
  const socket = dgram.createSocket({ type, lookup });
  try {
    if (localAddress !== undefined) {
      // At once, because the lookup answers at once.
      const listening = once(socket, 'listening');
      socket.bind({ address: localAddress, exclusive: true });
      await listening;
    }
    socket.connect(port, host);
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

async function open({ chance, ledger }, signal) {
  if (ledger.plain) return openPlainly(plainly(chance));
  const options = ofUdp(chance);
  if (options.lookup !== undefined || chance.is(0.5)) return connectUdp({ ...options, signal });
  const socket = connectUdpSync({ ...options, signal });
  await once(socket, 'connect');
  return socket;
}

const end = (socket) => {
  const { address, port } = socket.address();
  const remote = socket.remoteAddress();
  return `udp ${address} ${port} ${remote.address} ${remote.port}`;
};

export async function udpFlow(client) {
  const { chance, ledger } = client;
  const abort = new AbortController();
  ledger.count('udp attempts');
  let tuple;
  const name = `${client.name}/${++flows}`;
  let isOpen = false;
  // Before it closes, in whatever way, so that nobody can have the 4-tuple while it counts as this flow's.
  const give = () => {
    if (isOpen) ledger.flow('close', tuple, name);
    isOpen = false;
  };
  const cancel = () => {
    give();
    abort.abort();
  };
  if (!ledger.plain && chance.is(0.01)) abort.abort();
  let socket;
  try {
    const opening = open(client, abort.signal);
    if (!ledger.plain) perhapsAbort(chance, cancel);
    socket = await opening;
  } catch (error) {
    ledger.failed('udp', error);
    return;
  }
  // Aborted in the tick in which it has connected, it has said 'close' before anybody could listen.
  if (abort.signal.aborted) {
    ledger.count('udp aborted when connected');
    return;
  }
  client.sockets.add(socket);
  let wake = () => {};
  const closed = new Promise((resolve) =>
    socket.once('close', () => {
      client.sockets.delete(socket);
      wake();
      resolve();
    }),
  );
  let heard = -1;
  let timer;
  tuple = end(socket);
  isOpen = true;
  ledger.flow('open', tuple, name);
  ledger.count('udp connected');
  const until = performance.now() + chance.around(ledger.plain ? 1000 : client.hold);
  socket.on('error', (error) => ledger.wrong(`udp ${name}: ${error.stack}`));
  socket.on('message', (message) => {
    const [from, number] = message.toString().split(' ');
    if (from !== name) ledger.flow('heard', tuple, name, from);
    else if (Number(number) > heard) {
      heard = Number(number);
      wake();
    }
  });
  for (let n = 0; isOpen; n++) {
    const answered = new Promise((resolve) => (wake = resolve));
    const send = () => {
      if (isOpen) socket.send(`${name} ${n}`, () => {});
    };
    let times = 0;
    send();
    timer = setInterval(() => {
      send();
      if (++times === PATIENCE) wake();
    }, AGAIN_MS);
    await answered;
    clearInterval(timer);
    if (isOpen && heard < n) {
      ledger.wrong(
        `udp ${name} on ${tuple}: no answer to ${PATIENCE}; longest turn ${client.longestTurn.toFixed(0)} ms`,
      );
      break;
    }
    const left = until - performance.now();
    if (left <= 0 || client.stopping) break;
    await client.rest(Math.min(left, 3000), socket);
    if (client.stopping) break;
  }
  give();
  if (!abort.signal.aborted) socket.close();
  await closed;
}
