// What does an open socket weigh?
import { openAll, resetAll } from '../lib/connections.mjs';
import { Party } from '../lib/party.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';

const PLAIN = 'net.connect';
const PEERS = [PLAIN, 'net.connect, localAddress', 'connectx', 'connectx, localAddress'];
const SOCKETS = 5000;
const WARM_UP = 200;
// The young generation is free to grow by more than all these sockets weigh, and does so or does not by chance.
const execArgv = ['--min-semi-space-size=1', '--max-semi-space-size=1'];

/** In the party's process. */
export const tasks = {
  /** Bytes a socket, of resident memory and of the JavaScript heap. */
  async weigh({ connect, server }, sockets) {
    // What grows once grows now: compiled code, the addon, the heap's first pages.
    await resetAll(await openAll(connect, WARM_UP));
    await server.drain(WARM_UP);
    const before = await settled();
    const held = await openAll(connect, sockets);
    const after = await settled();
    await resetAll(held);
    return { rss: (after.rss - before.rss) / sockets, heap: (after.heap - before.heap) / sockets };
  },
};

async function settled() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, heap: heapUsed + external };
}

export const title = `memory: bytes an open socket, ${SOCKETS} held, a fresh process for each weighing`;

export async function run({ families, contestants, quick }) {
  const sections = [];
  const targets = [];
  const rounds = quick ? 3 : 9;
  for (const family of families) {
    const settings = contestants(PEERS).map((one) => ({ ...one, family, tasks: 'memory' }));
    const taken = settings.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (const [index, setting] of settings.entries()) {
        const party = await Party.start(setting, { execArgv });
        try {
          taken[index].push(await party.call('weigh', SOCKETS));
        } finally {
          await party.stop();
        }
      }
    }
    const column = (index, name) => taken[index].map((one) => one[name]);
    const rows = settings.map(({ label }, index) => ({
      peer: label,
      rss: summary(column(index, 'rss')),
      heap: summary(column(index, 'heap')),
      rssOverPlain: pairedRatio(column(index, 'rss'), column(0, 'rss')),
      heapOverPlain: pairedRatio(column(index, 'heap'), column(0, 'heap')),
    }));
    sections.push({
      setting: `IPv${family}, ${rounds} rounds`,
      columns: [
        '',
        'resident',
        'quartiles',
        '/ net.connect',
        'quartiles',
        'JavaScript heap',
        'quartiles',
        '/ net.connect',
      ],
      rows: rows.map(({ peer, rss, heap, rssOverPlain, heapOverPlain }) => [
        peer,
        number(rss.median, 0),
        spread(rss, 0),
        ratio(rssOverPlain.median),
        spread(rssOverPlain, 3),
        number(heap.median, 0),
        spread(heap, 0),
        ratio(heapOverPlain.median),
      ]),
      data: { family, sockets: SOCKETS, rounds, rows },
    });
    for (const { peer, rssOverPlain } of rows.filter(
      (row) => row.peer.startsWith('connectx') && !row.peer.includes('['),
    )) {
      targets.push({ what: `IPv${family}: ${peer} / ${PLAIN}`, value: rssOverPlain.median, most: 1.05 });
    }
  }
  return { sections, targets };
}
