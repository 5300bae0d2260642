// The destination of test/slices/run.mjs, in several processes because one has too few descriptors. It notes which host each port of the
// shared address is held by. argv: how many processes (0: it is one of them), and the family.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import * as sys from 'connectx/sys';
import { castOf, PORT } from './cast.mjs';

const [processes, family] = process.argv.slice(2).map(Number);
const cast = castOf(family);

const { AF_INET, AF_INET6, SOCK_STREAM, SOL_SOCKET } = sys.constants;
const SO_REUSEPORT = 15;
const BACKLOG = 8192;

function listen() {
  /** Port to the host that holds it. */
  const holders = new Map();
  let collisions = 0;
  let foreign = 0;
  const fd = sys.socket(family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  sys.bind(fd, { address: cast.any, port: PORT });
  const server = net.createServer((socket) => {
    const { remotePort } = socket;
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const [host, port] = data.toString().split(' ').map(Number);
      if (port !== remotePort) foreign++;
      if (holders.has(remotePort)) collisions++;
      holders.set(remotePort, host);
      socket.on('close', () => holders.delete(remotePort));
      socket.write('noted');
    });
  });
  server.listen({ fd, backlog: BACKLOG });
  process.on('disconnect', () => process.exit());
  process.on('message', () => process.send({ holders: [...holders], collisions, foreign }));
  process.send({ ready: true });
}

function configure() {
  const batch = [
    'link set lo up',
    `addr add ${cast.server}/${cast.prefix} dev uplink ${cast.nodad}`,
    'link set uplink up',
  ];
  for (const line of batch) execFileSync('ip', line.split(' ').filter(Boolean));
  execFileSync('ip', [
    ...(family === 6 ? ['-6'] : []),
    'route',
    'add',
    'default',
    'via',
    cast.gateway,
    'dev',
    'uplink',
  ]);
  writeFileSync('/proc/sys/net/core/somaxconn', String(BACKLOG));
  writeFileSync('/proc/sys/net/ipv4/tcp_max_syn_backlog', String(BACKLOG));
}

/** What all of them have noted: of a port that two of them hold, too. */
async function report(workers) {
  const reports = await Promise.all(
    workers.map(async (worker) => {
      const answer = once(worker, 'message');
      worker.send({});
      const [noted] = await answer;
      return noted;
    }),
  );
  const held = reports.flatMap(({ holders }) => holders.map(([port]) => port));
  const sum = (name) => reports.reduce((total, one) => total + one[name], 0);
  const open = new Set(held).size;
  return { open, collisions: sum('collisions') + held.length - open, foreign: sum('foreign') };
}

if (processes === 0) {
  listen();
} else {
  const workers = [];
  process.on('message', async ({ command }) => {
    if (command === 'report') {
      process.send(await report(workers));
      return;
    }
    configure();
    for (let n = 0; n < processes; n++) {
      const worker = fork(import.meta.filename, ['0', String(family)]);
      workers.push(worker);
      await once(worker, 'message');
    }
    process.send({});
  });
  process.on('disconnect', () => process.exit());
  process.send({ ready: true });
}
