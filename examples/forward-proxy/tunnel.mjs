// CONNECT: bytes both ways.
import { STATUS_CODES } from 'node:http';
import { breakOff } from './connections.mjs';

/** The answer that is not a tunnel; `client` is closed when it has been read. */
export function refuse(client, { status, text, headers = {} }) {
  const body = `${status} ${STATUS_CODES[status]}: ${text}\n`;
  const lines = Object.entries({
    ...headers,
    'Content-Type': 'text/plain',
    'Content-Length': body.length,
    Connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  client.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
  // What the client has sent meanwhile: unread, it would turn the end into a reset, which overtakes the answer.
  client.resume();
}

/** Connects the client with its destination; `onFailure` is called with the error if there is none. Returns the upstream socket. */
export function openTunnel(tenant, target, client, head, { timeouts }, onFailure) {
  // The client may have said all that it has to say, and still wait for the answer; and the other way round.
  const upstream = tenant.connect({ ...target, allowHalfOpen: true });
  const giveUp = () => upstream.destroy();
  client.once('close', giveUp);
  let isOpen = false;
  // Of a tunnel 'close' follows, which is what counts.
  upstream.on('error', (error) => {
    if (!isOpen && !client.destroyed) onFailure(error);
  });
  upstream.once('connect', () => {
    isOpen = true;
    client.off('close', giveUp);
    closeTogether(client, upstream);
    closeTogether(upstream, client);
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    if (head.length > 0) upstream.write(head);
    // Pipes pause the one side while the other takes nothing, and pass on its end, so that either side may end first.
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.setTimeout(timeouts.idle, () => breakOff(socket));
  });
  return upstream;
}

/** A side that closes after its end leaves the other to send what it still has; one that is broken off breaks off the other. */
function closeTogether(socket, other) {
  socket.once('close', (hadError) => {
    if (!socket.readableEnded || hadError) breakOff(other);
  });
}
