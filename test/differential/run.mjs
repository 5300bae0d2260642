// Random scripts of options, callbacks, aborts and destroys, played through core and connectx side by side: `run.mjs SCRIPTS [SEED]`, and
// `run.mjs 1 SEED` for one of them again, with what each side has seen. Prints one line of JSON at the end; exit 1 when there was a difference.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { play, servers } from './play.mjs';
import { scriptOf } from './scripts.mjs';

/** Where the order is a matter of time, core itself differs between two rounds: so many are compared before it counts. */
const ROUNDS = 8;

if (process.env.CONNECTX_DIFFERENTIAL === undefined) {
  const network = [
    'ip link set lo up',
    'ip link add d0 type veth peer name d1',
    'ip addr add 192.0.2.1/24 dev d0',
    'ip -6 addr add 2001:db8::1/64 dev d0 nodad',
    'ip link set d0 up && ip link set d1 up',
  ].join(' && ');
  const args = ['-Urn', 'sh', '-c', `${network} && exec "$@"`, 'sh', process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, CONNECTX_DIFFERENTIAL: '1' };
  const { status, signal } = spawnSync('unshare', args, { stdio: 'inherit', env });
  if (signal !== null) console.error(`ended by ${signal}`);
  process.exit(status ?? 1);
}

const count = Number(process.argv[2]);
const first = Number(process.argv[3] ?? 1);
const { ports, close } = await servers();

const descriptors = () => readdirSync('/proc/self/fd').length;

// What is opened once for the whole process.
for (const seed of [1, 2, 3, 4, 5]) for (const side of ['core', 'connectx']) await play(scriptOf(seed), side, ports);
const before = await settled();
const differences = [];
for (let seed = first; seed < first + count; seed++) {
  const difference = await compare(scriptOf(seed));
  if (difference !== undefined) {
    differences.push(seed);
    console.error(`seed ${seed}: ${difference}`);
  }
}
const left = (await settled()) - before;
if (left !== 0) console.error(`${left} descriptors are left open`);
console.log(JSON.stringify({ node: process.version, scripts: count, first, differences, descriptors: left }));
close();
process.exit(differences.length === 0 && left === 0 ? 0 : 1);

async function compare(script) {
  const seen = { core: new Set(), connectx: new Set() };
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of ['core', 'connectx']) {
      const { trace, inUse, crashed } = await play(script, side, ports);
      if (inUse !== 0) return `${inUse} leases are left`;
      if (script.inSource !== undefined && side === 'connectx') {
        return crashed ? `an uncaught exception\n${JSON.stringify(script)}\n${trace.join('\n')}` : undefined;
      }
      seen[side].add(trace.join('\n'));
    }
    if ([...seen.connectx].some((trace) => seen.core.has(trace))) return undefined;
  }
  const [core] = seen.core;
  const [mine] = seen.connectx;
  return `${JSON.stringify(script)}\n--- core\n${core}\n--- connectx\n${mine}\n`;
}

/** When the servers have closed their ends. */
async function settled() {
  let last = descriptors();
  for (let same = 0; same < 5;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = descriptors();
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}
