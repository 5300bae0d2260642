// At the limit: what UDP costs where ports are nearly gone, where many processes share them, and on a machine with very many
// interfaces. Each row is a figure of one process in a namespace of its own; `--against DIR` measures another checkout beside it.
import { fork, spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ends } from '../lib/ends.mjs';
import { LimitFigures } from '../lib/limit-figures.mjs';
import { memoryTasks } from '../lib/memory.mjs';
import { addInterfaces, setSysctl } from '../lib/namespace.mjs';
import { Party } from '../lib/party.mjs';
import { withParent } from '../lib/processes.mjs';
import { number } from '../lib/report.mjs';
import { percentiles, quantile } from '../lib/statistics.mjs';
import { hold, latestTurn, transports } from '../lib/transports.mjs';

const setting = process.argv[2]?.startsWith('{') === true ? JSON.parse(process.argv[2]) : undefined;
const library = (name) => fileURLToPath(new URL(`../lib/${name}`, import.meta.url));
const connectx = () => createRequire(join(setting.checkout, 'package.json'))('./dist/index.js');
/** What the lists of sockets have taken so far, in ms of a processor; not known of older checkouts. */
const listing = () =>
  createRequire(join(setting.checkout, 'package.json'))('./build/Release/connectx.node').listingCost?.() ?? 0;
const microseconds = () => Number(process.hrtime.bigint()) / 1000;

/** How long `act` takes, in microseconds; what it throws is what it comes to. */
async function timed(act) {
  const began = microseconds();
  try {
    const value = await act();
    return { us: microseconds() - began, value };
  } catch (error) {
    return { us: microseconds() - began, error };
  }
}

async function closeAll(sockets) {
  for (const socket of sockets) socket.close();
  if (sockets.length > 0) await once(sockets.at(-1), 'close');
}

function expectRefusal({ error }) {
  if (error?.reason !== 'ports-exhausted') throw new Error('not refused', { cause: error });
}

