// Hosts that share one egress address by slices of its ports, each in a network namespace of its own behind one router, and one destination:
// `node test/slices/run.mjs --hosts 31 --ports 2048 [--family 6]`. How many ports are in use, whether the destination has ever seen a port of
// one host from another one, and how long it takes to move a slice to another host. Prints one line of JSON; fails where it falls short.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { portSlice } from 'connectx';
import { castOf } from './cast.mjs';

const here = import.meta.dirname;
const INSIDE = 'CONNECTX_SLICES_INSIDE';
const { values } = parseArgs({
  options: {
    hosts: { type: 'string', default: '31' },
    ports: { type: 'string', default: '2048' },
    family: { type: 'string', default: '4' },
  },
});
const hosts = Number(values.hosts);
const ports = Number(values.ports);
const cast = castOf(Number(values.family));

/** The part of the ports that has to be in use: what the requirement says. */
const SHARE = 0.98;
const MOVED_WITHIN_MS = 1000;
/** One process has 20,000 descriptors at most here, and some are its own. */
const CONNECTIONS_A_SERVER = 16_384;

if (process.env[INSIDE] === undefined) {
  const args = ['-Urn', process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const { status, error } = spawnSync('unshare', args, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  if (error) throw error;
  process.exit(status ?? 1);
}

const ip = (lines, family = 4) => {
  execFileSync('ip', [...(family === 6 ? ['-6'] : []), '-batch', '-'], { input: [...lines, ''].join('\n') });
};
const sysctl = (name, value) => writeFileSync(`/proc/sys/net/${name.replaceAll('.', '/')}`, String(value));

const started = [];
process.on('exit', () => started.forEach((child) => child.kill('SIGKILL')));

/** A program in a network namespace of its own, which answers each message with one. */
class Member {
  #child;

  constructor(file, ...args) {
    const command = ['-n', process.execPath, join(here, file), ...args.map(String)];
    this.#child = spawn('unshare', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    started.push(this.#child);
  }

  get pid() {
    return this.#child.pid;
  }

  async heard() {
    const ended = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`a member has ended with ${code}`);
    });
    const [message] = await Promise.race([once(this.#child, 'message'), ended]);
    return message;
  }

  async ask(message) {
    const answer = this.heard();
    this.#child.send(message);
    return answer;
  }
}

function routeSlice(index, [low, high], { remove = false } = {}) {
  const what = `from all to ${cast.shared}/${cast.bits} iif to-server ipproto tcp dport ${low}-${high} lookup ${100 + index}`;
  ip([`rule ${remove ? 'del' : 'add'} ${what}`], cast.family);
}

const began = performance.now();
sysctl('ipv4.ip_forward', 1);
sysctl('ipv6.conf.all.forwarding', 1);
ip(['link set lo up']);
const servers = Math.ceil((hosts * ports) / CONNECTIONS_A_SERVER);
// One more, which has no slice until it gets one.
const members = Array.from({ length: hosts + 1 }, (_, index) => new Member('host.mjs', index, cast.family));
const server = new Member('server.mjs', servers, cast.family);
await Promise.all([server, ...members].map((member) => member.heard()));

const links = members.map(({ pid }, index) => `link add h${index} type veth peer name uplink netns ${pid}`);
ip([...links, `link add to-server type veth peer name uplink netns ${server.pid}`]);
for (const name of ['all', 'default', ...members.map((_, index) => `h${index}`), 'to-server']) {
  sysctl(`ipv4.conf.${name}.rp_filter`, 0);
}
ip([
  `addr add ${cast.gateway}/${cast.prefix} dev to-server ${cast.nodad}`,
  'link set to-server up',
  ...members.flatMap((_, index) => [
    `addr add ${cast.link}/${cast.bits === 32 ? 32 : 64} dev h${index} ${cast.nodad}`,
    `link set h${index} up`,
  ]),
]);
// What belongs to a host has a table of its own, and the rules for ports choose the table.
ip(
  members.map((_, index) => `route add ${cast.shared}/${cast.bits} dev h${index} table ${100 + index}`),
  cast.family,
);
// The kernel's rules do not take 65535 (fib_rule_port_range_valid).
const range = [65535 - hosts * ports, 65534];
const slices = members.slice(0, hosts).map((_, index) => portSlice({ index, of: hosts, range }));
for (const [index, slice] of slices.entries()) routeSlice(index, slice);
await Promise.all([server, ...members].map((member) => member.ask({ command: 'configure', range })));
const ready = performance.now();

const filled = await Promise.all(
  members.slice(0, hosts).map((member, index) => member.ask({ command: 'fill', ports: slices[index], count: ports })),
);
const done = performance.now();
const inUse = filled.reduce((sum, { made }) => sum + made, 0);
const seen = await server.ask({ command: 'report' });

// Control: from a port of another slice nothing comes back, for the router brings it to that host.
const stray = await members[hosts].ask({ command: 'try', port: slices[0][0] });

// The first host drains, the router learns of it, and the last one goes on.
const moveBegan = performance.timeOrigin + performance.now();
await members[0].ask({ command: 'drain' });
routeSlice(0, slices[0], { remove: true });
routeSlice(hosts, slices[0]);
const moved = await members[hosts].ask({ command: 'fill', ports: slices[0], count: ports });
const after = await server.ask({ command: 'report' });

const wanted = hosts * ports;
const result = {
  hosts,
  slice: ports,
  family: cast.family,
  wanted,
  inUse,
  share: inUse / wanted,
  seen: seen.open,
  collisions: after.collisions,
  foreign: after.foreign,
  errors: filled.flatMap(({ errors }) => errors).slice(0, 5),
  stray: stray.connected,
  setUpMs: Math.round(ready - began),
  fillMs: Math.round(done - ready),
  moved: moved.made,
  // From when the first host was told to drain, on the clock that all processes share.
  movedFirstMs: Math.round(moved.firstAt - moveBegan),
  movedAllMs: Math.round(moved.doneAt - moveBegan),
};

console.log(JSON.stringify(result));
const failures = [
  [result.share >= SHARE, `${result.inUse} of ${wanted} ports are in use`],
  [result.seen === inUse, `the destination sees ${result.seen} of ${inUse} connections`],
  [result.collisions === 0, `${result.collisions} ports were seen of two hosts at once`],
  [result.foreign === 0, `${result.foreign} connections came from a port that is not of the host's slice`],
  [!result.stray, 'a host connects from a port of another slice: the router does not go by ports'],
  [result.moved >= SHARE * ports, `${result.moved} of ${ports} ports of the moved slice are in use`],
  [result.movedFirstMs <= MOVED_WITHIN_MS, `the slice took ${result.movedFirstMs} ms to move`],
].filter(([holds]) => !holds);
for (const [, what] of failures) console.error(what);
process.exit(failures.length === 0 ? 0 : 1);
