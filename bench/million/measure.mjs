// One run: servers, clients, and what they are told, phase by phase. What comes of it is plain data.
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { Fleet } from './fleet.mjs';
import { available, datagrams, grownSlabs, processorTime, takeStock } from './memory.mjs';
import { mostOf } from './plan.mjs';
import { progressLine } from './progress.mjs';
import { countSockets, readTable } from './table.mjs';
import { techniques } from './techniques.mjs';
import { TupleSet } from './tuples.mjs';

const require = createRequire(import.meta.url);
const SAMPLE_MS = 1000;
const WATCH_MS = 250;

/**
 * `plan` is that of planFlows, `ends` that of endsOf. Opening ends early when less than `floor` bytes of memory are available, after
 * `seconds`, or in a process that has failed `errorLimit` times. Nothing is left behind, however it ends.
 */
export async function measure(options) {
  const servers = new Fleet('server');
  const clients = new Fleet('client');
  try {
    return await new Run(options, servers, clients).all();
  } finally {
    await Promise.all([clients.stop(), servers.stop()]);
  }
}

class Run {
  #options;
  #servers;
  #clients;
  #technique;
  #result;
  #limit;
  #given = false;
  #began = performance.now();

  constructor(options, servers, clients) {
    this.#options = options;
    this.#servers = servers;
    this.#clients = clients;
    this.#technique = techniques[options.technique];
    const { technique, family, plan, ends } = options;
    this.#result = {
      technique,
      protocol: this.#technique.protocol,
      family,
      source: ends.source,
      pageLimits: options.pageLimits[this.#technique.protocol],
      plan,
      phases: {},
      stocks: {},
      samples: [],
      checks: [],
    };
  }

