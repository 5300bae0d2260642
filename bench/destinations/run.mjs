// How many TCP connections, and connected UDP sockets, one source address can hold, by how many destinations there are: the default
// range of ports, filled towards one destination after the other, until each of them refuses. Some three minutes.
//
//   node bench/destinations/run.mjs              writes bench/results/destinations.json, and what the pages print of it
//   node bench/destinations/run.mjs --only udp   the UDP sockets alone (or `tcp`)
//   node bench/destinations/run.mjs --quick      a range of 40 ports, and the figures on standard output
//
// Every peer has a network namespace of its own. A process holds as many connections as its descriptors allow, then another one
// goes on; the kernel completes the handshakes of the listeners, which sleep.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { commitOf, machine } from '../lib/machine.mjs';
import { enterNamespace, getSysctl, isolated, setSysctl } from '../lib/namespace.mjs';
import { publish } from '../lib/publish.mjs';
import { Party } from './party.mjs';

const PEERS = {
  tcp: ['net.connect, localAddress', 'net.connect', 'connectx, localAddress'],
  udp: ['dgram, bind + connect', 'connectUdp'],
};
const DESTINATIONS = ['192.0.2.10', '192.0.2.11', '192.0.2.12', '192.0.2.13'];
const SOURCE = '192.0.2.7';
const PORT = 4000;

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, peer: { type: 'string' } },
});

/** In the peer's namespace: after each destination, how many connections are open in all, and what the refusal was. */
async function measure(peer) {
  if (values.quick) setSysctl('ipv4.ip_local_port_range', '20000 20039');
  // For listeners that accept nothing.
  setSysctl('core.somaxconn', 65535);
  const listeners = DESTINATIONS.map((host) => new Party('../lib/listener.mjs', { host, port: PORT }));
  for (const listener of listeners) await listener.answer();
  const clients = [];
  const steps = [];
  let open = 0;
  for (const [index, host] of DESTINATIONS.entries()) {
    let code;
    while (code === undefined) {
      if (clients.at(-1)?.isFull !== false)
        clients.push(Object.assign(new Party('client.mjs', { peer, source: SOURCE }), { isFull: false }));
      const client = clients.at(-1);
      client.ask({ host, port: PORT });
      const answer = JSON.parse(await client.answer());
      open += answer.opened;
      code = answer.code;
      client.isFull = code === undefined;
    }
    steps.push({ destinations: index + 1, open, code });
  }
  for (const party of [...clients, ...listeners]) await party.end();
  return { peer, ports: getSysctl('ipv4.ip_local_port_range'), steps };
}

async function inNamespace(peer) {
  const self = [process.execPath, fileURLToPath(import.meta.url), '--peer', peer, ...(values.quick ? ['--quick'] : [])];
  const [file, ...args] = isolated(
    self,
    [SOURCE, ...DESTINATIONS].map((ip) => `${ip}/32`),
  );
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => (text += data));
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`${peer}: exit code ${status}`);
  return JSON.parse(text);
}

enterNamespace();
if (values.peer !== undefined) {
  console.log(JSON.stringify(await measure(values.peer)));
} else {
  const peers = [];
  const chosen = values.only === undefined ? Object.values(PEERS).flat() : PEERS[values.only];
  if (chosen === undefined) throw new Error(`--only takes ${Object.keys(PEERS).join(' or ')}`);
  for (const peer of chosen) peers.push(await inNamespace(peer));
  const here = fileURLToPath(new URL('.', import.meta.url));
  const figures = { time: new Date().toISOString(), commit: commitOf(here), machine, source: SOURCE, peers };
  const text = `${JSON.stringify(figures, undefined, 1)}\n`;
  if (values.quick) process.stdout.write(text);
  else {
    const results = new URL('../results/', import.meta.url);
    mkdirSync(results, { recursive: true });
    writeFileSync(new URL('destinations.json', results), text);
    for (const made of publish(figures)) console.log(made);
  }
}