/** In the party's process. */
export const tasks = {
  ...memoryTasks(transports.udp),

  /** So many processes fill the range together. */
  async fill(_, { processes }) {
    const fillers = Array.from({ length: processes }, () => {
      const [file, ...args] = withParent([process.execPath, library('limit-filler.mjs'), process.argv[2]]);
      const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
    });
    for (const { lines } of fillers) await lines.next();
    for (const { child } of fillers) child.stdin.write('begin\n');
    const told = await Promise.all(fillers.map(async ({ lines }) => JSON.parse((await lines.next()).value)));
    for (const { child } of fillers) {
      const exited = once(child, 'exit');
      child.stdin.end();
      await exited;
    }
    const opened = told.flatMap(({ opened: own }) => own).sort(([a], [b]) => a - b);
    const last = opened.slice(-Math.ceil(opened.length / 20)).map(([, us]) => us);
    const most = (name) => Math.max(...told.map((one) => one[name]));
    return { sockets: opened.length, last, refusal: most('refusal'), held: most('held'), pause: most('pause') };
  },

  /** Another process has all ports: the first refusal, and then some a millisecond apart. */
  async foreign({ connect }, { ports }) {
    const [file, ...args] = withParent([process.execPath, library('udp-holder.mjs'), process.argv[2], `${ports}`]);
    const warm = connectx().connectUdp;
    const { remote, source } = ends[setting.family];
    for (let n = 0; n < 500; n++) {
      await closeAll([await warm({ host: remote.host, port: remote.port + 1, localAddress: source })]);
    }
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    // Until that process has come to rest.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const listed = listing();
    const { value: first, longest: held } = await latestTurn(() => timed(connect));
    expectRefusal(first);
    const list = listing() - listed;
    const cpu = process.cpuUsage();
    const began = performance.now();
    const known = [];
    for (let n = 0; n < 300; n++) {
      const one = await timed(connect);
      expectRefusal(one);
      known.push(one.us);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const { user, system } = process.cpuUsage(cpu);
    const busy = (user + system) / 1000 / (performance.now() - began);
    const exited = once(child, 'exit');
    child.stdin.end();
    await exited;
    return { first: first.us, list, held, known, busy };
  },

  /** All ports are this process's own towards one of very many destinations. */
  async destinations({ connect }, { ports, others }) {
    const { connectUdp } = connectx();
    const held = [];
    await hold(transports.udp, connect, held, ports);
    const { source, remote } = ends[setting.family];
    const settled = async () => {
      for (let n = 0; n < 3; n++) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return process.memoryUsage().heapUsed;
    };
    const once = async (n) => {
      const host = `127.${1 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
      await closeAll([await connectUdp({ host, port: remote.port, localAddress: source, localPort: undefined })]);
    };
    // Of the ports that are held, each is shared with these.
    for (let n = 0; n < 300; n++) await once(n);
    const refusals = [];
    for (let n = 0; n < 20; n++) {
      const refused = await timed(connect);
      expectRefusal(refused);
      refusals.push(refused.us);
      for (let m = 0; m < 257; m++) await once(300 + m);
    }
    const before = await settled();
    for (let n = 0; n < others; n++) await once(1000 + n);
    const bytes = ((await settled()) - before) / others;
    await closeAll(held);
    return { refusals, bytes };
  },

  /** The first connect of the process, in us. */
  async first({ connect }) {
    const { us, value, error } = await timed(connect);
    if (error) throw error;
    await closeAll([value]);
    return us;
  },

  /** Very many reservations, and more ranges than one. */
  async ranges(_, { reserved, ranges, connects }) {
    const { connectUdp } = connectx();
    setSysctl('ipv4.ip_local_reserved_ports', Array.from({ length: reserved }, (_, n) => 1024 + 3 * n).join());
    const { source, remote } = ends[setting.family];
    const options = { host: remote.host, port: remote.port, localAddress: source };
    const first = await timed(() => connectUdp(options));
    await closeAll([first.value]);
    const rest = [];
    for (let n = 0; n < connects; n++) {
      const low = 10_000 + 1000 * (n % ranges);
      const one = await timed(() => connectUdp({ ...options, localPortRange: [low, low + 999] }));
      if (one.error) throw one.error;
      rest.push(one.us);
      await closeAll([one.value]);
    }
    return { first: first.us, rest };
  },

  /** A port that is shared, on a machine with so many interfaces; dgram with a port of its own beside it. */
  async interfaces(_, { count, sockets }) {
    const { connectUdpSync } = connectx();
    addInterfaces(count, ['192.0.2.1/24 dev a0']);
    const localAddress = '192.0.2.1';
    const shared = (n) =>
      connectUdpSync({ host: `192.0.2.${2 + (n % 200)}`, port: 9000 + n, localAddress, localPort: 7000 });
    const plain = (n) => {
      const socket = dgram.createSocket({ type: 'udp4', lookup: (host, _family, done) => done(null, host, 4) });
      socket.bind({ address: localAddress, port: 10_000 + n, exclusive: true });
      socket.connect(9000, '192.0.2.9');
      return socket;
    };
    const taken = { shared: [], plain: [] };
    // One other socket on the port all the time.
    const other = shared(5000);
    for (let n = 0; n < sockets; n++) {
      for (const [name, open] of Object.entries({ shared, plain })) {
        const began = microseconds();
        const socket = open(n);
        taken[name].push(microseconds() - began);
        await closeAll([socket]);
      }
    }
    await closeAll([other]);
    const warm = Math.min(200, sockets / 2);
    return { shared: taken.shared.slice(warm), plain: taken.plain.slice(warm) };
  },

  /** So many flows beside as many sockets that are bound to the wildcard address. */
  async usage(_, { count, rounds }) {
    const child = fork(library('limit-crowd.mjs'), [process.argv[2], `${count}`]);
    await once(child, 'message');
    const { portUsage, PortMonitor } = connectx();
    await portUsage({ protocol: 'udp' });
    const times = [];
    const holds = [];
    for (let n = 0; n < rounds; n++) {
      const { value, longest } = await latestTurn(() => timed(() => portUsage({ protocol: 'udp' })));
      if (value.value?.length !== count) throw new Error(`${value.value?.length} rows`, { cause: value.error });
      times.push(value.us / 1000);
      holds.push(longest);
    }
    // A sample of the monitor, of all sockets, once in its interval of 10 seconds.
    const monitor = new PortMonitor();
    await once(monitor, 'sample');
    await monitor.close();
    const samples = [];
    for (let n = 0; n < rounds; n++) {
      const cpu = process.cpuUsage();
      const one = new PortMonitor();
      await once(one, 'sample');
      await one.close();
      const { user, system } = process.cpuUsage(cpu);
      samples.push((user + system) / 1000 / 10_000);
    }
    const exited = once(child, 'exit');
    child.kill();
    await exited;
    return { times, holds, samples };
  },
};

const RANGE = [20_000, 29_999];
const PORTS = RANGE[1] - RANGE[0] + 1;
/** The kernel's table is read off the event loop, beside it. */
const PARTY = { family: 4, tasks: 'limit-udp', onAllCores: true };

export const title = 'limit-udp: what UDP costs where ports are nearly gone, and where many processes share them';

/** Each measurement in a fresh process and namespace. */
async function measure(options, name, argument, { range, rounds = 1, peer = 'connectUdp', execArgv = [] }) {
  const found = [];
  for (const { label, ...one } of options.contestants([peer])) {
    const taken = [];
    for (let n = 0; n < rounds; n++) {
      const party = await Party.start({ ...one, ...PARTY, label, range }, { execArgv });
      try {
        taken.push(await party.call(name, argument));
      } finally {
        await party.stop();
      }
    }
    found.push({ label, taken });
  }
  return found;
}

export async function run(options) {
  const rows = [];
  const targets = [];
  const figures = new LimitFigures();
  const digits = (value) => (value === null ? '-' : number(value, value < 10 ? 2 : 0));
  /** A figure: the values of all rounds, and the target for the first contestant, which is this checkout. */
  const figure = (what, unit, label, values, most) => {
    const summary = percentiles(values);
    const { median, p99 } = summary;
    const worst = Math.max(...values);
    figures.add(label, what, unit, summary, most);
    rows.push([what, label, unit, digits(median), digits(p99), digits(worst), most === undefined ? '-' : `${most}`]);
    if (label === 'connectUdp' && most !== undefined)
      targets.push({ what: `${what}, ${unit}, p50`, value: median, most });
  };
  const rounds = options.atMost({ quick: 2, full: 7 });

  const alone = await measure(options, 'fill', { processes: 1 }, { range: RANGE, rounds });
  const together = await measure(options, 'fill', { processes: 4 }, { range: RANGE, rounds });
  for (const [index, { label, taken }] of together.entries()) {
    const one = alone[index].taken;
    const last = quantile(
      one.flatMap(({ last: us }) => us),
      0.5,
    );
    for (const { sockets } of [...one, ...taken])
      if (sockets !== PORTS) throw new Error(`${sockets} of ${PORTS} ports`);
    figure(
      '1 process, the last 5 % of 10,000 ports',
      'us',
      label,
      one.flatMap(({ last: us }) => us),
    );
    figure(
      '4 processes, the last 5 % of 10,000 ports',
      'us',
      label,
      taken.flatMap(({ last: us }) => us),
      Math.round(3 * last),
    );
    figure(
      '1 process, first refusal',
      'ms',
      label,
      one.map(({ refusal }) => refusal / 1000),
    );
    figure(
      '4 processes, first refusal of the slowest',
      'ms',
      label,
      taken.map(({ refusal }) => refusal / 1000),
      5,
    );
    figure(
      '1 process, the longest turn of the event loop',
      'ms of CPU',
      label,
      one.map(({ held }) => held),
    );
    figure(
      '1 process, the longest pause for garbage collection, which is in some turn',
      'ms',
      label,
      one.map(({ pause }) => pause),
    );
    figure(
      '4 processes, the longest turn of the event loop, of the worst',
      'ms of CPU',
      label,
      taken.map(({ held }) => held),
      5,
    );
  }

  for (const { label, taken } of await measure(options, 'foreign', { ports: PORTS }, { range: RANGE, rounds })) {
    figure(
      '10,000 ports of another process, first refusal',
      'ms',
      label,
      taken.map(({ first }) => first / 1000),
      5,
    );
    if (taken.every(({ list }) => list > 0))
      figure(
        '10,000 ports of another process, of which two threads take for the list of sockets',
        'ms of CPU',
        label,
        taken.map(({ list }) => list),
      );
    figure(
      '10,000 ports of another process, event loop held',
      'ms',
      label,
      taken.map(({ held }) => held),
      5,
    );
    figure(
      '10,000 ports of another process, then',
      'us',
      label,
      taken.flatMap(({ known }) => known),
    );
    figure(
      '10,000 ports of another process, 1,000 refusals a second',
      'processors',
      label,
      taken.map(({ busy }) => busy),
    );
  }

  const many = { ports: 15_000, others: options.quick ? 5000 : 20_000 };
  for (const { label, taken } of await measure(options, 'destinations', many, { range: [20_000, 34_999] })) {
    figure(
      '15,000 own ports, after 257 other destinations, refusal',
      'ms',
      label,
      taken.flatMap(({ refusals }) => refusals.map((us) => us / 1000)),
      1,
    );
    figure(
      '15,000 own ports, a destination seen once',
      'bytes of heap',
      label,
      taken.map(({ bytes }) => bytes),
      20,
    );
  }

  const ranges = { reserved: 3500, ranges: 40, connects: 1000 };
  const ofCore = (name, argument, more) =>
    measure({ contestants: (peers) => options.contestants(peers).slice(0, 1) }, name, argument, {
      peer: 'dgram, bind + connect',
      rounds,
      ...more,
    });
  const [{ taken: firstOfCore }] = await ofCore('first');
  const firsts = await measure(options, 'first', undefined, { rounds });
  for (const [index, { label, taken }] of (await measure(options, 'ranges', ranges, { rounds })).entries()) {
    if (index === 0)
      figure(
        'dgram, the first bind and connect of a process',
        'ms',
        label,
        firstOfCore.map((us) => us / 1000),
      );
    figure(
      'the first connect of a process',
      'ms',
      label,
      firsts[index].taken.map((us) => us / 1000),
    );
    figure(
      '3,500 reserved ports, first connect',
      'ms',
      label,
      taken.map(({ first }) => first / 1000),
      5,
    );
    figure(
      '3,500 reserved ports, 40 ranges, a connect',
      'us',
      label,
      taken.flatMap(({ rest }) => rest),
      60,
    );
  }

  const interfaces = { count: 100, sockets: 1000 };
  for (const { label, taken } of await measure(options, 'interfaces', interfaces, {})) {
    const [{ shared, plain }] = taken;
    figure('100 interfaces, dgram', 'us', label, plain);
    figure('100 interfaces, a shared localPort', 'us', label, shared);
    figure(
      '100 interfaces, a shared localPort / dgram',
      'times',
      label,
      shared.map((us, n) => us / plain[n]),
      5,
    );
  }

  const usage = { count: 9000, rounds: options.atMost({ quick: 3, full: 11 }) };
  for (const { label, taken } of await measure(options, 'usage', usage, {})) {
    figure(
      'portUsage, 9,000 flows beside 9,000 servers',
      'ms',
      label,
      taken.flatMap(({ times }) => times),
      150,
    );
    figure(
      'portUsage, event loop held',
      'ms',
      label,
      taken.flatMap(({ holds }) => holds),
      10,
    );
    figure(
      'PortMonitor, every 10 s',
      '% of a processor',
      label,
      taken.flatMap(({ samples }) => samples.map((share) => 100 * share)),
      2,
    );
  }

  const execArgv = ['--min-semi-space-size=1', '--max-semi-space-size=1'];
  const weighed = await measure(options, 'weigh', 5000, { peer: 'connectUdp', rounds, execArgv });
  const core = await ofCore('weigh', 5000, { execArgv });
  for (const { label, taken } of weighed) {
    figure(
      'heap of a connected socket',
      'bytes',
      label,
      taken.map(({ heap }) => heap),
    );
    figure(
      'heap of a connected socket / dgram',
      'times',
      label,
      taken.map(({ heap }, n) => heap / core[0].taken[n].heap),
      1.2,
    );
  }

  const section = {
    setting: `IPv4, ${rounds} rounds, each in a fresh process and network namespace`,
    text: [0, 1, 2],
    columns: ['', 'of', 'in', 'p50', 'p99', 'worst', 'target'],
    rows,
    data: { rows, figures: figures.list() },
  };
  return { sections: [section], targets };
}
