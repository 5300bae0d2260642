// How many datagrams of 1,200 bytes does one Node process relay, with a UdpBatch and with node:dgram?
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { CLIENT_CORE, onCore, SERVER_CORE, withParent } from '../lib/processes.mjs';
import { number, ratio, spread } from '../lib/report.mjs';
import { pairedRatio, summary } from '../lib/statistics.mjs';

const PEERS = ['dgram', 'UdpBatch'];
const RUNS = [1, 10, 50];
const LEAST = { 1: 1.8, 10: 8, 50: 13 };
const LOADS = [0.5, 0.8, 1];
const HOSTS = { 4: '127.0.0.1', 6: '::1' };
const MANY = 10_000;

/** A program of ../lib on this core: what it sends first, and a way to ask it. */
async function start(core, name, argument) {
  const program = fileURLToPath(new URL(`../lib/${name}.mjs`, import.meta.url));
  const command = withParent(onCore(core, [process.execPath, '--expose-gc', program, JSON.stringify(argument)]));
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const exited = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${name}: ended with ${signal ?? `exit code ${code}`}`);
  });
  exited.catch(() => {});
  const answer = async () => {
    const [message] = await Promise.race([once(child, 'message'), exited]);
    if (message?.error !== undefined) throw new Error(message.error);
    return message?.value ?? message;
  };
  const first = await answer();
  return {
    first,
    ask: (question) => {
      child.send(question);
      return answer();
    },
    stop: () => child.connected && child.disconnect(),
  };
}

async function inNamespace() {
  const up = spawn('ip', ['link', 'set', 'lo', 'up'], { stdio: 'inherit' });
  await once(up, 'exit');
}

/** The relays and what sends to them, all up. */
async function withRelays({ family, checkout }, use) {
  const host = HOSTS[family];
  const load = await start(SERVER_CORE, 'relay-load', { checkout, host });
  const started = [load];
  try {
    const relays = [];
    for (const peer of PEERS) {
      const relay = await start(CLIENT_CORE, 'relay-party', { peer, checkout, host, sink: load.first });
      started.push(relay);
      relays.push({ ...relay, peer, port: relay.first });
    }
    return await use(relays, (argument) => load.ask({ name: 'load', argument }), load);
  } finally {
    for (const each of started) each.stop();
  }
}

async function measure(relays, load, { run, flows, echo, time, rounds }) {
  const taken = relays.map(() => ({ rates: [], each: [], delays: [], losses: LOADS.map(() => []) }));
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < relays.length; turn++) {
      const index = (Math.max(round, 0) + turn) % relays.length;
      const { ask, port } = relays[index];
      await ask('delay');
      const before = await ask('cpu');
      const { rate, arrived } = await load({ port, run, flows, echo, time });
      const delay = await ask('delay');
      const cpu = (await ask('cpu')) - before;
      if (round < 0) continue;
      taken[index].rates.push(rate);
      taken[index].each.push(cpu / arrived);
      taken[index].delays.push(delay);
      if (echo) continue;
      for (const [at, share] of LOADS.entries()) {
        const some = await load({ port, run, flows, echo, time, rate: rate * share });
        taken[index].losses[at].push(Math.max(0, 1 - some.arrived / some.sent));
      }
    }
  }
  return taken;
}

async function memoryOf(relays, load) {
  const rows = [];
  for (const { ask, peer, port } of relays) {
    const before = await ask('memory');
    await load.ask({ name: 'open', argument: { port, flows: MANY } });
    rows.push({ peer, bytes: ((await ask('memory')) - before) / MANY });
    await load.ask({ name: 'close', argument: { port, flows: MANY } });
  }
  return rows;
}

export const title = 'relay: datagrams of 1,200 bytes a second through one process on one core, from clients to a sink';

export async function run({ families, checkout, atMost }) {
  await inNamespace();
  const sections = [];
  const targets = [];
  const rounds = atMost({ quick: 3, full: 15 });
  const time = 400;
  for (const family of families) {
    await withRelays({ family, checkout }, async (relays, load, whole) => {
      for (const echo of [false, true]) {
        const rows = [];
        for (const flows of [1, 64]) {
          for (const size of RUNS) {
            const taken = await measure(relays, load, { run: size, flows, echo, time, rounds });
            const rates = taken.map((one) => one.rates);
            // What a datagram costs the relay: on a busy machine, too, this is what limits its rate.
            const over = pairedRatio(taken[0].each, taken[1].each);
            for (const [index, { peer }] of relays.entries()) {
              const losses = taken[index].losses.map(summary);
              rows.push({
                peer,
                flows,
                run: size,
                rate: summary(rates[index]),
                each: summary(taken[index].each),
                delay: summary(taken[index].delays),
                losses,
              });
            }
            const ours = rows.at(-1);
            ours.over = over;
            const what = `IPv${family}, ${flows} flows, runs of ${size}${echo ? ', and back' : ''}`;
            if (!echo) {
              targets.push({ what: `${what}: UdpBatch / dgram`, value: over.median, least: LEAST[size] });
              targets.push({
                what: `${what}: loss in % at 80 % of its rate`,
                value: 100 * ours.losses[1].median,
                most: 0,
              });
              const delays = ours.delay.median / rows.at(-2).delay.median;
              targets.push({ what: `${what}: p99 of the event loop's delay, over dgram's`, value: delays, most: 1 });
            }
          }
        }
        sections.push({
          setting: `IPv${family}, ${echo ? 'there and back' : 'one way'}: ${rounds} rounds of ${time} ms`,
          columns: [
            '',
            'flows',
            'run',
            'a second',
            'quartiles',
            'us of CPU',
            '/ dgram',
            'quartiles',
            'p99 ms',
            ...(echo ? [] : ['% lost at 50', '80', '100 %']),
          ],
          rows: rows.map(({ peer, flows, run: size, rate, each, over, delay, losses }) => [
            peer,
            `${flows}`,
            `${size}`,
            number(rate.median, 0),
            spread(rate, 0),
            number(each.median, 2),
            over === undefined ? '' : ratio(over.median),
            over === undefined ? '' : spread(over, 2),
            number(delay.median, 1),
            ...(echo ? [] : losses.map(({ median }) => number(100 * median, 2))),
          ]),
          data: { family, echo, rounds, time, rows },
        });
      }
      const memory = await memoryOf(relays, whole);
      sections.push({
        setting: `IPv${family}: ${MANY} flows held`,
        columns: ['', 'resident bytes for each'],
        rows: memory.map(({ peer, bytes }) => [peer, number(bytes, 0)]),
        data: { family, flows: MANY, rows: memory },
      });
    });
  }
  return { sections, targets };
}
