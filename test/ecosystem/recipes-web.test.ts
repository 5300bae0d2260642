// "HTTP and WebSocket" of docs/recipes.md: each program, and one for each library that it names, beside the same one without connectx.
// A machine with 4 ephemeral ports.
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { read } from '../helpers/documents.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { type Change, changed, type Recipe, recipesOf, type Run, start } from '../helpers/recipes.js';
import { track, until } from '../helpers/sockets.js';
import { webServer } from '../helpers/web.js';
import { variants } from '../helpers/web-recipes.js';

const SOURCE = '192.0.2.7';
const SERVERS = ['203.0.113.10', '203.0.113.11', '203.0.113.12'];
const PROXIES = ['203.0.113.20', '203.0.113.21', '203.0.113.22'];
const NAMES = ['a.example', 'b.example', 'c.example'];
const hosts = [...SERVERS.map((ip, n) => `${ip} ${NAMES[n]}`), `${PROXIES[0]} proxy.example`].join('\n');

/** Answers are given when so many connections are open at once. */
interface Held {
  hold: number;
}

interface Case {
  /** Its program without connectx. */
  plain: readonly Change[];
  url: (host: string) => string;
  serve: () => Promise<readonly Held[]>;
  /** The program is a server itself: asks it for these URLs, and resolves with the answers. */
  drive?: (urls: readonly string[]) => Promise<string[]>;
  /** There is one destination, the proxy: it has as many connections as there are ports, with connectx and without. */
  single?: true;
}

const agentOf = (name: string, module: string): Change => [
  `import { ${name} } from 'connectx/http'`,
  `import { Agent as ${name} } from '${module}'`,
];
const undiciAlone: Change = [
  "import { buildConnector } from 'connectx/undici'",
  "import { buildConnector } from 'undici'",
];
// undici's connector takes its source from the dispatcher.
const withSource: Change = ['new Agent({ connect', `new Agent({ localAddress: '${SOURCE}', connect`];

/** One server for all addresses: who holds back its answers has to see all connections. */
const serveWeb = (port: number, options: object) => async () => [await webServer(port, '0.0.0.0', options)];

async function serveWs(): Promise<Held[]> {
  const held: Held = { hold: 0 };
  const waiting: (() => void)[] = [];
  const server = http.createServer().listen(80, '0.0.0.0');
  server.on('connection', (socket) => void track(socket).on('error', () => {}));
  track(server);
  const wss = new WebSocketServer({ server });
  wss.on('connection', (socket, { socket: { remoteAddress: address }, headers }) => {
    const { 'sec-websocket-key': _, ...rest } = headers;
    waiting.push(() => socket.send(`${JSON.stringify({ address, headers: rest })}\n`));
    if (waiting.length >= held.hold) for (const answer of waiting.splice(0)) answer();
  });
  await once(server, 'listening');
  return [held];
}

/** A SOCKS5 server (RFC 1928) that is the destination itself. */
async function serveSocks(): Promise<Held[]> {
  const held: Held = { hold: 0 };
  const waiting: (() => void)[] = [];
  const server = net.createServer((socket) => {
    track(socket).on('error', () => {});
    // Version 5, one method: no authentication.
    socket.once('data', (greeting) => {
      socket.write(Buffer.from([5, 0]));
      socket.once('data', (request) => {
        const destination = [...request.subarray(4)].join('.');
        socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
        const { remoteAddress: address } = socket;
        const seen = { address, greeting: [...greeting], destination };
        waiting.push(() => socket.end(`${JSON.stringify(seen)}\n`));
        if (waiting.length >= held.hold) for (const answer of waiting.splice(0)) answer();
      });
    });
  });
  track(server).listen(1080, '0.0.0.0');
  await once(server, 'listening');
  return [held];
}

