// Network namespaces: one around the whole run, and one for each party in it, so that no party uses up another's ports and
// nothing of the host's settings or traffic takes part.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const MARK = 'CONNECTX_BENCH_NAMESPACE';

/** Runs this very program again as root of a user and network namespace of its own; returns once it is in one. */
export function enterNamespace() {
  if (process.env[MARK] === '1') return;
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status, error, signal } = spawnSync('unshare', ['-Urn', ...command], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: '1' },
  });
  if (error) throw new Error('no network namespace can be made here (unshare of util-linux)', { cause: error });
  if (signal) process.kill(process.pid, signal);
  process.exit(status ?? 1);
}

/** The command that runs `command` in a further network namespace, with `lo` up and these addresses on it. */
export function isolated(command, addresses = []) {
  const add = (ip) => `ip addr add ${ip} dev lo${ip.includes(':') ? ' nodad' : ''}`;
  const lines = ['ip link set lo up', ...addresses.map(add), 'exec "$@"'];
  return ['unshare', '-n', 'sh', '-ec', lines.join('\n'), 'sh', ...command];
}

/** Adds so many interfaces, in pairs `a<n>` and `b<n>`, to the calling process's namespace, and addresses: `192.0.2.1/24 dev a0`. */
export function addInterfaces(count, addresses) {
  const lines = Array.from({ length: count / 2 }, (_, n) => [
    `link add a${n} type veth peer name b${n}`,
    `link set a${n} up`,
    `link set b${n} up`,
  ]).flat();
  const add = addresses.map((address) => `addr add ${address}`);
  execFileSync('ip', ['-batch', '-'], { input: [...lines, ...add, ''].join('\n') });
}

const path = (name) => `/proc/sys/net/${name.replaceAll('.', '/')}`;

/** Writes `net.<name>` of the calling process's namespace. */
export function setSysctl(name, value) {
  writeFileSync(path(name), `${value}`);
}

export function getSysctl(name) {
  return readFileSync(path(name), 'utf8').trim().replaceAll(/\s+/g, ' ');
}
