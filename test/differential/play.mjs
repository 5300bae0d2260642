// Plays a script with core's connect or connectx's, and tells what a program would have noticed.
import { once } from 'node:events';
import * as net from 'node:net';
import * as connectx from 'connectx';
import { ADDRESSES } from './scripts.mjs';

/** A connect that nobody answers ends with this. */
const PATIENCE_MS = 150;

const EVENTS = [
  ...['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connectionAttemptTimeout', 'connect', 'ready'],
  ...['data', 'end', 'timeout', 'error', 'close'],
];

const SERVERS = {
  echo: (socket) => socket.pipe(socket),
  closes: (socket) => socket.resume().end('bye'),
  resets: (socket) => socket.resetAndDestroy(),
  speaks: (socket) => socket.resume().write('hello'),
  mute: (socket) => socket.resume(),
};

/** What was noticed, how many leases a pool is left with, and whether there was an uncaught exception. */
export async function play(script, which, ports) {
  const { pool, ...source } = which === 'core' ? {} : sourceOf(script, (deed) => perform({ does: deed }));
  const { Socket, connect } = which === 'core' ? net : connectx;
  const controller = new AbortController();
  if (script.signal === 'aborted') controller.abort();
  const trace = [];
  // Without a source there is no difference at all.
  const shown = (value) => valueOf(value, script.source);
  const uncaught = (error) => trace.push(['uncaught', shown(error)]);
  process.on('uncaughtException', uncaught);
  const options = {
    ...script.options,
    ...source,
    // What RFC 8305 changes is in test/kernel/race.test.ts.
    ...(which !== 'core' && { autoSelectFamilyOverlap: false }),
    host: script.isNamed ? 'some.example' : ADDRESSES[script.addresses[0]],
    port: script.port === 'closed' ? ports.closed : ports[script.server],
    ...(script.signal && { signal: controller.signal }),
    ...(script.isNamed && { lookup: lookupOf(script, trace) }),
  };
  let socket;
  let closed = 0;
  const over = Promise.withResolvers?.() ?? deferred();
  const start = () => {
    if (script.how === 'connect') socket = connect(options);
    else {
      const { host, port, lookup, autoSelectFamily, autoSelectFamilyAttemptTimeout, family, ...own } = options;
      const to = withoutUndefined({ host, port, lookup, autoSelectFamily, autoSelectFamilyAttemptTimeout, family });
      if (which === 'core' || script.how === 'new Socket') {
        const { localAddress, ...rest } = own;
        socket = new Socket(rest);
        watch();
        socket.connect({ ...to, ...(localAddress === undefined ? {} : { localAddress }) });
        return;
      }
      socket = new Socket(own);
      watch();
      socket.connect(to);
      return;
    }
    watch();
  };
  const record = (event, ...args) => trace.push([event, ...args.map(shown), stateOf(socket)]);
  const watch = () => {
    for (const event of EVENTS) socket.on(event, (...args) => (record(event, ...args), done(event)));
    // Also where listeners were removed.
    const { emit } = socket;
    socket.emit = function (event, ...args) {
      if (event === 'close' && ++closed === 1) setImmediate(over.resolve);
      if (event === 'error' && this.listenerCount('error') === 0) this.on('error', (error) => record('error', error));
      return emit.call(this, event, ...args);
    };
  };
  const done = (moment) => {
    for (const deed of script.deeds) if (deed.at === moment && !deed.isDone) perform(deed);
  };
  const deeds = script.deeds.map((deed) => ({ ...deed, isDone: false }));
  script = { ...script, deeds };
  const perform = (deed) => {
    deed.isDone = true;
    record(`> ${deed.does}`);
    const act = {
      destroy: () => socket.destroy(),
      destroyWith: () => socket.destroy(new Error('mine')),
      abort: () => controller.abort(),
      end: () => socket.end('end'),
      write: () => socket.write('write'),
      reset: () => socket.resetAndDestroy(),
      pause: () => socket.pause(),
      removeAllListeners: () => socket.removeAllListeners(),
      destroySoon: () => socket.destroySoon(),
      setTimeout: () => socket.setTimeout(10),
      unref: () => socket.unref().ref(),
      connectAgain: () => socket.connect({ host: ADDRESSES.answers4, port: ports.mute }),
    }[deed.does];
    try {
      act();
    } catch (error) {
      record('threw', error);
    }
  };
  try {
    start();
    done('call');
    process.nextTick(done, 'tick');
    setImmediate(done, 'immediate');
    setTimeout(done, 4, 'soon');
    setTimeout(() => socket.destroy(), PATIENCE_MS).unref();
    if (socket.destroyed && socket.closed) over.resolve();
    await over.promise;
  } catch (error) {
    record('call threw', error);
    socket?.destroy();
  }
  // What comes in later turns: a second 'close', an exception, a lease that is given back.
  await new Promise((resolve) => setTimeout(resolve, 3));
  if (socket !== undefined && !socket.destroyed) {
    // It was connected again.
    record('still there');
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  process.off('uncaughtException', uncaught);
  const { bytesRead, errored, autoSelectFamilyAttemptedAddresses: attempted } = socket ?? {};
  record('outcome', { bytesRead: script.deeds.length ? undefined : bytesRead, attempted }, errored);
  const crashed = trace.some(([event]) => event === 'uncaught');
  return { trace: trace.map((entry) => JSON.stringify(entry)), inUse: pool?.stats().inUse ?? 0, crashed };
}

export async function servers() {
  const list = {};
  const open = [];
  for (const [name, serve] of Object.entries(SERVERS)) {
    const server = net.createServer({ allowHalfOpen: name === 'echo' }, (socket) =>
      serve(socket.on('error', () => {})),
    );
    server.listen(0, '::');
    await once(server, 'listening');
    open.push(server);
    list[name] = server.address().port;
  }
  const closing = net.createServer().listen(0, '::');
  await once(closing, 'listening');
  list.closed = closing.address().port;
  await new Promise((resolve) => closing.close(resolve));
  return { ports: list, close: () => open.forEach((server) => server.close()) };
}

// What the kernel would take, too.
function sourceOf({ source, inSource }, perform) {
  const ipv4 = '127.0.0.1';
  const both = ({ address, family }) => {
    if (inSource === 'throw') throw new Error('no source');
    if (inSource === 'nothing') return undefined;
    if (inSource !== undefined) perform(inSource);
    if (family === 6) return address === ADDRESSES.answers6 ? '::1' : '2001:db8::1';
    return address === ADDRESSES.silent4 ? '192.0.2.1' : ipv4;
  };
  if (source === 'function' || source === 'pinned') return { localAddress: both };
  if (source !== 'pool') return {};
  const pool = new connectx.SourcePool(['127.0.0.1', '192.0.2.1', '::1', '2001:db8::1'], {
    strategy: (candidates, destination) => candidates.find((one) => one === both(destination)),
  });
  return { localAddress: pool, pool };
}

function lookupOf({ lookup, addresses }, trace) {
  const answer = addresses.map((kind) => ({ address: ADDRESSES[kind], family: net.isIP(ADDRESSES[kind]) }));
  return (host, { all }, callback) => {
    trace.push(['asked', host]);
    if (lookup === 'throws') throw new Error('lookup threw');
    const reply = () => {
      if (lookup === 'fails') callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }));
      else if (lookup === 'nothing') callback(null, all ? [] : '', undefined);
      else if (all) callback(null, answer);
      else callback(null, answer[0].address, answer[0].family);
    };
    if (lookup === 'now') reply();
    else if (lookup === 'tick') process.nextTick(reply);
    else setTimeout(reply, 1);
  };
}

