// A client: opens flows at a steady rate, more than there are ports for, and closes them some time later. Argument, as JSON:
// { name, seed, rate, hold, plain, faults }. It tells its parent once a second what has come of it, until it is told to stop.
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { capabilities, listenerConflicts, PortMonitor, portUsage } from 'connectx';
import { Faults } from './faults.mjs';
import { Ledger } from './ledger.mjs';
import { SERVER } from './network.mjs';
import { Chance } from './random.mjs';
import { tcpFlow } from './tcp.mjs';
import { udpFlow } from './udp.mjs';

const { name, seed, rate, hold, plain = false, faults: faulty = false } = JSON.parse(process.argv[2]);
const TICK_MS = 50;
const MOST_A_TICK = 4;
/** Flows at the same time. */
const MOST = 600;
const chance = new Chance(seed);
const ledger = new Ledger({ plain, faults: faulty });
const faults = faulty ? new Faults(chance) : undefined;
const resting = new Set();
const client = {
  name,
  chance,
  ledger,
  faults,
  hold,
  /** In ms: how long the event loop has been kept from going round, at most. */
  longestTurn: 0,
  /** Those that Node has a handle of. */
  sockets: new Set(),
  /** Then flows end as soon as they have begun. */
  stopping: true,
  /** Waits for so long, or until the socket is closed, or until all is to end. No promise of either: it would keep all that ever waited. */
  rest(ms, socket) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        resting.delete(wake);
        socket.off('close', wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      resting.add(wake);
      socket.once('close', wake);
    });
  },
};

process.on('warning', (warning) => ledger.count(`warning ${warning.code ?? warning.name}`));

/** Those of netlink are kept to ask the kernel with: each is opened when it is first needed. */
function descriptors() {
  const netlink = readFileSync('/proc/self/net/netlink', 'utf8');
  const inodes = new Set(netlink.split('\n').map((line) => line.trim().split(/\s+/).at(-1)));
  const counts = { netlink: 0, others: 0 };
  for (const fd of readdirSync('/proc/self/fd')) {
    let target = '';
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`);
    } catch (error) {
      // The one by which the folder was read.
      if (error.code !== 'ENOENT') throw error;
      continue;
    }
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    counts[inode !== undefined && inodes.has(inode) ? 'netlink' : 'others']++;
  }
  return counts;
}

/** What is not a flow's. */
function handles() {
  const counts = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/^(TCP|UDP|Pipe|Connect|GetAddrInfo|FSReq|Udp)/i.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

let running = 0;
async function run(flow) {
  running++;
  try {
    await flow(client);
  } catch (error) {
    ledger.wrong(`${flow.name}: ${error.stack}`);
  }
  running--;
}

async function ask() {
  try {
    const usage = await portUsage({ remotePort: SERVER });
    const odd = usage.find(({ used, capacity }) => used > capacity);
    if (odd !== undefined) ledger.wrong(`portUsage: ${JSON.stringify(odd)}`);
    await listenerConflicts();
    ledger.count('surveys');
  } catch (error) {
    ledger.failed('survey', error);
  }
}

/** Everything once, that what is opened once and for all is open. */
async function warmUp() {
  for (let n = 0; n < 40; n++) {
    await Promise.all([run(tcpFlow), run(udpFlow)]);
  }
  if (!plain) await ask();
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

function sample() {
  globalThis.gc();
  const { heapUsed, external, rss } = process.memoryUsage();
  return {
    descriptors: descriptors(),
    sockets: client.sockets.size,
    running,
    heap: heapUsed + external,
    rss,
    handles: handles(),
  };
}

function tell(more = {}, done = () => {}) {
  faults?.stop();
  if (faults !== undefined) {
    ledger.count('faults', faults.hits);
    faults.hits = 0;
  }
  process.send({ what: 'told', name, ...ledger.take(), sample: sample(), ...more }, done);
}

process.on('disconnect', () => {
  if (!client.stopping) process.exit(1);
});
await warmUp();
client.stopping = false;
const monitor = plain ? undefined : new PortMonitor({ interval: 2000, filter: { remotePort: SERVER } });
monitor?.on('error', (error) => ledger.failed('monitor', error));
const before = { descriptors: descriptors(), handles: handles() };
process.send({ what: 'ready', name });

const telling = setInterval(() => tell(), 1000);
// So that the ports are taken soon.
for (let n = 0; !plain && n < MOST / 3; n++) void run(chance.is(0.5) ? tcpFlow : udpFlow);
let due = 0;
let last = performance.now();
const ticking = setInterval(() => {
  const time = performance.now();
  client.longestTurn = Math.max(client.longestTurn, time - last);
  // connectUdpSync waits for a port that is locked, and the flows that are open are to be heard in between.
  due = Math.min(due + ((time - last) / 1000) * rate, MOST_A_TICK);
  last = time;
  for (; due >= 1; due--) {
    if (running >= MOST) continue;
    if (chance.is(0.3)) faults?.next();
    void run(chance.is(0.5) ? tcpFlow : udpFlow);
  }
  if (!plain && chance.is(0.02)) void ask();
}, TICK_MS);

const [{ what }] = await once(process, 'message');
if (what !== 'stop') throw new Error(`told to ${what}`);
clearInterval(ticking);
faults?.stop();
client.stopping = true;
for (const wake of resting) wake();
const deadline = performance.now() + 40_000;
while (running > 0 && performance.now() < deadline) await pause(20);
await monitor?.close();
clearInterval(telling);
if (running > 0) ledger.wrong(`${running} flows do not end`);
// Where a fault has closed what is kept open, it is opened again.
await warmUp();
// What is closed is gone a moment later.
const after = () => ({ descriptors: descriptors(), handles: handles() });
for (let turn = 0; turn < 500 && JSON.stringify(after()) !== JSON.stringify(before); turn++) await pause(2);
// And then nothing is left that would keep this process from ending.
tell({ what: 'ended', before, after: after(), udpShared: plain ? undefined : capabilities().udpShared }, () =>
  process.disconnect(),
);
