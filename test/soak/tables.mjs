// The sockets of this namespace, as /proc shows them: asked without connectx.
import { readFileSync } from 'node:fs';
import { FAMILIES, HIGH, LOW, SERVER } from './network.mjs';

const TIME_WAIT = '06';
const NAMES = ['tcp', 'tcp6', 'udp', 'udp6'];
const portOf = (end) => Number.parseInt(end.slice(end.lastIndexOf(':') + 1), 16);

/** Each socket as { protocol, local, remote, state }: addresses in the kernel's hexadecimal. */
export function sockets() {
  return NAMES.flatMap((protocol) =>
    readFileSync(`/proc/self/net/${protocol}`, 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => {
        const [, local, remote, state] = line.trim().split(/\s+/);
        return { protocol, local, remote, state };
      }),
  );
}

/** Those that are not on their way out. */
export const living = (all) => all.filter(({ state }) => state !== TIME_WAIT);

const SOURCES = new Set(FAMILIES.flatMap(({ table }) => table));
const PAIRS = FAMILIES.reduce((sum, { sources, remotes }) => sum + sources.length * remotes.length, 0);

/** For TCP and UDP each: the share of the pairs of source and destination of which every port, but for one in 20, is taken. */
export function fullness(all) {
  const pairs = new Map();
  for (const { protocol, local, remote } of all) {
    const [source] = local.split(':');
    const port = portOf(local);
    if (!SOURCES.has(source) || portOf(remote) !== SERVER || port < LOW || port > HIGH) continue;
    const key = `${protocol} ${source} ${remote}`;
    pairs.set(key, (pairs.get(key) ?? new Set()).add(port));
  }
  const full = [...pairs].filter(([, ports]) => ports.size >= (HIGH - LOW + 1) * 0.95).map(([key]) => key);
  const share = (protocol) => full.filter((key) => key.startsWith(protocol)).length / PAIRS;
  return { tcp: share('tcp'), udp: share('udp') };
}