function stateOf(socket) {
  if (socket === undefined) return undefined;
  const { connecting, pending, readyState, destroyed, closed } = socket;
  const listeners = EVENTS.map((event) => socket.listenerCount(event)).join(' ');
  return { connecting, pending, readyState, destroyed, closed, listeners };
}

/** What is known of a source that was asked for is in an error, and of these there is advice about the route from it (docs/errors.md). */
const NO_ROUTE = /^connect (?:ENETUNREACH|EHOSTUNREACH|EACCES|EINVAL|EPERM) /;
const FROM_SOURCE = /; the destination cannot be reached from this source: [^;]+$/;
const LOCAL_END = / - Local \([^)]*\)$/;
// The kernel assigns it at random.
const LOCAL_PORT = /(?<= - Local \([^)]*:)\d+(?=\)$)/;

function valueOf(value, source) {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (!(value instanceof Error)) return value;
  const { message: text, errors: list, localAddress, localPort, ...fields } = value;
  const { name } = value;
  // A pool tells in `errors` what became of its sources.
  const errors = source === 'pool' && name !== 'AggregateError' ? undefined : list?.map((one) => valueOf(one, source));
  if (source === 'none') {
    const message = text.replace(LOCAL_PORT, (port) => (port === '0' ? port : 'PORT'));
    const end = [localAddress, typeof localPort === 'number' && localPort !== 0 ? 'PORT' : localPort];
    return { ...fields, end, name, message, errors };
  }
  const message = (NO_ROUTE.test(text) ? text.replace(FROM_SOURCE, '') : text).replace(LOCAL_END, '');
  return { ...fields, name, message, errors };
}

function withoutUndefined(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

function deferred() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
