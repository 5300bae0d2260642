// net.connect() and connectx.connect() side by side: what others do with sockets, in Node and around it.
import { AsyncLocalStorage } from 'node:async_hooks';
import { execFile, fork } from 'node:child_process';
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as net from 'node:net';
import { type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import * as tls from 'node:tls';
import { inspect, promisify } from 'node:util';
import { connect, createConnection, Socket } from 'connectx';
import { expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';
import {
  type Actor,
  CLOSED,
  close,
  core,
  DEAD4,
  DEAD6,
  greet,
  mine,
  names,
  parity,
  record,
  SERVER,
  serve,
  useParityNetwork,
} from '../helpers/parity.js';
import { fixture } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';

const quiet = (): void => {};
const to = { host: '127.0.0.1', port: SERVER };
const by = { host: 'one.example', port: SERVER, lookup: names('127.0.0.1') };
const SOURCE = { localAddress: '127.0.0.1' };

describeIsolated('what a socket is', () => {
  useParityNetwork();

  test('an instance of net.Socket and of Socket', async () => {
    await serve(greet);
    for (const options of [to, { ...to, ...SOURCE }]) {
      const socket = track(connect(options));
      expect(socket).toBeInstanceOf(net.Socket);
      expect(socket).toBeInstanceOf(Socket);
      expect(socket.constructor).toBe(Socket);
    }
    expect(createConnection).toBe(connect);
  });

  test('no property and no listener that net.connect does not give', async () => {
    await serve(greet);
    const ours = track(connect({ ...to, ...SOURCE }));
    const theirs = track(net.connect(to));
    for (const moment of ['connectionAttempt', 'connect', 'close']) {
      const listeners = (socket: net.Socket) => socket.eventNames().map((name) => [name, socket.listenerCount(name)]);
      expect(Object.keys(ours)).toEqual(Object.keys(theirs));
      expect(listeners(ours)).toEqual(listeners(theirs));
      expect(ours.listenerCount('connectionAttempt')).toBe(0);
      expect(inspect(ours)).toContain('Socket {');
      await Promise.all([ours.resume(), theirs.resume()].map((socket) => once(socket, moment)));
    }
  });

  test('a subclass: its own emit, connect and _destroy are called', async () => {
    await serve(greet);
    const calls: unknown[] = [];
    class Mine extends Socket {
      readonly #field = 'private';
      override emit(event: string | symbol, ...args: unknown[]): boolean {
        calls.push(`${this.#field} ${String(event)}`);
        return super.emit(event, ...args);
      }
      override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
        calls.push('_destroy');
        super._destroy(error, callback);
      }
    }
    const socket = track(new Mine(SOURCE));
    socket.connect(SERVER, '127.0.0.1').resume();
    await close(socket);
    expect(calls).toEqual(
      expect.arrayContaining(['private connectionAttempt', 'private connect', '_destroy', 'private close']),
    );
    expect(calls.filter((call) => call === '_destroy')).toHaveLength(1);
  });

  test('an instrumented net.Socket.prototype.connect is called, with what core can read', async () => {
    await serve(greet);
    const { prototype } = net.Socket;
    const original = prototype.connect;
    const seen: unknown[] = [];
    prototype.connect = function (this: net.Socket, ...args: unknown[]) {
      seen.push(args[0]);
      return Reflect.apply(original, this, args) as net.Socket;
    };
    try {
      const socket = track(connect({ ...to, ...SOURCE }));
      await close(socket.resume());
    } finally {
      prototype.connect = original;
    }
    expect(seen).toEqual([expect.objectContaining(to)]);
  });

  parity('captureRejections', { reaches: 'connect error close' }, (side) => {
    const socket = side.to({ ...to, captureRejections: true }).on('error', quiet);
    const rejecting: (...args: unknown[]) => unknown = () => Promise.reject(new Error('from the listener'));
    socket.on('connect', rejecting);
  });

  if ('BoundSocket' in net) {
    parity(
      'an adopted net.BoundSocket',
      { reaches: 'made connect end close', server: greet, sources: [{}] },
      (side) => {
        const { BoundSocket } = net as unknown as { BoundSocket: new (options: object) => object };
        const socket = side.socket({ handle: new BoundSocket({ host: '127.0.0.1', port: 19000 }) });
        side.note('made', socket);
        socket.connect(SERVER, '127.0.0.1');
        side.note('connecting', socket, socket.localPort);
        socket.resume();
      },
    );
  }
});

describeIsolated('observed from outside', () => {
  useParityNetwork();

  /** Plays the scenario and notes who was announced. */
  function announced(side: Actor, make: () => net.Socket): Promise<void> {
    const sockets: unknown[] = [];
    const listener = (message: unknown) => void sockets.push((message as { socket: net.Socket }).socket);
    subscribe('net.client.socket', listener);
    const socket = make().on('error', quiet).resume();
    unsubscribe('net.client.socket', listener);
    side.note(
      'announced',
      undefined,
      sockets.length,
      sockets.every((one) => one === socket),
    );
    return close(socket);
  }

  for (const [name, make] of Object.entries({
    'connect()': (side: Actor) => side.to(to),
    'connect(), refused': (side: Actor) => side.to({ ...to, port: CLOSED }),
    'connect() by name': (side: Actor) => side.to(by),
    'connect() to a path': (side: Actor) => side.connect('/nowhere/connectx.sock'),
    'new Socket().connect()': (side: Actor) => side.socket().connect(SERVER, '127.0.0.1'),
  })) {
    parity(`the channel net.client.socket: ${name}`, { reaches: 'announced', server: greet }, (side) =>
      announced(side, () => make(side)),
    );
  }

  test('connect() is announced exactly once', async () => {
    for (const side of [core, mine({}), mine(SOURCE)]) {
      const entries = await record(side, (actor) => announced(actor, () => actor.to({ ...to, port: CLOSED })));
      expect(entries.find(({ what }) => what === 'announced')?.values).toEqual([1, true]);
    }
    expect(channel('net.client.socket').hasSubscribers).toBe(false);
  });

  const targets = {
    'an address': to,
    'a name': by,
    'a name with a dead address first': {
      ...{ host: 'two.example', port: SERVER, lookup: names(DEAD6, '127.0.0.1') },
      autoSelectFamilyAttemptTimeout: 10,
    },
    'a closed port': { ...to, port: CLOSED },
  };
  for (const [name, target] of Object.entries(targets)) {
    const reaches = name === 'a closed port' ? 'observed' : 'connect observed';

    parity(`performance entries: ${name}`, { reaches, server: greet }, async (side) => {
      const seen: unknown[] = [];
      const note = (entry: PerformanceEntry) => {
        const { name, entryType, detail } = entry as PerformanceEntry & { detail?: unknown };
        seen.push({ name, entryType, detail });
      };
      const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
      observer.observe({ entryTypes: ['net'] });
      await close(side.to(target).on('error', quiet).resume());
      await new Promise(setImmediate);
      observer.takeRecords().forEach(note);
      observer.disconnect();
      side.note('observed', undefined, seen);
    });

    parity(`AsyncLocalStorage in every callback: ${name}`, { reaches: 'where', server: greet }, async (side) => {
      const storage = new AsyncLocalStorage<string>();
      const where = (event: string) => side.note('where', undefined, event, storage.getStore());
      const lookup = (...[host, options, done]: Parameters<ReturnType<typeof names>>) => {
        where('lookup()');
        by.lookup(host, options, done);
      };
      const options =
        'lookup' in target && !('autoSelectFamilyAttemptTimeout' in target) ? { ...target, lookup } : target;
      const socket = storage.run('inside', () => side.to(options, () => where('listener')));
      for (const event of [
        'lookup',
        'connectionAttempt',
        'connectionAttemptFailed',
        'connectionAttemptTimeout',
        'connect',
        'ready',
        'data',
        'end',
        'error',
        'close',
      ]) {
        socket.on(event, () => where(event));
      }
      storage.run('written', () => socket.write('hello', () => where('written')));
      await close(socket);
    });
  }
});

describeIsolated('in the hands of others', () => {
  useParityNetwork();

  const pem = readFileSync(fixture('tls.pem'));

  const TLS = SERVER + 1000;
  const HTTP = SERVER + 2000;
  const HTTP2 = SERVER + 3000;

  async function listening(server: net.Server | http2.Http2Server, port: number): Promise<void> {
    track(server);
    server.on('connection', (socket: net.Socket) => track(socket).on('error', quiet));
    server.listen(port, '::');
    await once(server, 'listening');
  }

  function tlsServer(): Promise<void> {
    const server = tls.createServer({ key: pem, cert: pem, ALPNProtocols: ['greeting'] }, (socket) => {
      socket.on('error', quiet);
      socket.end(`hello ${String(socket.servername)} ${String(socket.alpnProtocol)}`);
    });
    return listening(server, TLS);
  }

  const secure = { servername: 'test.example', ca: pem, ALPNProtocols: ['greeting'] };
  const ways = { 'an address': { ...to, port: TLS }, 'a name': { ...by, port: TLS } };

  for (const [way, target] of Object.entries(ways)) {
    for (const phase of ['connecting', 'connected']) {
      const reaches = 'connect secureConnect secure data end close';
      parity(`tls.connect({ socket }) to ${way}, ${phase}`, { reaches, setUp: tlsServer }, async (side) => {
        const socket = side.to(target);
        if (phase === 'connected') await once(socket, 'connect');
        const over = side.watch(() => tls.connect({ socket, ...secure }));
        over.on('secureConnect', () => {
          side.note('secure', undefined, over.authorized, over.alpnProtocol, over.getProtocol(), over.encrypted);
        });
        over.resume();
        await close(over);
      });
    }

    parity(
      `tls.connect({ socket }) to ${way}, with a certificate that is not trusted`,
      { reaches: 'connect error close', setUp: tlsServer },
      async (side) => {
        const socket = side.to(target);
        const over = side.watch(() => tls.connect({ socket, servername: 'test.example' })).on('error', quiet);
        await close(over);
      },
    );
  }

  parity('tls.connect({ socket }) over a connection that is refused', { reaches: 'error close' }, async (side) => {
    const socket = side.to({ ...to, port: CLOSED }).on('error', quiet);
    const over = side.watch(() => tls.connect({ socket, ...secure })).on('error', quiet);
    await close(over);
  });

  const httpServer = () =>
    listening(
      http.createServer((request, response) => {
        response.sendDate = false;
        response.end(`${String(request.method)} ${String(request.url)}`);
      }),
      HTTP,
    );

  async function get(side: Actor, options: http.RequestOptions): Promise<void> {
    const request = http.get({ host: '127.0.0.1', port: HTTP, path: '/greeting', ...options });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    let body = '';
    for await (const piece of response) body += (piece as Buffer).toString();
    side.note('answer', undefined, response.statusCode, response.headers.connection, body, request.reusedSocket);
  }

  type CreateConnection = NonNullable<http.RequestOptions['createConnection']>;

  parity('http.request({ createConnection })', { reaches: 'connect answer', setUp: httpServer }, async (side) => {
    const createConnection: CreateConnection = (options) => side.to({ ...options });
    await get(side, { createConnection });
    await get(side, { createConnection, agent: false });
  });

  parity(
    'http.request({ createConnection }), aborted',
    { reaches: 'failed close', setUp: httpServer },
    async (side) => {
      const signal = AbortSignal.timeout(5);
      const createConnection: CreateConnection = (options) => side.to({ ...options, host: DEAD4 });
      const sources = { localAddress: '192.0.2.1' };
      await expect(get(side, { createConnection, signal, ...sources })).rejects.toThrow();
      side.note('failed');
    },
  );

  for (const keepAlive of [true, false]) {
    parity(
      `an http.Agent, keepAlive: ${keepAlive}`,
      { reaches: 'connect answer answer', setUp: httpServer },
      async (side) => {
        class Agent extends http.Agent {
          override createConnection(options: object): net.Socket {
            return side.to(options);
          }
        }
        const agent = new Agent({ keepAlive, maxSockets: 1 });
        await Promise.all([get(side, { agent }), get(side, { agent })]);
        await new Promise(setImmediate);
        side.note(
          'free',
          undefined,
          Object.values(agent.freeSockets).map((list) => list?.length),
        );
        agent.destroy();
      },
    );
  }

  // When its last frames come and how many bytes they are is HTTP/2's affair.
  test.each([core, mine({}), mine(SOURCE)])('http2.connect({ createConnection }), by $name', async (side) => {
    await http2Server(HTTP2, listening);
    const entries = await record(side, async (actor) => {
      const session = http2.connect(`http://127.0.0.1:${HTTP2}`, {
        createConnection: ({ hostname: host, port }) => actor.to({ host, port: Number(port) }),
      });
      const stream = session.request({ ':path': '/' }).setEncoding('utf8');
      let body = '';
      for await (const piece of stream) body += String(piece);
      actor.note('answer', undefined, body);
      session.close();
    });
    const happened = entries.map(({ what, values }) => (what === 'answer' ? `answer ${String(values[0])}` : what));
    expect(happened).toEqual(
      expect.arrayContaining(['connectionAttempt', 'connect', 'ready', 'answer hello', 'close']),
    );
    expect(happened).not.toContain('error');
  });

  parity('handed to a child process', { reaches: 'connect heard close' }, async (side) => {
    const socket = side.to(to);
    await once(socket, 'connect');
    const child = fork(fixture('adopt.mjs'));
    const exit = once(child, 'exit');
    child.send('take this', socket);
    side.note('heard', undefined, (await once(child, 'message'))[0]);
    socket.destroy();
    child.disconnect();
    await exit;
  });
});

describeIsolated('ref() and unref()', () => {
  useParityNetwork();

  const everything = 'connectionAttempt connect data end close';
  // The connect(2) that is under way keeps the process alive, whatever the socket.
  const connecting = 'connectionAttempt connect';
  const cases = [
    { what: 'nothing', how: everything },
    { what: 'unref at once', how: connecting },
    { what: 'unref and ref at once', how: everything },
    { what: 'unref when connected', how: connecting },
    { what: 'unref, and ref when connected', how: everything },
    { what: 'unref before, held until connected', how: connecting },
  ];
  test.each(cases)('$what', async ({ what, how }) => {
    await serve(greet);
    const run = async (library: string, source: object) => {
      const args = [fixture('hold.mjs'), library, '127.0.0.1', `${SERVER}`, what, JSON.stringify(source)];
      return (await promisify(execFile)(process.execPath, args, { timeout: 20_000 })).stdout;
    };
    const [expected, ...ours] = await Promise.all([run('net', {}), run('connectx', {}), run('connectx', SOURCE)]);
    expect([expected, ...ours]).toEqual([how, how, how]);
  });
});

function http2Server(
  port: number,
  listening: (server: http2.Http2Server, port: number) => Promise<void>,
): Promise<void> {
  const server = http2.createServer();
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end('hello');
  });
  return listening(server, port);
}
