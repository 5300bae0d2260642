// How many connections does one source address get, with net.connect and with connectx?
//
// The same machine, the same 20 ephemeral ports, the same servers: first net.connect, then connectx. Run it with `npm run
// demo`; it takes a few seconds, and everything it does happens in a network namespace of its own. With `--host` it stays
// out of the namespace, and shows what can be shown without one.
import * as net from 'node:net';
import { constants } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { capabilities, connect } from 'connectx';
import { canIsolate, isIsolated, runIsolated, setEphemeralRange } from './demo/namespace.mjs';
import { startServers, stopServers } from './demo/servers.mjs';
import { bold, dim, isLive, Table } from './demo/table.mjs';

const SOURCE = '127.0.0.1';
const DESTINATIONS = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.6'];
const PORT = 8080;
const RANGE = { low: 20000, high: 20019 };
const PORTS = RANGE.high - RANGE.low + 1;
const wantsHost = process.argv.includes('--host');

// The connections to each destination are what connectx claims; the demo fails if they are others.
const contestants = [
  { name: 'net.connect', connect: net.connect, expected: [PORTS, 0, 0, 0, 0] },
  { name: 'connectx', connect, expected: [PORTS, PORTS, PORTS, PORTS, PORTS] },
];

// `options`: what is asked for towards the `row`th destination, for the `n`th time; `ports` are those of the first row.
// `ends`: the code or the reason of the error that each contestant is left with.
const sourceIp = {
  title: `The source IP is pinned: { localAddress: '${SOURCE}' }`,
  options: () => ({ localAddress: SOURCE }),
  ends: ['EADDRINUSE', 'ports-exhausted'],
};

const exactTuple = {
  title: `Source IP and port are pinned, next to ${PORTS} unpinned connections (first row)`,
  options: (row, n, ports) => (row === 0 ? {} : { localAddress: SOURCE, localPort: ports[n % PORTS] }),
  ends: ['EADDRINUSE', 'tuple-in-use'],
};

// One connection, over which the server has told that it sees the source that we mean.
function open(connect, options) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: PORT, ...options });
    let answer = '';
    socket.setEncoding('latin1');
    socket.once('connect', () => socket.write('GET / HTTP/1.1\r\nHost: demo\r\n\r\n'));
    socket.on('data', (text) => {
      answer += text;
      if (answer.endsWith(`\r\n\r\n${socket.localAddress}:${socket.localPort}\n`)) resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`the server hung up after "${answer}"`)));
  });
}

// From destination to destination, each time until no more connections can be had. All are held open until the end.
async function fill(scene, connect, table, column) {
  const sockets = [];
  let error = new Error('Nothing: there was always one more connection to be had.');
  for (const [row, host] of DESTINATIONS.entries()) {
    // Without a small range the first row's connections would not come to an end.
    const limit = row === 0 && !isIsolated ? PORTS : PORTS + 1;
    const ports = sockets.slice(0, PORTS).map((socket) => socket.localPort);
    for (let n = 0; n < limit; n++) {
      try {
        sockets.push(await open(connect, { host, ...scene.options(row, n, ports) }));
      } catch (failure) {
        error = failure;
        break;
      }
      table.add(row, column);
      if (isLive) await pause(12);
    }
  }
  await Promise.all(sockets.map(reset));
  return error;
}

// With a reset nothing stays behind in TIME-WAIT, and the next contestant finds every port free again.
function reset(socket) {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', resolve).resetAndDestroy();
  });
}

/** Resolves with whether it went as expected. */
async function play(scene) {
  const names = contestants.map(({ name }) => name);
  // Before the table, which is drawn at once on a terminal, and then over itself.
  console.log(`\n${bold(scene.title)}\n`);
  const table = new Table(
    DESTINATIONS.map((host) => `${host}:${PORT}`),
    names,
    PORTS,
  );
  const errors = [];
  for (const [column, { connect }] of contestants.entries()) errors.push(await fill(scene, connect, table, column));
  table.finish();
  console.log();
  for (const [column, name] of names.entries()) {
    const { message, reason } = errors[column];
    console.log(`${name} ends with${reason ? ` reason '${reason}'` : ''}:\n${dim(`  ${message}`)}`);
  }
  return contestants.every(({ expected }, column) => {
    const { reason, code } = errors[column];
    return `${table.counts(column)}` === `${expected}` && (reason ?? code) === scene.ends[column];
  });
}

async function main() {
  // The servers first: they too shall not be in need of ports.
  const servers = await startServers(DESTINATIONS, PORT);
  if (isIsolated) setEphemeralRange(RANGE);
  const where = isIsolated ? 'in a network namespace of its own' : 'on the host';
  console.log(`${servers} on ${DESTINATIONS.length} addresses, ${where}; Node ${process.versions.node}`);
  if (isIsolated) {
    console.log(`ephemeral ports: ${PORTS} (net.ipv4.ip_local_port_range = ${RANGE.low} ${RANGE.high})`);
  } else {
    if (!wantsHost) console.log('No network namespace can be made here: that takes unshare -Urn, and ip of iproute2.');
    console.log("A host's ephemeral ports are too many to use up, so that only one of two limits is shown.");
  }

  const scenes = isIsolated ? [sourceIp, exactTuple] : [exactTuple];
  let holds = true;
  for (const scene of scenes) holds = (await play(scene)) && holds;
  if (!holds) throw new Error('This is not what connectx claims. Please report it, with this output and `uname -r`.');
  console.log(
    `\nSame source IP, same ports: net.connect opened ${bold(`${PORTS}`)} connections, ` +
      `connectx ${bold(`${PORTS * DESTINATIONS.length}`)}.`,
  );
}

// Whatever happens, nothing is left running, and the exit code tells whether the claim holds.
async function end(code, message) {
  if (message) console.error(`\n${message}`);
  await stopServers();
  process.exit(code);
}

const { native, nativeError, platform } = capabilities();
if (!native) {
  const here = platform === 'linux' ? 'with CONNECTX_DISABLE_NATIVE' : `on ${platform}`;
  console.log(nativeError?.message ?? `There is nothing to show: ${here} connectx does what net.connect does.`);
  process.exitCode = nativeError ? 1 : 0;
} else if (!isIsolated && !wantsHost && canIsolate()) {
  process.exitCode = await runIsolated(import.meta.filename);
} else {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(signal, () => end(128 + constants.signals[signal]));
  // The reader of a pipe has gone.
  process.stdout.once('error', () => end(1));
  setTimeout(() => end(1, 'The demo did not come to its end within a minute.'), 60_000).unref();
  await main().then(
    () => end(0),
    (error) => end(1, error.message),
  );
}