  async all() {
    const watch = setInterval(() => this.#watchMemory(), WATCH_MS);
    try {
      return await this.#allPhases();
    } finally {
      clearInterval(watch);
    }
  }

  async #allPhases() {
    const { plan, progress } = this.#options;
    const clients = this.#clients;
    const result = this.#result;
    const { protocol } = this.#technique;

    this.#stock('before');
    await this.#phase('start', () => this.#start());
    this.#stock('ready');
    const [wanted, processes, destinations] = [plan.flows, plan.clients.length, plan.destinations].map((value) =>
      value.toLocaleString('en-US'),
    );
    progress.log(
      `${wanted} flows wanted, ${processes} client processes, ${this.#servers.pids.length} server processes, ` +
        `${destinations} destinations of ${plan.ports} ports, each ${(plan.fill * 100).toFixed(1)} % full in the end`,
    );

    const { seconds } = this.#options;
    const timer = setTimeout(() => this.#stopOpening(`stopped after ${seconds} s`), seconds * 1000);
    let opened;
    try {
      opened = await this.#phase('open', () => clients.all('open'));
    } finally {
      clearTimeout(timer);
    }
    const open = sum(opened, 'open');
    result.open = open;
    result.errors = merged(opened);
    result.limit = this.#limit ?? (open === plan.flows ? 'none: all of them were opened' : 'ports');
    // Of more flows than there are ports towards a destination, just as many as there are ports.
    const possible = plan.perDestination.reduce((total, count) => total + Math.min(count, plan.ports), 0);
    if (this.#limit === undefined && this.#options.kind !== 'control') this.#check('flows opened', possible, open);
    this.#stock('open');
    progress.log(`${open.toLocaleString('en-US')} open; limit: ${result.limit}`);

    await this.#phase('table', () => this.#checkTable(open));
    const before = datagrams(this.#options.family);
    const answers = await this.#phase('echo', () => clients.all('echo'));
    await this.#checkEchoes(open, answers, before);
    this.#stock('echoed');

    await this.#phase('close', () => clients.all('close'));
    await this.#phase('gone', () => this.#checkGone(protocol));
    this.#stock('closed');
    await clients.stop();
    await this.#servers.stop();
    this.#check('processes left', 0, clients.pids.length + this.#servers.pids.length);
    const { ready, open: full } = result.stocks;
    result.slabs = grownSlabs(ready, full);
    for (const stock of Object.values(result.stocks)) delete stock.slabs;
    return result;
  }

  async #start() {
    const { technique, plan, ends, family, descriptors, errorLimit } = this.#options;
    const { protocol } = this.#technique;
    const { source, remotes } = ends;
    if (protocol === 'udp') {
      // As many as there are processors to do it.
      const parts = [0, 1].map((part) => remotes.filter((_, index) => index % 2 === part));
      await Promise.all(parts.map((part) => this.#servers.add({ protocol, family, remotes: part })));
    } else {
      for (const [index, remote] of remotes.entries())
        await this.#listen(remote, plan.acceptors[index], mostOf(descriptors));
    }
    const nonce = randomBytes(8).toString('hex');
    const window = windowOf(plan);
    await inTurn(plan.clients, 8, (flows, client) =>
      this.#clients.add({ technique, client, flows, source, family, remotes, nonce, window, errorLimit }),
    );
  }

  // The listening socket of one destination, for some processes together: each accepts what it gets hold of first.
  async #listen({ host, port }, acceptors, most) {
    const { socket, bind, close, setsockopt, constants } = require('../../dist/sys.js');
    const { AF_INET, AF_INET6, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR } = constants;
    const fd = socket(this.#options.family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM);
    try {
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      bind(fd, { address: host, port });
      await Promise.all(Array.from({ length: acceptors }, () => this.#servers.add({ protocol: 'tcp', most }, fd)));
    } finally {
      close(fd);
    }
  }

  async #phase(name, act) {
    const { progress, plan } = this.#options;
    const { samples, protocol } = this.#result;
    const clients = this.#clients;
    const pids = () => [...clients.pids, ...this.#servers.pids];
    const started = performance.now();
    const before = processorTime(pids());
    const counted = { open: 'open', close: 'open', echo: 'answered' }[name];
    let last = { at: started, done: 0 };
    const sample = () => {
      const now = performance.now();
      const done = clients.total(counted);
      const rate = (Math.abs(done - last.done) / Math.max(now - last.at, 1)) * 1000;
      const seconds = (now - started) / 1000;
      const at = round((now - this.#began) / 1000);
      const line = {
        phase: name,
        at,
        seconds: round(seconds),
        done,
        available: available(),
        late: Math.round(clients.worst('late')),
      };
      samples.push(line);
      progress.show(progressLine({ ...line, protocol, wanted: plan.flows, rate }));
      last = { at: now, done };
    };
    const timer = counted === undefined ? undefined : setInterval(sample, SAMPLE_MS);
    try {
      const value = await act();
      if (counted !== undefined) sample();
      const after = processorTime(pids());
      const seconds = (performance.now() - started) / 1000;
      this.#result.phases[name] = {
        seconds: round(seconds),
        user: round(after.user - before.user),
        system: round(after.system - before.system),
        busy: round((after.busy - before.busy) / (after.total - before.total)),
      };
      progress.log(`${protocol} ${name}: ${seconds.toFixed(2)} s`);
      return value;
    } finally {
      clearInterval(timer);
    }
  }

  #watchMemory() {
    const left = available();
    const { floor, progress } = this.#options;
    if (left < floor) this.#stopOpening('memory: no more than the floor was available');
    if (left >= floor / 2 || this.#given) return;
    this.#given = true;
    progress.log('less than half of the floor is available: given up');
    // What is waited for fails then.
    void Promise.all([this.#clients.stop(), this.#servers.stop()]);
  }

  #stopOpening(why) {
    if (this.#limit !== undefined) return;
    this.#limit = why;
    this.#clients.tell('stop');
  }

  #stock(name) {
    this.#result.stocks[name] = takeStock({ clients: this.#clients.pids, servers: this.#servers.pids });
  }

  #check(what, expected, found) {
    this.#result.checks.push({ what, expected, found, holds: expected === found });
  }

  async #checkTable(open) {
    const { ends } = this.#options;
    const held = new TupleSet(ends.remotes.length);
    let twice = 0;
    let otherSource = 0;
    for (const part of await this.#clients.all('tuples')) {
      twice += part.twice + held.addAll(new TupleSet(ends.remotes.length, part.bytes));
      otherSource += part.otherSource;
    }
    this.#check('4-tuples that two sockets say they have', 0, twice);
    this.#check('sockets with another source address', 0, otherSource);
    const table = await readTable(this.#technique.protocol, ends);
    this.#check("connected sockets in the kernel's table (ss)", open, table.sockets);
    this.#check('different 4-tuples among them', open, table.tuples.size);
    this.#check('4-tuples there twice', 0, table.twice);
    this.#check('sockets to elsewhere', 0, table.elsewhere);
    this.#check('4-tuples that only the kernel or only the processes know', 0, table.tuples.difference(held));
    const counts = table.tuples.counts();
    this.#result.perDestination = { least: Math.min(...counts), most: Math.max(...counts) };
    this.#result.ssSeconds = round(table.seconds);
    await this.#portUsage(open);
  }

  // The library's own count, in this process.
  async #portUsage(open) {
    const { portUsage } = require('../../dist/index.js');
    const started = performance.now();
    const usage = await portUsage({ protocol: this.#technique.protocol, localAddress: this.#options.ends.source });
    this.#result.portUsageSeconds = round((performance.now() - started) / 1000);
    this.#check('ports in use by portUsage()', open, sum(usage, 'used'));
  }

  async #checkEchoes(open, answers, before) {
    const total = Object.fromEntries(
      ['answered', 'missing', 'wrong', 'repeated', 'retried'].map((name) => [name, sum(answers, name)]),
    );
    // What the kernel has counted in this namespace, and what it has not: a datagram that was sent and neither received nor counted.
    this.#result.echoes = { ...total, datagrams: difference(datagrams(this.#options.family), before) };
    // Which flows they are; there may be many.
    this.#result.silent = answers.flatMap(({ silent }) => silent).slice(0, 100);
    this.#result.echoErrors = merged(answers);
    this.#result.serverErrors = merged(await this.#servers.all('count'));
    this.#check('flows that got their own token back', open, total.answered);
    this.#check('tokens that came to another flow', 0, total.wrong);
    this.#check('flows without an answer', 0, total.missing);
  }

  // The processes live on: it is their closing that has emptied the tables. The accepted ends go when the reset arrives.
  async #checkGone(protocol) {
    let left = countSockets(protocol);
    for (let again = 0; left > 0 && again < 100; again++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      left = countSockets(protocol);
    }
    this.#check("connected sockets left in the kernel's table", 0, left);
  }
}

/**
 * How many tokens of a process may be on their way. So few that no server has more than 5 datagrams waiting: when the UDP sockets of the
 * machine have more pages than udp_mem's first figure, a socket gets only udp_rmem_min, 4096 bytes, and a datagram takes 768.
 */
function windowOf({ destinations, clients }) {
  return Math.min(32, Math.max(2, Math.floor((5 * destinations) / clients.length)));
}

const sum = (values, name) => values.reduce((total, value) => total + value[name], 0);
const difference = (after, before) =>
  Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]]));
const round = (value) => Math.round(value * 1000) / 1000;

/** The errors of all of them, by code. */
function merged(values) {
  const errors = {};
  for (const { errors: some } of values) {
    for (const [code, count] of Object.entries(some)) errors[code] = (errors[code] ?? 0) + count;
  }
  return errors;
}

/** `act` for each of the values, `most` of them at a time. */
async function inTurn(values, most, act) {
  const queue = values.entries();
  const worker = async () => {
    for (const [index, value] of queue) await act(value, index);
  };
  await Promise.all(Array.from({ length: most }, worker));
}
