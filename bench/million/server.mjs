// One of the processes at the other end: sends back what it gets.
//
//   node server.mjs '{ "protocol": "udp", "family": 4, "remotes": [...] }'      a socket for each of them
//   node server.mjs '{ "protocol": "tcp", "most": 19800 }'                      accepts from the listening descriptor 4
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import * as net from 'node:net';

/** The bound socket that the accepting processes of one destination have in common. */
const LISTENER = 4;
const RECEIVE_BUFFER = 4 << 20;

const { protocol, family, remotes, most } = JSON.parse(process.argv[2]);
const errors = {};
let count = 0;

const failed = ({ code }) => (errors[code] = (errors[code] ?? 0) + 1);

async function echoDatagrams({ host, port }) {
  const socket = dgram.createSocket({ type: `udp${family}`, recvBufferSize: RECEIVE_BUFFER });
  socket.on('error', failed);
  socket.on('message', (message, { address, port: from }) => {
    count++;
    socket.send(message, from, address);
  });
  socket.bind({ port, address: host, exclusive: true });
  await once(socket, 'listening');
}

function echo(bytes) {
  this.write(bytes);
}

function acceptStreams() {
  const server = net.createServer((socket) => {
    socket.on('data', echo);
    // The clients reset their connections in the end.
    socket.on('error', failed);
    socket.on('close', () => count--);
    count++;
    // The rest is for the other processes: this one's descriptors are used up.
    if (count === most) server.close();
  });
  server.listen({ fd: LISTENER, backlog: 65535 });
  return once(server, 'listening');
}

if (protocol === 'udp') await Promise.all(remotes.map(echoDatagrams));
else await acceptStreams();

process.on('message', () => process.send({ done: 'count', value: { count, errors } }));
process.once('disconnect', () => process.exit());
process.send({ done: 'start' });
