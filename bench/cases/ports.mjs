// What does it cost to see the ports in use? Against ss(8) and awk, which do the same grouping.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setSysctl } from '../lib/namespace.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { summary } from '../lib/statistics.mjs';

const DESTINATIONS = 3;
const EACH = 6000;
/** To each destination, beside the connections. */
const WAITING = 200;
const DATAGRAMS = 200;
const LISTENERS = 20;
const [LOW, HIGH] = [20_000, 29_999];

// Both ends are in one process: 12,000 descriptors.
const HOLDER = `
  const net = require('node:net');
  const dgram = require('node:dgram');
  const { once } = require('node:events');
  const host = process.argv[1];
  const [count, waiting, datagrams, listeners] = process.argv.slice(2).map(Number);
  const server = net.createServer((socket) => socket.on('error', () => {})).listen(5353, host, 4096, async () => {
    for (let open = 0; open < count; open += 100) {
      await Promise.all(Array.from({ length: 100 }, () => new Promise((resolve, reject) => {
        const socket = net.connect({ host, port: 5353 }, resolve);
        socket.on('error', reject);
      })));
    }
    for (let n = 0; n < waiting; n++) {
      const socket = net.connect({ host, port: 5353 });
      await once(socket, 'connect');
      socket.end().resume();
      await once(socket, 'close');
    }
    for (let n = 0; n < datagrams; n++) {
      const socket = dgram.createSocket('udp4');
      socket.connect(5353, host);
      await once(socket, 'connect');
    }
    for (let n = 0; n < listeners; n++) await once(net.createServer().listen(6000 + n, host), 'listening');
    process.stdout.write('ready');
  });
  process.stdin.resume().on('end', () => process.exit());
`;

const AWK = `
  $1 != "LISTEN" && $1 != "UNCONN" { n = split($4, l, ":"); port = l[n] + 0
    if (port < ${LOW} || port > ${HIGH}) next
    sub(/:[0-9]+$/, "", $4); used[$4 " " $5]++; if ($1 == "TIME-WAIT") waiting[$4 " " $5]++ }
  END { for (key in used) print key, used[key], waiting[key] + 0 }
`;

/** What it gives, how long it takes, and the longest time between two turns of the event loop meanwhile; milliseconds. */
async function watched(act) {
  const start = performance.now();
  let last = start;
  let gap = 0;
  let isOver = false;
  const turn = () => {
    const now = performance.now();
    gap = Math.max(gap, now - last);
    last = now;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const found = await act();
  const took = performance.now() - start;
  isOver = true;
  await new Promise((resolve) => setImmediate(resolve));
  return { found, took, gap };
}

export const title = `ports: ${DESTINATIONS * EACH} connections, counted by source and destination`;

export async function run({ quick, checkout }) {
  const rounds = quick ? 8 : 40;
  const { portUsage } = createRequire(join(checkout, 'package.json'))(join(checkout, 'dist/index.js'));
  await promisify(execFile)('ip', ['link', 'set', 'lo', 'up']);
  setSysctl('ipv4.ip_local_port_range', `${LOW} ${HIGH}`);
  const holders = [];
  try {
    for (let n = 1; n <= DESTINATIONS; n++) {
      const counts = [EACH, WAITING, DATAGRAMS, LISTENERS].map(String);
      const child = spawn(process.execPath, ['-e', HOLDER, `127.0.1.${n}`, ...counts], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      holders.push(child);
      await once(child.stdout, 'data');
    }
    const ss = async (protocol = 'tcp') => {
      const command = `ss -H${protocol[0]}an | awk "$0"`;
      const { stdout } = await promisify(execFile)('sh', ['-c', command, AWK], { maxBuffer: 2 ** 26 });
      return stdout.trim().split('\n').sort();
    };
    const ours = async (protocol = 'tcp') => {
      const usage = await portUsage({ protocol });
      return usage
        .map((one) => `${one.localAddress} ${one.remoteAddress}:${one.remotePort} ${one.used} ${one.timeWait}`)
        .sort();
    };
    const times = { ss: [], ours: [], held: [], idle: [] };
    const equal = [(await ss('udp')).join() === (await ours('udp')).join()];
    for (let round = 0; round < rounds + 2; round++) {
      const start = performance.now();
      const theirs = await ss();
      const spent = performance.now() - start;
      const { found, took, gap } = await watched(() => ours());
      // The same time with nothing to do: what the machine itself takes away.
      const idle = await watched(() => new Promise((resolve) => setTimeout(resolve, took)));
      equal.push(
        found.join() === theirs.join() &&
          found.length === DESTINATIONS &&
          found.every((line) => line.endsWith(` ${EACH + WAITING} ${WAITING}`)),
      );
      // The first ones warm up.
      if (round < 2) continue;
      times.ss.push(spent);
      times.ours.push(took);
      times.held.push(gap);
      times.idle.push(idle.gap);
    }
    const [a, b] = [summary(times.ss), summary(times.ours)];
    const idle = { ...summary(times.idle), most: Math.max(...times.idle) };
    const held = { ...summary(times.held), most: Math.max(...times.held) };
    const differing = equal.filter((same) => !same).length;
    return {
      sections: [
        {
          setting:
            `${rounds} rounds, ${DESTINATIONS} destinations; to each ${EACH} connections, ${WAITING} in TIME-WAIT, ` +
            `${DATAGRAMS} UDP sockets, and beside them ${LISTENERS} listeners; in milliseconds`,
          columns: ['', 'median', 'quartiles', 'loop held', 'quartiles', 'most'],
          rows: [
            ['ss -Htan | awk', number(a.median, 1), spread(a, 1), '', '', ''],
            [
              'portUsage()',
              number(b.median, 1),
              spread(b, 1),
              number(held.median, 2),
              spread(held, 2),
              number(held.most, 2),
            ],
            ['nothing', '', '', number(idle.median, 2), spread(idle, 2), number(idle.most, 2)],
            ['', ratio(b.median / a.median), '', '', '', ''],
          ],
          data: { rounds, ss: a, portUsage: b, held, idle, differing },
        },
      ],
      targets: [
        { what: 'portUsage() in times of ss | awk', value: b.median / a.median, most: 0.5 },
        { what: 'the longest time between two turns of the event loop, ms, median', value: held.median, most: 10 },
        { what: 'rounds in which the counts differ', value: differing, most: 0 },
      ],
    };
  } finally {
    for (const child of holders) child.stdin.end();
    await Promise.all(holders.filter(({ exitCode }) => exitCode === null).map((child) => once(child, 'close')));
  }
}
