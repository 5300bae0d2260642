// A million connected UDP flows from one source address, and as many TCP connections as there is memory for: `npm run bench:million`.
// See docs/million.md for what it does, and for its figures.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { commitOf, machine } from '../lib/machine.mjs';
import { setSysctl } from '../lib/namespace.mjs';
import { addressesOf, endsOf } from './ends.mjs';
import { measure } from './measure.mjs';
import { filesLeft, socketLimits } from './memory.mjs';
import { factsInside, runInside } from './namespace.mjs';
import { mostFlows, planFlows } from './plan.mjs';
import { Progress } from './progress.mjs';
import { report } from './report.mjs';
import { techniques } from './techniques.mjs';

/** Core finds the last ports of the whole range so slowly that where it ends is shown with so many. */
const NARROW_PORTS = 4096;

const FULL_DESTINATIONS = 4;

const help = `npm run bench:million -- [options]
  --udp N            UDP flows (default: 1000000; 0: none)
  --tcp N            TCP connections (default: 1000000, or what the memory holds; 0: none)
  --family 4|6       address family (default: 4)
  --quick            20000 UDP flows and 10000 TCP connections over 2000 ports: a look, in seconds
  --range LOW-HIGH   the ephemeral range (default: 1024-65535)
  --fill PERCENT     so full gets a destination at most (default: 78); there are as many destinations as that takes
  --processes N      at least so many client processes (default: 2; more where descriptors run out)
  --floor GIB        stop opening when less memory than this is available (default: 2.5)
  --seconds N        stop opening after this time (default: 1200)
  --no-full          leave out four destinations of which every port is used
  --no-control       leave out what core does in the same namespace
  --control-seconds N  stop core after this time (default: 30)
  --json FILE        where the figures go; \`node bench/pages.mjs FILE\` puts them on docs/million.md`;

