// A network namespace of one's own, for which no privilege is needed: network_namespaces(7), user_namespaces(7).
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';

const MARK = 'CONNECTX_DEMO_ISOLATED';

/** Whether this process was started by {@link runIsolated}. */
export const isIsolated = process.env[MARK] === '1';

/** Whether a namespace can be made here: some containers and hardened kernels do not allow it. */
export function canIsolate() {
  return spawnSync('unshare', ['-Urn', 'ip', 'link', 'set', 'lo', 'up'], { stdio: 'ignore' }).status === 0;
}

/** Runs the script in a new namespace, with `lo` up. Resolves with its exit code. */
export function runIsolated(script) {
  const command = ['sh', '-c', 'ip link set lo up && exec "$@"', 'sh', process.execPath, script];
  const child = spawn('unshare', ['-Urn', ...command], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: '1' },
  });
  // The script cleans up and ends; this process waits for it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}

/** Sets the ephemeral ports of the namespace; both ends are inclusive. */
export function setEphemeralRange({ low, high }) {
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${low} ${high}`);
}
