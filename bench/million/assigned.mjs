// How many connections to one 127.0.0.1:port an unmodified program holds when connectx/register assigns it sources, and without:
// `node bench/million/assigned.mjs [--connections 1000000] [--seconds 280] [--floor GIB] [--range LOW-HIGH]`. It ends where the number is reached, time or memory
// is up, or there are no ports left, and says which. Connections stay in the listener's queue, which takes no descriptor of a server.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { available } from './memory.mjs';

const INSIDE = 'CONNECTX_ASSIGNED_INSIDE';
const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: '280' },
    floor: { type: 'string', default: '4' },
    lanes: { type: 'string', default: '2' },
    range: { type: 'string', default: '32768-60999' },
  },
});
const wanted = Number(values.connections);
const floor = Number(values.floor) * 2 ** 30;
const deadline = performance.now() + Number(values.seconds) * 1000;
const PORT = 9000;
const HOST = '127.0.0.1';
/** By default Linux's own. */
const RANGE = values.range.split('-').map(Number);
const A_SOURCE = RANGE[1] - RANGE[0] + 1;
/** Of the 20,000 descriptors that a process has here, or fewer where the limit is lower. */
const A_PROCESS = 19_800;

if (process.env[INSIDE] === undefined) {
  const command = ['-Urn', process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const { status, error } = spawnSync('unshare', command, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  if (error) throw error;
  process.exit(status ?? 1);
}

const sysctl = (name, value) => writeFileSync(`/proc/sys/net/${name.replaceAll('.', '/')}`, String(value));
spawnSync('ip', ['link', 'set', 'lo', 'up']);
sysctl('core.somaxconn', 2 ** 30);
sysctl('ipv4.ip_local_port_range', RANGE.join(' '));

const running = new Set();
const started = (command, args, options) => {
  const child = spawn(command, args, options);
  running.add(child);
  return child;
};
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

const listen = `import socket, time
s = socket.socket()
s.bind(("${HOST}", ${PORT}))
s.listen(2**30)
print("listening", flush=True)
time.sleep(3600)`;

async function listener() {
  const child = started('python3', ['-c', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

/** Clients one after the other in each lane, until there is a reason to stop. */
async function fill(title, { count, execArgv, env }) {
  const server = await listener();
  const began = performance.now();
  const memory = available();
  const clients = [];
  let stop;
  let given = 0;
  const open = () => clients.reduce((sum, client) => sum + client.open, 0);
  const lane = async () => {
    while (stop === undefined && given < count) {
      const share = Math.min(A_PROCESS, count - given);
      given += share;
      const args = [...execArgv, join(import.meta.dirname, 'assigned-client.mjs'), String(share), HOST, String(PORT)];
      const child = started(process.execPath, args, {
        cwd: join(import.meta.dirname, '../..'),
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: { ...process.env, ...env },
      });
      const client = { open: 0, sources: {}, errors: {} };
      clients.push(client);
      await new Promise((resolve) => {
        child.on('message', (message) => {
          Object.assign(client, message);
          if (performance.now() > deadline) stop ??= 'time is up';
          if (available() < floor) stop ??= 'memory is up';
          if (stop !== undefined) child.send('stop');
          if (message.done) resolve();
        });
        child.on('exit', resolve);
      });
      if (client.open < share) stop ??= 'no ports are left';
    }
  };
  await Promise.all(Array.from({ length: Number(values.lanes) }, lane));
  const result = {
    title,
    connections: open(),
    ended: stop ?? 'the number is reached',
    seconds: Math.round((performance.now() - began) / 1000),
    processes: clients.length,
    sources: new Set(clients.flatMap(({ sources }) => Object.keys(sources))).size,
    gibibytes: Number(((memory - available()) / 2 ** 30).toFixed(2)),
    errors: clients.reduce((all, { errors }) => {
      for (const [code, times] of Object.entries(errors)) all[code] = (all[code] ?? 0) + times;
      return all;
    }, {}),
  };
  console.log(JSON.stringify(result));
  const ended = [...running].map((child) => once(child, 'exit'));
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(ended);
  running.clear();
  void server;
  return result;
}

const without = await fill('unmodified', { count: A_SOURCE + 1000, execArgv: [], env: {} });
const sources = Math.ceil((wanted / A_SOURCE) * 1.1);
const CONNECTX_ASSIGN = `127.0.0.2-127.0.0.${1 + sources}>127.0.0.0/8`;
const assigned = await fill(`unmodified, CONNECTX_ASSIGN='${CONNECTX_ASSIGN}'`, {
  count: wanted,
  execArgv: ['--import', 'connectx/register'],
  env: { CONNECTX_ASSIGN },
});
process.exit(without.connections === A_SOURCE && assigned.connections > without.connections ? 0 : 1);