const { values } = parseArgs({
  options: {
    udp: { type: 'string' },
    tcp: { type: 'string' },
    family: { type: 'string', default: '4' },
    quick: { type: 'boolean', default: false },
    range: { type: 'string' },
    fill: { type: 'string', default: '78' },
    processes: { type: 'string', default: '2' },
    floor: { type: 'string', default: '2.5' },
    seconds: { type: 'string', default: '1200' },
    'no-full': { type: 'boolean', default: false },
    'no-control': { type: 'boolean', default: false },
    'control-seconds': { type: 'string', default: '30' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const settings = readSettings();
if (values.help || settings === undefined) {
  console.log(help);
  process.exit(values.help ? 0 : 2);
}

const descriptors = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || 2 ** 20;
// What the whole machine has; the plan inside is the one outside.
const facts = factsInside() ?? { pageLimits: socketLimits(), files: filesLeft() };
const jobs = plannedJobs().filter(({ kind }) => !values[`no-${kind}`]);

if (factsInside() === undefined) {
  const addresses = new Set(jobs.flatMap(({ ends }) => addressesOf(ends)));
  process.exit(await runInside([...addresses], facts));
}

// The clients and servers are killed with this process (withParent), and so are their sockets.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    console.log(`\n${signal}: everything is closed`);
    process.exit(130);
  });
}

setSysctl('core.somaxconn', 65535);
setSysctl('ipv4.tcp_max_syn_backlog', 65535);

const progress = new Progress();
const time = new Date().toISOString();
const memory = totalmem();
progress.log(`${time}  ${machine}, ${(memory / 2 ** 30).toFixed(1)} GiB, ${descriptors} descriptors a process`);
const runs = [];
for (const { title, range, ...job } of jobs) {
  progress.log(`\n${title}`);
  setSysctl('ipv4.ip_local_port_range', range.join(' '));
  const run = await measure({ ...job, pageLimits: facts.pageLimits, descriptors, progress });
  runs.push({ title, kind: job.kind, ...run });
}

const commit = commitOf(import.meta.dirname);
const figures = { time, machine, commit, memory, descriptors, settings, runs };
progress.log(`\n${report(figures)}`);
if (values.json !== undefined) {
  mkdirSync(dirname(values.json), { recursive: true });
  writeFileSync(values.json, `${JSON.stringify(figures, null, 1)}\n`);
}
process.exit(runs.some(({ checks }) => checks.some(({ holds }) => !holds)) ? 1 : 0);

function readSettings() {
  const defaults = values.quick
    ? { udp: 20_000, tcp: 10_000, range: '20000-21999' }
    : { udp: 1e6, tcp: 1e6, range: '1024-65535' };
  const range = (values.range ?? defaults.range).split('-').map(Number);
  const read = {
    udp: Number(values.udp ?? defaults.udp),
    tcp: Number(values.tcp ?? defaults.tcp),
    family: Number(values.family),
    range,
    fill: Number(values.fill) / 100,
    processes: Number(values.processes),
    floor: Number(values.floor) * 2 ** 30,
    seconds: Number(values.seconds),
    controlSeconds: Number(values['control-seconds']),
  };
  const whole = [read.udp, read.tcp, read.processes, ...range].every((value) => Number.isInteger(value) && value >= 0);
  const positive = [read.fill, read.processes, read.floor, read.seconds, read.controlSeconds].every(
    (value) => value > 0,
  );
  const sound = range.length === 2 && range[0] >= 1024 && range[0] < range[1] && range[1] <= 65535;
  return whole && positive && read.fill <= 1 && sound && [4, 6].includes(read.family) ? read : undefined;
}

function plannedJobs() {
  const { udp, tcp, range } = settings;
  const jobs = [];
  if (udp > 0) {
    // One more than there are ports.
    jobs.push(control('dgram', 'dgram: bind() to the source, connect()', Math.min(udp, portsIn(range) + 1), range));
    jobs.push(main('connectUdp', 'connectUdp(), localAddress', udp));
    jobs.push(full('connectUdp', 'connectUdp(), localAddress, to the last port'));
  }
  if (tcp > 0) {
    const title = 'net.connect(), localAddress';
    const narrow = [range[0], Math.min(range[1], range[0] + NARROW_PORTS - 1)];
    jobs.push(control('net', title, Math.min(tcp, portsIn(narrow) + 1), narrow));
    if (narrow[1] < range[1]) jobs.push(control('net', title, Math.min(tcp, portsIn(range) + 1), range));
    jobs.push(main('connect', 'connect(), localAddress', tcp));
    jobs.push(full('connect', 'connect(), localAddress, to the last port'));
  }
  return jobs;
}

function portsIn([low, high]) {
  return high - low + 1;
}

function main(technique, title, flows) {
  return job({
    technique,
    title,
    flows,
    range: settings.range,
    seconds: settings.seconds,
    errorLimit: 100,
    kind: 'main',
  });
}

/** Every port towards each of a few destinations, and one flow more, which must be refused. */
function full(technique, title) {
  const { range, seconds } = settings;
  const flows = FULL_DESTINATIONS * portsIn(range) + 1;
  return job({
    technique,
    title,
    flows,
    destinations: FULL_DESTINATIONS,
    range,
    seconds,
    errorLimit: 100,
    kind: 'full',
  });
}

/** What core does. */
function control(technique, title, flows, range) {
  const seconds = settings.controlSeconds;
  return job({ technique, title: `control: ${title}`, flows, range, seconds, errorLimit: 1, kind: 'control' });
}

function job({ technique, flows, range, destinations, ...rest }) {
  const { family, processes, fill, floor } = settings;
  const { protocol } = techniques[technique];
  const wanted = Math.min(flows, mostFlows(protocol, facts.files));
  const plan = planFlows({ flows: wanted, ports: portsIn(range), descriptors, processes, fill, destinations });
  const ends = endsOf(protocol, family, plan.destinations);
  return { technique, plan, ends, range, family, floor, ...rest };
}
