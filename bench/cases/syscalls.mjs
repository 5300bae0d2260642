// Which system calls does a connection make, from the call to 'connect'? Counted by strace, so it needs no repetition.
import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Party } from '../lib/party.mjs';
import { works } from '../../scripts/lib.mjs';
import { number } from '../lib/report.mjs';
import { median } from '../lib/statistics.mjs';
import { hold, transports } from '../lib/transports.mjs';

const PLAIN = 'net.connect';
const CORE = 'net.connect, localAddress';
const CORE_PORT = 'net.connect, localAddress + localPort';
/** Each beside what core does for the same. */
const PAIRS = new Map([
  ['connectx', PLAIN],
  ['connectx, localAddress', CORE],
  ['connectx, localAddress + localPort', CORE_PORT],
]);
const PEERS = [PLAIN, CORE, CORE_PORT, ...PAIRS.keys()];
const UDP_PEERS = ['dgram, bind + connect', 'connectUdp', 'connectUdpSync', "the article's algorithm"];
const CONNECTIONS = 200;

// No descriptor has this number: closing it shows in the trace, and does nothing.
const NOWHERE = 0x7fffffff;
function mark() {
  try {
    closeSync(NOWHERE);
  } catch {
    // EBADF, as meant.
  }
}

/** In the party's process. */
export const tasks = {
  async connections({ connect }, { transport: name, count }) {
    const transport = transports[name];
    const open = async (total) => {
      const held = [];
      await hold(transport, connect, held, total, 1);
      return held;
    };
    const end = (held) => Promise.all(held.map((socket) => transport.end(socket)));
    await end(await open(200));
    const held = [];
    for (let n = 0; n < count; n++) {
      mark();
      held.push(...(await open(1)));
    }
    mark();
    await end(held);
  },
};

/**
 * For each connection, the calls by name, between two marks. Waiting for events is left out: it depends on what else is going on.
 * So does what a tracer makes slow: connectx looks at how long a connect(2) takes, and now and then has one more to make.
 */
function count(trace) {
  const [, ...connections] = trace.split(`close(${NOWHERE})`);
  return connections.slice(0, -1).map((lines) => {
    const calls = {};
    for (const line of lines.split('\n')) {
      const name = /^(\w+)\(/.exec(line)?.[1];
      if (name !== undefined && !/^epoll_p?wait/.test(name)) calls[name] = (calls[name] ?? 0) + 1;
    }
    return calls;
  });
}

async function trace(setting, transport, directory) {
  const file = join(directory, 'trace');
  const wrap = ['strace', '-qq', '-o', file, '-e', 'trace=%network,%desc', '-s', '0'];
  const party = await Party.start({ ...setting, tasks: 'syscalls' }, { wrap });
  try {
    await party.call('connections', { transport, count: CONNECTIONS });
  } finally {
    await party.stop();
  }
  const each = count(readFileSync(file, 'utf8'));
  if (each.length !== CONNECTIONS) throw new Error(`${each.length} connections in the trace of ${CONNECTIONS}`);
  const names = new Set(each.flatMap((calls) => Object.keys(calls)));
  const calls = [...names]
    .map((name) => [name, median(each.map((one) => one[name] ?? 0))])
    .filter(([, times]) => times > 0);
  return { calls, total: calls.reduce((sum, [, times]) => sum + times, 0) };
}

const inWords = ([name, times]) => (times === 1 ? name : `${name} x${number(times, 1).replace('.0', '')}`);

export const title = `syscalls: system calls a connection, until connected (strace, median of ${CONNECTIONS} connections, one at a time)`;

export async function run({ families, contestants, directory }) {
  if (!works('strace', ['-V'])) {
    return {
      sections: [{ setting: 'left out: strace is not installed', columns: [''], rows: [], data: {} }],
      targets: [],
    };
  }
  const sections = [];
  const targets = [];
  for (const [transport, peers] of Object.entries({ tcp: PEERS, udp: UDP_PEERS })) {
    for (const family of families) {
      const rows = [];
      for (const setting of contestants(peers)) {
        rows.push({ peer: setting.label, ...(await trace({ ...setting, family }, transport, directory)) });
      }
      sections.push({
        setting: `${transport.toUpperCase()}, IPv${family}`,
        columns: ['', 'a connection', ''],
        text: [0, 2],
        rows: rows.map(({ peer, calls, total }) => [peer, number(total, 1), calls.map(inWords).join(' ')]),
        data: { transport, family, connections: CONNECTIONS, rows },
      });
      if (transport !== 'tcp') continue;
      const total = (peer) => rows.find((row) => row.peer === peer).total;
      for (const [peer, core] of PAIRS) {
        targets.push({ what: `IPv${family}: ${peer}, more than ${core}`, value: total(peer) - total(core), most: 2 });
      }
    }
  }
  return { sections, targets };
}
