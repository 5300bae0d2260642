// What does it cost to see the ports in use, by how many there are? Against ss(8) and awk, which do the same grouping.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setSysctl } from '../lib/namespace.mjs';
import { withParent } from '../lib/processes.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { Server } from '../lib/server.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';
import { longestTurn } from '../lib/transports.mjs';

const holder = fileURLToPath(new URL('../lib/ports-holder.mjs', import.meta.url));

/** A process for each holds the connections to it. */
const DESTINATIONS = 4;
const SIZES = [1000, 2500, 5000, 10_000, 25_000, 50_000];
/** To each destination, beside the connections. */
const BESIDE = { waiting: 200, datagrams: 200, listeners: 20 };
const [LOW, HIGH] = [20_000, 39_999];

const AWK = `
  $1 != "LISTEN" && $1 != "UNCONN" { n = split($4, l, ":"); port = l[n] + 0
    if (port < ${LOW} || port > ${HIGH}) next
    sub(/:[0-9]+$/, "", $4); used[$4 " " $5]++; if ($1 == "TIME-WAIT") waiting[$4 " " $5]++ }
  END { for (key in used) print key, used[key], waiting[key] + 0 }
`;

const command = promisify(execFile);

export const title = `ports: connections counted by source and destination, of ${DESTINATIONS} processes`;

export async function run({ atMost, checkout }) {
  const rounds = atMost({ quick: 4, full: 15 });
  const { portUsage } = createRequire(join(checkout, 'package.json'))(join(checkout, 'dist/index.js'));
  await command('ip', ['link', 'set', 'lo', 'up']);
  setSysctl('ipv4.ip_local_port_range', `${LOW} ${HIGH}`);
  // On loopback a new connection would take over what is in TIME-WAIT (tcp_tw_reuse 2), which is counted here.
  setSysctl('ipv4.tcp_tw_reuse', 0);
  setSysctl('core.somaxconn', 65535);
  setSysctl('ipv4.tcp_max_syn_backlog', 65535);
  const ways = {
    async ss(protocol = 'tcp') {
      const { stdout } = await command('sh', ['-c', `ss -H${protocol[0]}an | awk "$0"`, AWK], { maxBuffer: 2 ** 26 });
      return stdout.trim().split('\n').sort();
    },
    async ours(protocol = 'tcp') {
      const usage = await portUsage({ protocol });
      return usage
        .map((one) => `${one.localAddress} ${one.remoteAddress}:${one.remotePort} ${one.used} ${one.timeWait}`)
        .sort();
    },
  };
  const targets = [];
  const rows = [];
  const servers = [];
  const holders = [];
  try {
    for (let n = 1; n <= DESTINATIONS; n++) {
      const host = `127.0.1.${n}`;
      servers.push(await Server.start({ host, port: 5353 }));
      holders.push(await Holder.start(host, BESIDE, servers.at(-1)));
    }
    for (const size of SIZES) {
      await Promise.all(holders.map((one) => one.hold(size / DESTINATIONS)));
      const row = { size, rounds, ...(await compare(ways, size / DESTINATIONS, rounds)) };
      rows.push(row);
      targets.push(...targetsOf(row));
    }
  } finally {
    await Promise.all(holders.map((one) => one.stop()));
    for (const server of servers) server.stop();
  }
  const section = {
    setting:
      `connections to ${DESTINATIONS} destinations, ${rounds} rounds; to each beside them ${BESIDE.waiting} in TIME-WAIT, ` +
      `${BESIDE.datagrams} UDP sockets, ${BESIDE.listeners} listeners; milliseconds`,
    columns: [
      'connections',
      'ss -Htan | awk',
      'quartiles',
      'portUsage()',
      'quartiles',
      'ratio',
      'loop held',
      'quartiles',
      'with nothing to do',
    ],
    text: [],
    rows: rows.map(({ size, ss, ours, over, held, idle }) => [
      number(size, 0),
      number(ss.median, 1),
      spread(ss, 1),
      number(ours.median, 1),
      spread(ours, 1),
      ratio(over.median),
      number(held.median, 2),
      spread(held, 2),
      number(idle.median, 2),
    ]),
    data: { rows },
  };
  return { sections: [section], targets };
}

function targetsOf({ size, over, held, differing }) {
  const where = `${number(size, 0)} connections`;
  return [
    { what: `${where}: portUsage() in times of ss | awk`, value: over.median, most: 0.5 },
    { what: `${where}: the longest time between two turns of the event loop, ms`, value: held.median, most: 10 },
    { what: `${where}: rounds in which the counts differ`, value: differing, most: 0 },
  ];
}

/** `each`: connections to each destination. */
async function compare({ ss, ours }, each, rounds) {
  const times = { ss: [], ours: [], held: [], idle: [] };
  const equal = [(await ss('udp')).join() === (await ours('udp')).join()];
  const end = ` ${each + BESIDE.waiting} ${BESIDE.waiting}`;
  // The first one warms up.
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    const theirs = await ss();
    const spent = performance.now() - start;
    const begun = performance.now();
    const { value: found, longest } = await longestTurn(() => ours());
    const took = performance.now() - begun;
    // The same time with nothing to do: what the machine itself takes away.
    const idle = await longestTurn(() => new Promise((resolve) => setTimeout(resolve, took)));
    equal.push(
      found.join() === theirs.join() && found.length === DESTINATIONS && found.every((line) => line.endsWith(end)),
    );
    if (round === 0) continue;
    times.ss.push(spent);
    times.ours.push(took);
    times.held.push(longest);
    times.idle.push(idle.longest);
  }
  return {
    ss: summary(times.ss),
    ours: summary(times.ours),
    over: pairedRatio(times.ours, times.ss),
    held: { ...summary(times.held), most: Math.max(...times.held) },
    idle: { ...summary(times.idle), most: Math.max(...times.idle) },
    differing: equal.filter((same) => !same).length,
  };
}

class Holder {
  #child;

  /** `server` has to accept what is opened only to go to TIME-WAIT. */
  static async start(host, { waiting, datagrams, listeners }, server) {
    const one = new Holder();
    const [file, ...args] = withParent([
      process.execPath,
      holder,
      host,
      ...[waiting, datagrams, listeners].map(String),
    ]);
    one.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(one.#child.stdout, 'data');
    await server.drain(waiting);
    one.#child.stdin.write('wait\n');
    await once(one.#child.stdout, 'data');
    return one;
  }

  async hold(count) {
    this.#child.stdin.write(`${count}\n`);
    await once(this.#child.stdout, 'data');
  }

  async stop() {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}
