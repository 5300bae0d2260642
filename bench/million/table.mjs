// The kernel's own table of sockets, by another program's eyes: ss(8) of iproute2, read line by line. Nothing is kept of a line but
// its bit in a set.
import { spawn, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { TupleSet } from './tuples.mjs';

/** `[2001:db8::1]:53` or `192.0.2.7:53`, perhaps with a device; without the brackets. */
export function splitEndpoint(text) {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replaceAll(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}

/**
 * Every connected socket from `source` in this namespace: the set of their 4-tuples, how many of these there are twice, and how many
 * sockets go where none of `remotes` is.
 */
export async function readTable(protocol, { source, remotes }) {
  const started = performance.now();
  const flag = protocol === 'udp' ? '-u' : '-t';
  const ss = spawn('ss', ['-Hn', flag, 'state', 'established', 'src', source.includes(':') ? `[${source}]` : source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(ss, 'exit');
  const destinations = new Map(remotes.map(({ host, port }, index) => [`${host} ${port}`, index]));
  const tuples = new TupleSet(remotes.length);
  let sockets = 0;
  let twice = 0;
  let elsewhere = 0;
  for await (const line of createInterface({ input: ss.stdout })) {
    const [, , local, remote] = line.trim().split(/\s+/);
    const { host, port } = splitEndpoint(remote);
    const destination = destinations.get(`${host} ${port}`);
    sockets++;
    if (destination === undefined) elsewhere++;
    else if (!tuples.add(destination, splitEndpoint(local).port)) twice++;
  }
  const [code] = await exited;
  if (code !== 0) throw new Error(`ss ended with exit code ${code}`);
  return { tuples, sockets, twice, elsewhere, seconds: (performance.now() - started) / 1000 };
}

/** How many sockets of any state but listening there are, those in TIME-WAIT included. */
export function countSockets(protocol) {
  const states = protocol === 'udp' ? ['state', 'established'] : ['exclude', 'listening'];
  const flags = protocol === 'udp' ? '-Hun' : '-Htan';
  const lines = execFileSync('ss', [flags, ...states], { encoding: 'utf8', maxBuffer: 1 << 30 });
  return lines.split('\n').filter(Boolean).length;
}
