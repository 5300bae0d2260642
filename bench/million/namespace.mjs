// A network namespace with tables of its own size, and everything in it ends with the process that made it.
import { spawn } from 'node:child_process';
import { isolated } from '../lib/namespace.mjs';
import { withParent } from '../lib/processes.mjs';

const MARK = 'CONNECTX_MILLION';

/** The facts that were passed on; undefined outside. */
export const factsInside = () => (process.env[MARK] === undefined ? undefined : JSON.parse(process.env[MARK]));

/**
 * The hash tables of a network namespace have the sizes that its maker has set in its own (ip-sysctl.rst; 0, the default: those of the
 * whole machine are shared). The kernel has no larger one for UDP. Older kernels have neither setting.
 */
const TABLES = { udp_child_hash_entries: 65536, tcp_child_ehash_entries: 2 ** 20 };

/**
 * Runs this very program again in a namespace with these addresses; resolves with its exit code. Signals are passed on, and `facts`: what
 * cannot be seen from inside.
 */
export async function runInside(addresses, facts) {
  const lines = Object.entries(TABLES).map(([name, size]) => {
    const path = `/proc/sys/net/ipv4/${name}`;
    return `if [ -e ${path} ]; then echo ${size} >${path}; fi`;
  });
  // The signal at the end of the parent is asked for last: a change of the user namespace takes it back.
  const program = withParent([process.execPath, ...process.execArgv, ...process.argv.slice(1)]);
  const inner = isolated(program, addresses);
  const args = ['-Urn', 'sh', '-ec', [...lines, 'exec "$@"'].join('\n'), 'sh', ...inner];
  const child = spawn('unshare', args, { stdio: 'inherit', env: { ...process.env, [MARK]: JSON.stringify(facts) } });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new Error('no network namespace can be made here (unshare of util-linux)', { cause })),
    );
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
