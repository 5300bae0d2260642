// The soak, from inside of its namespace (scripts/soak.mjs makes it). Argument, as JSON: { seconds, seed }. Prints how it goes
// to stderr, and what has come of it, as JSON, to stdout.
import { setTimeout as pause } from 'node:timers/promises';
import { now } from './clock.mjs';
import { Ownership } from './ownership.mjs';
import { Party } from './party.mjs';
import { Chance } from './random.mjs';
import { rowsOf } from './rows.mjs';
import { fullness, living, sockets } from './tables.mjs';

const { seconds, seed } = JSON.parse(process.argv[2]);
const EVERY_MS = 2000;
/** Opened flows a second, and how long each is held, in ms: together more than there are ports. */
const LOAD = { rate: 45, hold: 90_000 };
const KINDS = [
  { kind: 'steady', ...LOAD },
  { kind: 'faulty', ...LOAD, faults: true },
  { kind: 'mortal', ...LOAD },
  { kind: 'core', rate: 8, hold: 1000, plain: true },
];

const chance = new Chance(seed);
const ownership = new Ownership();
/** Connects since the last sample, and how many of them were refused because every port was taken. */
const lately = { tcp: { attempts: 0, exhausted: 0 }, udp: { attempts: 0, exhausted: 0 } };
const found = { counts: {}, wrong: [], kills: 0, samples: [], ends: [] };
const clients = new Map();
const started = performance.now();
const elapsed = () => (performance.now() - started) / 1000;
let generation = 0;

function wrong(what) {
  found.wrong.push(what);
  console.error(`WRONG: ${what}`);
}

function hear(client, { what, upTo, events, counts, wrong: told, sample, ...more }) {
  if (what !== 'told' && what !== 'ended') return;
  ownership.tell(client.name, upTo, events);
  const of = (found.counts[client.kind] ??= {});
  for (const [name, count] of Object.entries(counts)) of[name] = (of[name] ?? 0) + count;
  for (const [protocol, sums] of Object.entries(lately)) {
    for (const name of Object.keys(sums)) sums[name] += counts[`${protocol} ${name}`] ?? 0;
  }
  for (const one of told) wrong(`${client.name}: ${one}`);
  const { rss: _, handles, ...figures } = sample;
  const kept = Object.values(handles).reduce((sum, count) => sum + count, 0);
  // Sockets that are closing, too, have both, so only what is left without them tells of a leak.
  client.note(
    {
      heap: figures.heap,
      running: figures.running,
      spare: figures.descriptors.others + figures.descriptors.netlink - figures.sockets,
      handles: kept - figures.sockets,
    },
    elapsed(),
  );
  if (what === 'ended') found.ends.push({ name: client.name, kind: client.kind, ...more });
}

async function start(given) {
  const name = `${given.kind}-${++generation}`;
  const client = new Party(name, 'client.mjs', { ...given, name, seed: chance.below(2 ** 31) }, given);
  client.kind = given.kind;
  client.given = given;
  clients.set(name, client);
  ownership.begin(name, now());
  client.child.on('message', (message) => hear(client, message));
  void client.ended.then((how) => {
    if (client.expected ? how !== 0 && how !== 'SIGKILL' : true) wrong(`${name} ended with ${how}`);
    clients.delete(name);
  });
  await client.ready();
  return client;
}

/** Ends a client in the midst of what it does, and starts another one in its place. */
async function kill(client) {
  client.expected = true;
  ownership.kill(client.name);
  client.child.kill('SIGKILL');
  await client.ended;
  found.kills++;
  await start(client.given);
}

async function stop(client) {
  client.expected = true;
  client.send({ what: 'stop' });
  const how = await Promise.race([client.ended, pause(120_000, 'no end in 120 s', { ref: false })]);
  if (how !== 0) wrong(`${client.name}, told to stop: ${how}`);
  ownership.end(client.name);
}

const server = new Party('server', 'server.mjs', {});
await server.ready();
const idle = living(sockets()).length;
server.child.on('message', ({ what, heap, handles, sockets: held }) => {
  if (what === 'sample') server.note({ heap, handles: handles - held }, elapsed());
});
const all = await Promise.all(KINDS.map(start));
const lasting = all.filter(({ kind }) => kind !== 'mortal');

/** Who is there has to end with this one. */
process.on('exit', () => {
  for (const { child } of [server, ...clients.values()]) child.kill('SIGKILL');
});

let nextKill = elapsed() + chance.between(8, 20);
let shown = 0;
while (elapsed() < seconds) {
  await pause(Math.min(EVERY_MS, Math.max(1, (seconds - elapsed()) * 1000)));
  const table = sockets();
  const refused = Object.values(lately).map(({ attempts, exhausted }) => exhausted / Math.max(attempts, 1));
  for (const sums of Object.values(lately)) sums.attempts = sums.exhausted = 0;
  found.samples.push({ time: elapsed(), sockets: living(table).length, full: fullness(table), refused });
  server.send({ what: 'sample' });
  for (const party of [server, ...lasting]) {
    const figures = party.look();
    if (figures !== undefined) party.note(figures, elapsed());
  }
  ownership.settle();
  for (const what of ownership.overshadowed.splice(0)) {
    found.overshadowed = (found.overshadowed ?? 0) + 1;
    wrong(`overshadowed: ${what}`);
  }
  if (elapsed() > nextKill) {
    const mortal = [...clients.values()].find(({ kind }) => kind === 'mortal');
    if (mortal !== undefined) await kill(mortal);
    nextKill = elapsed() + chance.between(8, 40);
  }
  if (elapsed() - shown >= 60) {
    shown = elapsed();
    const { sockets: count, full } = found.samples.at(-1);
    console.error(
      `${(shown / 60).toFixed(0)} min: ${ownership.flows} UDP flows, ${count} sockets, ${found.kills} killed, ` +
        `refused: TCP ${(refused[0] * 100).toFixed(0)} %, UDP ${(refused[1] * 100).toFixed(0)} %, pairs full: TCP ${(full.tcp * 100).toFixed(0)} %, UDP ${(full.udp * 100).toFixed(0)} %, ${found.wrong.length} wrong`,
    );
  }
}

await Promise.all([...clients.values()].map(stop));
ownership.settle({ finally: true });
for (const what of ownership.overshadowed) {
  found.overshadowed = (found.overshadowed ?? 0) + 1;
  wrong(`overshadowed: ${what}`);
}
// The server hears of it a moment later.
const leftover = () => living(sockets()).length - idle;
for (let turn = 0; turn < 500 && leftover() !== 0; turn++) await pause(10);
const afterClients = leftover();
server.expected = true;
server.send({ what: 'stop' });
const serverEnd = await Promise.race([server.ended, pause(30_000, 'no end in 30 s', { ref: false })]);
if (serverEnd !== 0) wrong(`server: ${serverEnd}`);
const result = {
  ...found,
  seconds,
  seed,
  flows: ownership.flows,
  stale: ownership.stale,
  left: { afterClients, afterServer: living(sockets()).length },
  points: Object.fromEntries([server, ...lasting].map(({ name, points }) => [name, points])),
};
process.stdout.write(JSON.stringify({ rows: rowsOf(result), counts: found.counts, wrong: found.wrong }));
process.exitCode = 0;
