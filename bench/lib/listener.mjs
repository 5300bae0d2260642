// The other end of TCP connections. It must not be what is measured, so it does nothing at all while a client is measured: the
// kernel completes the handshakes by itself and keeps the connections in the accept queue. The process sits in a blocking
// read(2) meanwhile; it is not in epoll_wait(2), so the client does not even pay for waking it.
//
//   node listener.mjs '{ "host": "127.0.0.1", "port": 4000 }'
//
// On standard input, a line with a number: accept and close this many connections. On standard output, a line: done.
import { readSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';

const { host, port } = JSON.parse(process.argv[2]);
let left = 0;

function park() {
  writeSync(1, 'done\n');
  const bytes = Buffer.alloc(32);
  const length = readSync(0, bytes);
  if (length === 0) process.exit();
  left = Number(bytes.toString('latin1', 0, length));
  if (left === 0) setImmediate(park);
}

// Paused: no read(2) for a connection that is closed anyway.
const server = createServer({ pauseOnConnect: true }, (socket) => {
  // A client that has reset its connection is what is expected here.
  socket.on('error', () => {});
  socket.destroy();
  left--;
  if (left === 0) setImmediate(park);
});
// With a full accept queue a client waits for a second SYN.
server.listen({ host, port, backlog: 65535 }, park);
