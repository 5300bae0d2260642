// One scenario with every fault of every call of the addon, one at a time; prints what came of it, as JSON. Argument, as JSON:
// { scenario, cold, part: [which, of] }. It runs with test/native/faults.cc before the C library.
//
// Cold: in a new thread each time, where nothing is remembered and no socket is kept. Otherwise after one time without a fault.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, unlinkSync } from 'node:fs';
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { faultsOf } from './errnos.mjs';
import { interposer, REMOTES, scenarios, SERVER } from './scenarios.mjs';
import { Wrong } from './wrong.mjs';

const TIMEOUT = 10_000;
/** Without the faults, but with the sanitizer where there is one. */
const others = process.env.LD_PRELOAD.split(':').filter((path) => !path.endsWith('/faults.node'));
const plain = { ...process.env, LD_PRELOAD: others.join(':') };

function fail(what) {
  throw new Wrong(what);
}

/** What of an error must be right, wherever it comes from. */
function checkError(error, { protocol, options }) {
  if (error instanceof Wrong) throw error;
  const { code, syscall, message, reason, errno } = error;
  const shown = `${error?.stack} ${JSON.stringify(error)}`;
  if (!(error instanceof Error) || error.name !== 'Error') fail(`no system error: ${shown}`);
  if (!/^E[A-Z][A-Z0-9_]+$/.test(code ?? '')) fail(`an error without a code: ${shown}`);
  if (code.startsWith('ERR_')) {
    if (code !== 'ERR_CONNECTX_UNSUPPORTED' || !reason) fail(`no error of the kernel: ${shown}`);
    return;
  }
  if (!syscall) fail(`an error without a system call: ${shown}`);
  if (!message.includes(code)) fail(`a message without the code: ${shown}`);
  if (errno !== undefined && errno !== -constants.errno[code]) fail(`another errno: ${shown}`);
  if (protocol === undefined) return;
  if (error.address !== options.host || error.port !== options.port) fail(`without the destination: ${shown}`);
}

/** Runs the scenario once: 'done', or how it failed. Throws Wrong. */
async function attempt(scenario, given) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Wrong(`not over after ${TIMEOUT} ms`)), TIMEOUT);
  });
  try {
    const done = await Promise.race([scenario.act(given), late]);
    if (scenario.mustFail && !given.unreadable) fail('it succeeded, and must not');
    return done === undefined ? 'done' : `done, ${done}`;
  } catch (error) {
    checkError(error, scenario);
    if (scenario.neverFails) fail(`it failed: ${error.message}`);
    if (process.env.DEBUG)
      console.error(
        error.message,
        error.errors?.map((e) => e.message),
      );
    return [error.code, error.reason ?? error.syscall].join(' ');
  } finally {
    clearTimeout(timer);
  }
}

/** Another process to ask; see prober.mjs. */
function startProber() {
  const child = fork(join(import.meta.dirname, 'prober.mjs'), { env: plain, stdio: 'inherit' });
  const ask = async (question) => {
    child.send(question);
    const [{ answer }] = await once(child, 'message');
    return answer;
  };
  return { ready: once(child, 'message'), ask, stop: () => child.disconnect() };
}

/** Servers for both families, of which all that they accept ends with them. */
async function startServers() {
  const tcp = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => socket.write(data));
  });
  tcp.listen({ port: SERVER, host: '::', backlog: 512 });
  await once(tcp, 'listening');
  // Each with the address that is asked, or it would answer from another one.
  const udp = REMOTES.map((address) => {
    const socket = dgram.createSocket({ type: address.includes(':') ? 'udp6' : 'udp4' });
    socket.on('message', (message, { address, port }) => socket.send(message, port, address));
    socket.on('error', () => {});
    socket.bind(SERVER, address);
    return socket;
  });
  await Promise.all(udp.map((socket) => once(socket, 'listening')));
  return () => {
    tcp.close();
    for (const socket of udp) socket.close();
  };
}