/** An HTTP proxy, for CONNECT, that is the destination itself. */
async function serveProxy(): Promise<Held[]> {
  const held: Held = { hold: 0 };
  const waiting: (() => void)[] = [];
  const proxy = http.createServer();
  proxy.on(
    'connect',
    ({ url, headers, socket: { remoteAddress: address } }: http.IncomingMessage, socket: net.Socket) => {
      track(socket).on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', () => {
        const seen = `${JSON.stringify({ address, url, headers })}\n`;
        waiting.push(() => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${seen.length}\r\n\r\n${seen}`));
        if (waiting.length >= held.hold) for (const answer of waiting.splice(0)) answer();
      });
    },
  );
  proxy.on('connection', (socket) => track(socket));
  track(proxy).listen(3128, PROXIES[0]);
  await once(proxy, 'listening');
  return [held];
}

/** Requests to the proxy that is the program, from ports outside of the ephemeral range. */
async function driveProxy(urls: readonly string[]): Promise<string[]> {
  return Promise.all(
    urls.map(async (url, n) => {
      const { host, pathname: path } = new URL(url);
      const options = { host: '127.0.0.1', port: 3128, path, headers: { host }, localPort: 40000 + n, agent: false };
      const [response] = (await once(http.get(options), 'response')) as [http.IncomingMessage];
      let text = '';
      for await (const data of response) text += String(data);
      return text;
    }),
  );
}

const url = (scheme: string) => (host: string) => `${scheme}://${host}/path`;
const cases: Record<string, Case> = {
  http: { plain: [agentOf('HttpAgent', 'node:http')], url: url('http'), serve: serveWeb(80, {}) },
  https: { plain: [agentOf('HttpsAgent', 'node:https')], url: url('https'), serve: serveWeb(443, { tls: true }) },
  http2: {
    // core's createConnection() does not look at the options of its agent.
    plain: [
      agentOf('HttpsAgent', 'node:https'),
      ['createConnection({ host', `createConnection({ localAddress: '${SOURCE}', host`],
    ],
    url: url('https'),
    serve: serveWeb(443, { h2: true }),
  },
  undici: {
    plain: [undiciAlone, withSource],
    url: url('http'),
    serve: serveWeb(80, {}),
  },
  ProxyAgent: {
    plain: [undiciAlone, ['...options, connect }', `...options, localAddress: '${SOURCE}', connect }`]],
    url: url('http'),
    serve: serveProxy,
    single: true,
  },
  fetch: { plain: [undiciAlone, withSource], url: url('http'), serve: serveWeb(80, {}) },
  ws: { plain: [agentOf('HttpAgent', 'node:http')], url: url('ws'), serve: serveWs },
  socks: {
    plain: [["import { connect } from 'connectx'", "import { connect } from 'node:net'"]],
    url: (host) => `socks5://${host}:1080`,
    serve: serveSocks,
  },
  'http-proxy-3': {
    plain: [agentOf('HttpAgent', 'node:http')],
    url: url('http'),
    serve: serveWeb(80, {}),
    drive: driveProxy,
  },
};

/** What a server says of a connection, without what differs each time. */
function answersIn(text: string): object[] {
  const lines = text.split('\n').filter((line) => line.startsWith('{'));
  return lines
    .map((line) => ({ ...(JSON.parse(line) as object), port: undefined, connection: undefined }))
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

async function outcome(recipe: Recipe, { drive }: Case, urls: readonly string[]) {
  const options = { hosts, packages: { undici: 'undici6' }, env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } };
  if (drive === undefined) {
    const run = start(recipe, { ...options, args: urls });
    const status = await run.ended;
    return { status, answers: answersIn(run.output.stdout), said: run.output.stderr };
  }
  const run: Run = start(recipe, options);
  await until(
    () => run.output.stdout.includes('ready'),
    () => run.output.stderr,
  );
  const texts = await drive(urls);
  run.process.kill('SIGKILL');
  await run.ended;
  const failed = texts.filter((text) => !text.startsWith('{'));
  return { status: failed.length === 0 ? 0 : 1, answers: answersIn(texts.join('\n')), said: failed.join() };
}

describeIsolated('the recipe for', () => {
  useNetwork({ range: [20000, 20003], addresses: [SOURCE, ...SERVERS, ...PROXIES] });
  const programs = recipesOf('HTTP and WebSocket');

  test('there is a case for each', () => {
    // The second one below "undici" is the one for ProxyAgent, which needs something to do.
    expect(programs.map(({ name }) => name)).toEqual(['http', 'undici', 'undici, 2']);
    expect(Object.keys(cases).sort()).toEqual(['http', 'undici', ...Object.keys(variants)].sort());
  });

  test.each(Object.entries(variants))('the page says it for %s', (_, { says, recipe }) => {
    expect(read('docs/recipes.md')).toContain(says);
    expect(recipe.code).toContain(says.replace(/^A `(.*)`$/, 'new $1('));
  });

  for (const [name, found] of Object.entries(cases)) {
    const recipe = { ...(variants[name]?.recipe ?? programs.find((one) => one.name === name)), name } as Recipe;
    const plain = changed(recipe, found.plain);
    const each = (times: number) => NAMES.flatMap((name) => Array<string>(times).fill(found.url(name)));
    const most = found.single ? 4 : 12;

    test(`${recipe.name}: comes from its source, and shares the ports`, async () => {
      const servers = await found.serve();
      for (const server of servers) server.hold = most;
      const { status, answers, said } = await outcome(recipe, found, each(4).slice(0, most));
      expect(said).toBe('');
      expect([status, answers.length]).toEqual([0, most]);
      expect(new Set(answers.map((answer) => (answer as { address: string }).address))).toEqual(new Set([SOURCE]));
    });

    test(`${recipe.name}: the control, without connectx, is out of ports`, async () => {
      const servers = await found.serve();
      // A program that ends by itself does so at its first error; one that serves gets answers, and keeps its connections.
      for (const server of servers) server.hold = found.drive ? 4 : most + 1;
      const { status, said } = await outcome(plain, found, each(5).slice(0, most + 1));
      expect(status).not.toBe(0);
      expect(said).toContain('EADDRINUSE');
    });

    test(`${recipe.name}: is otherwise like the same program without connectx`, async () => {
      // What the first program leaves in TIME-WAIT, core does not take.
      sysctl('ipv4.ip_local_port_range', '20000 20099');
      await found.serve();
      const urls = each(1);
      const mine = await outcome(recipe, found, urls);
      expect(mine).toMatchObject({ status: 0, said: '' });
      expect(mine.answers.length).toBe(3);
      const core = await outcome(plain, found, urls);
      expect(mine).toEqual(core);
    });
  }
});
