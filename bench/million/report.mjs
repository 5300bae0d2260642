// The figures as text. Pure.
import { number, table } from '../lib/report.mjs';
import { socketPages } from './memory.mjs';

// No -0.
const whole = (value) => number(Math.round(value) || 0, 0);
const mebibytes = (bytes) => `${number(bytes / 2 ** 20, 0)} MiB`;
const seconds = (value) => `${number(value, value < 10 ? 2 : 1)} s`;

/** When so many were reached, in seconds from the beginning of the phase, by a straight line between two samples. */
export function timeOf(samples, count) {
  let before = { seconds: 0, done: 0 };
  for (const sample of samples) {
    if (sample.done >= count) {
      const part = sample.done === before.done ? 1 : (count - before.done) / (sample.done - before.done);
      return before.seconds + part * (sample.seconds - before.seconds);
    }
    before = sample;
  }
  return before.seconds;
}

/** Flows a second: of all, of the first tenth and of the last one. */
export function ratesOf({ open, samples, phases }) {
  const opening = samples.filter(({ phase }) => phase === 'open');
  const tenth = open / 10;
  const end = phases.open.seconds;
  return {
    all: open / end,
    first: tenth / timeOf(opening, tenth),
    last: tenth / (end - timeOf(opening, open - tenth)),
  };
}

/**
 * Bytes for each flow: of the client processes, of the server processes, and of the kernel's slabs. Without the inodes of /proc, which
 * somebody else makes who looks at /proc/PID/fd while this runs.
 */
export function memoryOf({ open, slabs, stocks: { ready, open: full } }) {
  const proc = slabs?.find(([name]) => name === 'proc_inode_cache')?.[1] ?? 0;
  const each = (bytes) => bytes / open;
  return {
    clients: each(full.clients.pss - ready.clients.pss),
    servers: each(full.servers.pss - ready.servers.pss),
    slabs: each(full.slab - ready.slab - proc),
  };
}

/** Name and value of each figure of a run. */
export function rowsOf(run) {
  const { plan, phases, errors, echoes, echoErrors, serverErrors, limit, open, perDestination, stocks } = run;
  const rates = ratesOf(run);
  const memory = memoryOf(run);
  const codes = (some) =>
    Object.entries(some)
      .map(([code, count]) => `${whole(count)} x ${code}`)
      .join(', ') || 'none';
  const rows = [
    ['flows open at the same time', `${whole(open)} of ${whole(plan.flows)} wanted`],
    ['limit', limit],
    ['errors when opening', codes(errors)],
    ['processes', `${whole(plan.clients.length)} clients, ${whole(stocks.ready.servers.processes)} servers`],
    [
      'destinations',
      `${whole(plan.destinations)} of ${whole(plan.ports)} ports; ${whole(perDestination.least)} to ${whole(perDestination.most)} flows each`,
    ],
    ['time to open', seconds(phases.open.seconds)],
    ['flows a second', `${whole(rates.all)}; first tenth ${whole(rates.first)}, last tenth ${whole(rates.last)}`],
    [
      'processor time when opening',
      `${seconds(phases.open.user)} user, ${seconds(phases.open.system)} system; the machine was ${number(phases.open.busy * 100, 0)} % busy`,
    ],
    [
      'memory a flow',
      `client ${whole(memory.clients)}, server ${whole(memory.servers)}, kernel slabs ${whole(memory.slabs)} bytes`,
    ],
    [
      'memory of it all',
      `${mebibytes(stocks.before.available - stocks.open.available)} less available; clients ${mebibytes(stocks.open.clients.pss)}, servers ${mebibytes(stocks.open.servers.pss)}, slabs ${mebibytes(stocks.open.slab - stocks.before.slab)}`,
    ],
    [
      'echo',
      `${seconds(phases.echo.seconds)}; ${whole(echoes.answered)} answered, ${whole(echoes.missing)} missing, ${whole(echoes.wrong)} wrong, ${whole(echoes.retried)} sent again`,
    ],
    ['errors after opening', codes({ ...echoErrors, ...serverErrors })],
    [
      'pages for data',
      `${whole(socketPages(run.protocol, stocks.echoed.sockstat))} after the echo; limits of the machine (${run.protocol}_mem): ${run.pageLimits?.map(whole).join(', ') ?? 'not seen here'}`,
    ],
    ["reading the kernel's table", `ss ${seconds(run.ssSeconds)}, portUsage() ${seconds(run.portUsageSeconds)}`],
    ['closing', seconds(phases.close.seconds)],
  ];
  if (run.protocol === 'udp') {
    const { sent, received, bufferErrors, lost } = echoes.datagrams;
    const counts = `${whole(sent)} sent, ${whole(received)} received, ${whole(bufferErrors)} lost to full receive buffers, ${whole(lost)} lost and not counted`;
    rows.push(['datagrams by the kernel', counts]);
  }
  const grown = run.slabs?.slice(0, 6);
  if (grown !== undefined)
    rows.push(['slabs that grew most', grown.map(([name, bytes]) => `${name} ${mebibytes(bytes)}`).join(', ')]);
  return rows;
}

export function report({ runs }) {
  return runs
    .map((run) => {
      const checks = run.checks.map(({ what, expected, found, holds }) => [
        holds ? 'holds' : 'FAILS',
        what,
        whole(found),
        holds ? '' : `expected ${whole(expected)}`,
      ]);
      return `${run.title}\n${table(['', ''], rowsOf(run), [0, 1])}\n${table(['', '', '', ''], checks, [0, 1, 3])}`;
    })
    .join('\n\n');
}