/** Every socket of the namespace but for those in TIME-WAIT, as text. */
function tables() {
  const lines = ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((name) =>
    readFileSync(`/proc/self/net/${name}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/).slice(1, 4).join(' '))
      .filter((line) => line !== '' && !line.endsWith(' 06'))
      .map((line) => `${name} ${line}`),
  );
  return lines.sort().join('\n');
}

const descriptors = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/, '')];
    } catch {
      return [];
    }
  });

/** Waits until it is as it was: what is closed is gone a moment later. */
async function until(read, expected, what) {
  for (let turn = 0; turn < 300; turn++) {
    if (String(read()) === expected) return;
    await new Promise((resolve) => (turn < 50 ? setImmediate(resolve) : setTimeout(resolve, 1)));
  }
  fail(`${what}: ${expected} before, ${String(read())} afterwards`);
}

async function main() {
  const { scenario: name, cold = false, part = [0, 1], only } = JSON.parse(process.argv[2]);
  const faults = interposer();
  const scenario = scenarios[name];
  const prober = startProber();
  await prober.ready;
  const stop = await startServers();
  const cleanUp = await scenario.setup?.();
  const callsFile = join(tmpdir(), `connectx-calls-${process.pid}`);
  let environment = {};

  async function inThread(unreadable = false) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { scenario: name, unreadable } });
    try {
      return await new Promise((resolve, reject) => {
        worker.on('error', reject);
        worker.on('exit', (status) => reject(new Wrong(`the thread ended with ${status}`)));
        worker.on('message', ({ question, outcome, wrong }) => {
          if (question !== undefined) void prober.ask(question).then((answer) => worker.postMessage(answer));
          else if (wrong === undefined) resolve(outcome);
          else reject(new Wrong(wrong));
        });
      });
    } finally {
      await worker.terminate();
    }
  }

  const given = { prober: prober.ask, environment: () => ({ ...process.env, ...environment }) };
  const run = async (isCold = cold) => {
    await scenario.prepare?.();
    return isCold ? inThread() : attempt(scenario, given);
  };
  const counts = () => `${descriptors().sort()}`;

  async function mustWork() {
    const outcome = await run(false);
    const works = scenario.mustFail ? outcome.startsWith(`${scenario.mayFail} `) : outcome.startsWith('done');
    if (!works) fail(`without a fault: ${outcome}`);
    return outcome;
  }

  async function record() {
    if (scenario.isProgram) {
      environment = { CONNECTX_TEST_CALLS: callsFile };
      await run();
      environment = {};
      const text = readFileSync(callsFile, 'utf8');
      unlinkSync(callsFile);
      return text.trim().split('\n');
    }
    faults.record();
    await run();
    return faults.stop();
  }

  /** With one fault: how it ended, and whether the fault came about at all. */
  async function tryFault(call, index, what, always) {
    if (scenario.isProgram) {
      environment = { CONNECTX_TEST_CALLS: callsFile, CONNECTX_TEST_FAULT: `${call.split(' ')[0]} ${index} ${what}` };
      const outcome = await run();
      environment = {};
      const hit = readFileSync(callsFile, 'utf8').endsWith('hit\n');
      unlinkSync(callsFile);
      return { outcome, hits: hit ? 1 : 0 };
    }
    await scenario.prepare?.();
    faults.arm(call.split(' ')[0], index, what, always);
    try {
      const outcome = cold ? await inThread(/^(open|read)/.test(call)) : await attempt(scenario, given);
      return { outcome, hits: faults.disarm() };
    } finally {
      faults.disarm();
    }
  }

  /** Another process takes the very port that was asked for, and keeps everybody else off it. */
  async function portMustBeFree() {
    const { localAddress: address, localPort: port, host } = scenario.options ?? {};
    if (!port || typeof address !== 'string' || scenario.isFree === false || scenario.mustFail) return;
    const remote = { address: host, port: SERVER };
    const question = { protocol: scenario.protocol, local: { address, port }, remote, shared: false };
    const answer = await prober.ask(question);
    if (answer !== undefined) fail(`the port is not free afterwards: ${answer}`);
  }

  await mustWork();
  await mustWork();
  const calls = await record();
  await mustWork();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = { tables: tables(), descriptors: counts() };

  const report = { scenario: name, cold, calls, tried: 0, missed: [], outcomes: {}, wrong: [] };

  /** Everything is as it was, and works. */
  async function mustBeClean() {
    // A program leaves nothing behind that could be in the way of the next one.
    if (!scenario.isProgram) await mustWork();
    await until(counts, before.descriptors, 'descriptors');
  }

  async function tryAndCheck(title, fault) {
    const { outcome, hits } = await tryFault(...fault);
    if (hits === 0) report.missed.push(title);
    else {
      report.tried++;
      const [, call, shown] = /^\d+ (.*): (.*)$/.exec(title);
      if (outcome === 'done' && scenario.isTold?.(call, shown)) fail('nothing is told of it');
      (report.outcomes[outcome] ??= []).push(title);
    }
    try {
      await mustBeClean();
    } catch (error) {
      // A socket that is kept to ask the kernel with is opened when it is first needed, and so once.
      if (!error.message.startsWith('descriptors')) throw error;
      before.descriptors = counts();
      await tryFault(...fault);
      await mustBeClean();
    }
    await portMustBeFree();
  }

  const asked = new Map();
  let number = 0;
  for (const call of calls) {
    const [syscall] = call.split(' ');
    const index = asked.get(syscall) ?? 0;
    asked.set(syscall, index + 1);
    // A refusal that lasts may be remembered, by the thread: only where the thread ends with it.
    const durations = cold && syscall === 'recv' ? [false, true] : [false];
    for (const { what, shown } of faultsOf(call)) {
      if (scenario.believes?.includes(shown)) continue;
      for (const always of durations) {
        // recv(2) is called again after EINTR, for as long as it takes.
        if ((always && shown === 'EINTR') || number++ % part[1] !== part[0]) continue;
        const title = `${index} ${call}: ${shown}${always ? ', from then on' : ''}`;
        if (only !== undefined && only !== title) continue;
        try {
          await tryAndCheck(title, [call, index, what, always]);
        } catch (error) {
          report.wrong.push(`${title}: ${error instanceof Wrong ? error.message : error.stack}`);
        }
      }
    }
  }
  await mustWork();
  try {
    await until(tables, before.tables, 'sockets');
  } catch (error) {
    report.wrong.push(error.message);
  }
  cleanUp?.();
  stop();
  prober.stop();
  process.stdout.write(JSON.stringify(report));
}

if (!isMainThread) {
  const scenario = scenarios[workerData.scenario];
  const prober = (question) =>
    new Promise((resolve) => {
      parentPort.once('message', resolve);
      parentPort.postMessage({ question });
    });
  const result = await attempt(scenario, { prober, unreadable: workerData.unreadable }).then(
    (outcome) => ({ outcome }),
    (error) => ({ wrong: String(error.stack) }),
  );
  parentPort.postMessage(result);
} else {
  await main();
}
