// A host of test/slices/run.mjs: has the shared address and a pool with its slice of the ports. argv: its index, and the family.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, SourcePool } from 'connectx';
import { castOf, PORT } from './cast.mjs';

const [index, family] = process.argv.slice(2).map(Number);
const cast = castOf(family);
const pool = new SourcePool([]);
const open = new Set();

/** Connects that are under way at a time. */
const AT_ONCE = 32;
/** For a connection whose answers go elsewhere, ms. */
const PATIENCE = 500;

function configure({ range }) {
  const batch = [
    'link set lo up',
    `addr add ${cast.shared}/${cast.bits} dev uplink ${cast.nodad}`,
    'link set uplink up',
    `route add default via ${cast.link} dev uplink onlink`,
  ];
  for (const line of batch) {
    execFileSync('ip', [
      ...(family === 6 && line.startsWith('route') ? ['-6'] : []),
      ...line.split(' ').filter(Boolean),
    ]);
  }
  // Whole on every host: what keeps to a slice is the pool.
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', range.join(' '));
  writeFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', '0');
}

async function connectFrom(options) {
  const socket = connect({ host: cast.server, port: PORT, ...options });
  open.add(socket);
  socket.on('close', () => open.delete(socket));
  await once(socket, 'connect');
  socket.on('error', () => {});
  // The destination says so when it has noted who is there.
  socket.write(`${index} ${socket.localPort}\n`);
  await once(socket, 'data');
  return socket;
}

/** All the ports of the slice, until there is none. */
async function fill({ ports, count }) {
  pool.add({ address: cast.shared, ports });
  let firstAt;
  let made = 0;
  let left = count;
  const errors = [];
  const work = async () => {
    while (left-- > 0) {
      try {
        await connectFrom({ localAddress: pool });
        firstAt ??= performance.timeOrigin + performance.now();
        made++;
      } catch ({ code, reason, message }) {
        errors.push({ code, reason, message });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { made, errors, firstAt, doneAt: performance.timeOrigin + performance.now() };
}

/** No new connections, and the open ones end. */
async function drain() {
  pool.pause(cast.shared);
  const closed = [...open].map((socket) => once(socket, 'close'));
  for (const socket of open) socket.resetAndDestroy();
  await Promise.all(closed);
  return { open: open.size };
}

async function tryPort({ port }) {
  try {
    const socket = await connectFrom({
      localAddress: cast.shared,
      localPort: port,
      signal: AbortSignal.timeout(PATIENCE),
    });
    socket.destroy();
    return { connected: true };
  } catch {
    return { connected: false };
  }
}

const commands = { configure, fill, drain, try: tryPort };
process.on('message', async (message) => {
  process.send((await commands[message.command](message)) ?? {});
});
process.on('disconnect', () => process.exit());
process.send({ ready: true });
