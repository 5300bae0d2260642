// examples/forward-proxy as users run it: curl through it to real servers, with fewer ports than connections.
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import { join } from 'node:path';
import { connect } from 'connectx';
import { describe, expect, test } from 'vitest';
import { answerOf, CLEAN_END, Example } from '../helpers/examples.js';
import { describeIsolated, tcpStates, useNetwork } from '../helpers/netns.js';
import { nameServer } from '../helpers/name-server.js';
import { folderWith, has, leftOutWithout, nginx } from '../helpers/programs.js';
import { closed, connected, track, until } from '../helpers/sockets.js';

const PORTS = 4;
const RANGE = [20000, 20000 + PORTS - 1] as const;
const PROXY = { host: '127.0.0.1', port: 3128 };
const SERVERS = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];
const SERVER = 8080;
const [A = ''] = SERVERS;
const V6 = { source: '2001:db8::11', server: '2001:db8::2' };
const ALICE = ['127.0.0.11'];
const BOB = ['127.0.0.21', '127.0.0.22'];
const RESOLVER = '127.0.0.53';
/** The address of an interface behind which nobody answers. */
const NOWHERE = { source: '198.18.0.1', server: '198.18.0.2' };

/** All that the tests have for destinations is private. */
const ALLOW = ['127.0.0.0/8', '2001:db8::/64', '198.18.0.0/24'];

const leftOut = leftOutWithout('curl', 'setpriv');

interface Settings {
  tenants?: object;
  limits?: object;
  timeouts?: object;
  allow?: string[];
  deny?: string[];
  resolvers?: string[];
  logInterval?: number;
  retryAfter?: number;
}

async function startProxy(settings: Settings = {}, env?: NodeJS.ProcessEnv): Promise<Example> {
  const tenants = {
    alice: { password: 'wonderland', sources: [...ALICE, V6.source] },
    bob: { password: 'b:uilder', sources: BOB },
    nobody: { password: 'nowhere', sources: [NOWHERE.source] },
  };
  const example = new Example('forward-proxy', { listen: PROXY, tenants, allow: ALLOW, ...settings }, env);
  await example.logged('listening');
  return example;
}

let clients = 0;

/** Clients have addresses of their own, because their ports are few as well. */
function clientAddress(): string {
  clients++;
  return `127.1.${clients >> 8}.${clients & 255}`;
}

interface Answer {
  exit: unknown;
  /** Of the answer to CONNECT, for tunnels that were refused; else of the last one. */
  status: number;
  retryAfter: string;
  body: string;
}

/** curl through the proxy. */
async function curl(user: string | undefined, url: string, ...more: string[]): Promise<Answer> {
  const marker = '\n--\n';
  const headers = join(folderWith(), 'headers');
  // --noproxy: whatever the environment says.
  const args = ['-sS', '--noproxy', '', '--max-time', '20', '-x', proxyUrl(user)];
  // Bound to a port, for one that is bound by the proxy without connectx would not be given to it.
  const source = ['--interface', clientAddress(), '--local-port', '40000-49999'];
  const format = ['-D', headers, '-w', `${marker}%{http_connect} %{http_code}`];
  const { exit, output } = await answerOf('curl', ...args, ...source, ...format, ...more, url);
  const [body = '', figures = ''] = output.split(marker);
  const [connectStatus, status] = figures.split(' ');
  const [, retryAfter = ''] =
    /^retry-after: (.*)\r$/im.exec(existsSync(headers) ? readFileSync(headers, 'utf8') : '') ?? [];
  return { exit, body, retryAfter, status: Number(status) || Number(connectStatus) };
}

/** A connection that a client of a tunnel has closed first may be in TIME-WAIT; towards loopback for a second. */
async function persistently(url: string, ...more: string[]): Promise<Answer> {
  for (;;) {
    const answer = await curl('alice', url, ...more);
    if (answer.status !== 503) return answer;
  }
}

const PASSWORDS: Record<string, string> = { alice: 'wonderland', bob: 'b:uilder', nobody: 'nowhere' };

function proxyUrl(user: string | undefined): string {
  const credentials = user === undefined ? '' : `${user}:${encodeURIComponent(PASSWORDS[user] ?? 'wrong')}@`;
  return `http://${credentials}${PROXY.host}:${PROXY.port}`;
}

const authorization = (user: string) =>
  `Proxy-Authorization: Basic ${Buffer.from(`${user}:${PASSWORDS[user]}`).toString('base64')}\r\n`;

/** A client of which every byte is ours. */
async function rawClient(text = '', options: Partial<net.TcpNetConnectOpts> = {}): Promise<net.Socket> {
  const socket = await connected(connect({ ...PROXY, localAddress: clientAddress(), allowHalfOpen: true, ...options }));
  socket.on('error', () => {});
  socket.write(text);
  return socket;
}

/** An open tunnel to `host`. */
async function rawTunnel(host = A, user = 'alice'): Promise<net.Socket> {
  const socket = await rawClient(`CONNECT ${host}:${SERVER} HTTP/1.1\r\nHost: ${host}\r\n${authorization(user)}\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  expect(answer.toString()).toBe('HTTP/1.1 200 Connection established\r\n\r\n');
  return socket;
}

/** All that comes until the other side ends or breaks off. */
async function everything(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (data) => (text += String(data)));
    for (const event of ['end', 'close']) socket.once(event, () => resolve(text));
  });
}

/** nginx where it is installed, else Node: answers with the source address that it sees. */
async function sourceServers(hosts: readonly string[]): Promise<void> {
  if (has('nginx')) {
    const listen = hosts.map((host) => `listen ${net.isIPv6(host) ? `[${host}]` : host}:${SERVER};`).join(' ');
    const program = nginx(
      folderWith(),
      `access_log off; server { ${listen} location / { return 200 "$remote_addr"; } }`,
    );
    await program.listensOn(hosts, SERVER);
    return;
  }
  await nodeServers(hosts, ({ socket }, response) => response.end(socket.remoteAddress));
}

async function nodeServers(hosts: readonly string[], listener: http.RequestListener): Promise<void> {
  for (const host of hosts) {
    const server = track(http.createServer(listener));
    server.on('connection', (socket) => track(socket));
    await once(server.listen(SERVER, host), 'listening');
  }
}

/** A TCP server; `serve` gets each connection. */
async function tcpServer(serve: (socket: net.Socket) => void, host = A): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    track(socket).on('error', () => {});
    serve(socket);
  });
  await once(track(server).listen(SERVER, host), 'listening');
  return server;
}

/** Servers that answer when they are told to, with the source that they see. */
async function holdingServers(hosts: readonly string[]) {
  const held: http.ServerResponse[] = [];
  const sources: string[] = [];
  await nodeServers(hosts, ({ socket, headers }, response) => {
    sources.push(`${socket.remoteAddress}`);
    // The server closes, so that TIME-WAIT is not the proxy's.
    response.setHeader('Connection', 'close');
    if (headers['x-hold'] === undefined) response.end('at once');
    else held.push(response);
  });
  return { held, sources, release: () => held.splice(0).forEach((response) => response.end('released')) };
}

const HOLD = ['-H', 'X-Hold: 1'];
const url = (host: string, path = '/') => `http://${net.isIPv6(host) ? `[${host}]` : host}:${SERVER}${path}`;

describeIsolated(`examples/forward-proxy, ${PORTS} ephemeral ports`, () => {
  useNetwork({
    range: RANGE,
    addresses: [V6.source, V6.server],
    commands: [
      'ip link add nowhere type veth peer name nobody',
      `ip addr add ${NOWHERE.source}/24 dev nowhere`,
      'ip link set nobody up',
      'ip link set nowhere up',
      // A card that is not there: with one to ask for it would be EHOSTUNREACH.
      `ip neigh add ${NOWHERE.server} lladdr 02:00:00:00:00:01 dev nowhere nud permanent`,
    ],
  });

  describe.each([
    ['plain requests', []],
    ['tunnels', ['-p']],
  ])('%s', (_, how) => {
    test.skipIf(leftOut)(`each tenant has source addresses of its own${leftOut}`, async () => {
      await sourceServers([...SERVERS, V6.server]);
      const proxy = await startProxy();
      const seen = async (user: string, host: string) => (await curl(user, url(host), ...how)).body;
      for (const host of SERVERS) expect(await seen('alice', host)).toBe(ALICE[0]);
      expect(await seen('alice', V6.server)).toBe(V6.source);
      const bobs = new Set([
        await seen('bob', A),
        await seen('bob', SERVERS[1] ?? ''),
        await seen('bob', SERVERS[2] ?? ''),
      ]);
      expect([...bobs].sort()).toEqual(BOB);
      // A source of this family is none of bob's.
      expect(await curl('bob', url(V6.server), ...how)).toMatchObject({ status: 502 });
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    });

    test.skipIf(leftOut)(`more than there are ports, then 503, one log line, and recovery${leftOut}`, async () => {
      const { held, sources, release } = await holdingServers(SERVERS);
      const proxy = await startProxy({ logInterval: 600_000, retryAfter: 7 });
      const many = SERVERS.flatMap((host) => Array.from({ length: PORTS }, () => url(host)));
      for (const round of [1, 2]) {
        const answers = Promise.all(many.map(async (each) => persistently(each, ...how, ...HOLD)));
        await until(
          () => held.length === many.length,
          () => JSON.stringify(proxy.lines),
        );
        for (const host of SERVERS) {
          expect(await curl('alice', url(host), ...how)).toMatchObject({ status: 503, retryAfter: '7' });
        }
        // A tenant with another source is not concerned.
        expect(await curl('bob', url(A), ...how)).toMatchObject({ status: 200, body: 'at once' });
        expect(proxy.linesOf('exhausted')).toMatchObject([
          { tenant: 'alice', status: 503, host: A, reason: 'pool-exhausted', count: 1 },
        ]);
        release();
        expect((await answers).map(({ body }) => body)).toEqual(many.map(() => 'released'));
        expect(await persistently(url(A), ...how)).toMatchObject({ status: 200 });
        expect(sources.filter((source) => source === ALICE[0])).toHaveLength(round * (many.length + 1));
      }
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
      // What was held back, in one line.
      const [, rest, ...more] = proxy.linesOf('exhausted').map(({ count }) => count);
      expect(rest).toBeGreaterThanOrEqual(2 * SERVERS.length - 1);
      expect(more).toEqual([]);
    });

    test.skipIf(leftOut)(
      `a tenant's addresses have ${PORTS} ports each, towards one destination${leftOut}`,
      async () => {
        const { held, sources, release } = await holdingServers([A]);
        await startProxy();
        const busy = Array.from({ length: PORTS * BOB.length }, async () => curl('bob', url(A), ...how, ...HOLD));
        await until(() => held.length === busy.length);
        expect(sources.sort()).toEqual(BOB.flatMap((source) => Array.from({ length: PORTS }, () => source)));
        expect(await curl('bob', url(A), ...how)).toMatchObject({ status: 503 });
        release();
        await Promise.all(busy);
      },
    );

    test.skipIf(leftOut)(
      `control: without connectx ${PORTS} connections are all that there are${leftOut}`,
      async () => {
        const { held, release } = await holdingServers(SERVERS);
        await startProxy({}, { CONNECTX_DISABLE_NATIVE: '1' });
        const first = Array.from({ length: PORTS }, async () => curl('alice', url(A), ...how, ...HOLD));
        await until(() => held.length === PORTS);
        for (const host of SERVERS) expect(await curl('alice', url(host), ...how)).toMatchObject({ status: 502 });
        release();
        await Promise.all(first);
      },
    );

    test.skipIf(leftOut)(`who may, how much and where to${leftOut}`, async () => {
      await nameServer(RESOLVER, 53, { 'inside.test': ['::1', '127.0.0.3'], 'both.test': ['127.0.0.3', A] });
      const { held, release } = await holdingServers([A]);
      const sources = ALICE;
      const proxy = await startProxy({
        tenants: { alice: { password: 'wonderland', sources, connections: 2 } },
        limits: { headerBytes: 4096 },
        allow: ['127.0.0.2'],
        deny: ['127.0.0.9'],
        resolvers: [RESOLVER],
      });
      expect(await curl(undefined, url(A), ...how)).toMatchObject({ status: 407 });
      expect(await curl('mallory', url(A), ...how)).toMatchObject({ status: 407 });
      expect(await curl('alice', url(SERVERS[1] ?? ''), ...how)).toMatchObject({ status: 403 });
      // By name, too.
      expect(await curl('alice', url('inside.test'), ...how)).toMatchObject({ status: 403 });
      expect(await curl('alice', url('both.test'), ...how)).toMatchObject({ status: 200 });
      expect(await curl('alice', url('nobody.invalid'), ...how)).toMatchObject({ status: 502 });
      expect(await curl('alice', `http://${A}:9/`, ...how)).toMatchObject({ status: 502 });
      const long = how.length > 0 ? '--proxy-header' : '-H';
      expect(await curl('alice', url(A), ...how, long, `X-Long: ${'x'.repeat(5000)}`)).toMatchObject({ status: 431 });

      const busy = [1, 2].map(async () => curl('alice', url(A), ...how, ...HOLD));
      await until(() => held.length === 2);
      expect(await curl('alice', url(A), ...how)).toMatchObject({ status: 429, retryAfter: '5' });
      expect(proxy.linesOf('tenant-limit')).toMatchObject([{ tenant: 'alice' }]);
      release();
      await Promise.all(busy);
      expect(await curl('alice', url(A), ...how)).toMatchObject({ status: 200 });
    });

    test.skipIf(leftOut)(`connections in total, and the next one when there is room again${leftOut}`, async () => {
      const { held, release } = await holdingServers([A]);
      const proxy = await startProxy({ limits: { connections: 2 } });
      const busy = [1, 2].map(async () => curl('alice', url(A), ...how, ...HOLD));
      await until(() => held.length === 2);
      expect((await curl('alice', url(A), ...how)).exit).not.toBe(0);
      expect(proxy.linesOf('connection-limit')).toHaveLength(1);
      release();
      await Promise.all(busy);
      await until(() => !tcpStates().some(({ state, local }) => state === 'ESTAB' && local.endsWith(`:${PROXY.port}`)));
      expect(await curl('alice', url(A), ...how)).toMatchObject({ status: 200 });
    });

    test.skipIf(leftOut)(`a destination that does not answer is 504${leftOut}`, async () => {
      const proxy = await startProxy({ timeouts: { connect: 200 } });
      expect(await curl('nobody', url(NOWHERE.server), ...how)).toMatchObject({ status: 504 });
      await until(() => tcpStates().every(({ state }) => state !== 'SYN-SENT'));
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
    });

    test.skipIf(leftOut)(`SIGTERM: what is under way ends well, and nothing new begins${leftOut}`, async () => {
      const { held, release } = await holdingServers([A]);
      const proxy = await startProxy();
      const busy = curl('alice', url(A), ...how, ...HOLD);
      await until(() => held.length === 1);
      proxy.kill('SIGTERM');
      await proxy.logged('stopping');
      // 7: failed to connect.
      expect(await curl('alice', url(A), ...how)).toMatchObject({ exit: 7 });
      release();
      expect(await busy).toMatchObject({ exit: 0, status: 200, body: 'released' });
      expect(await proxy.end()).toEqual(CLEAN_END);
      expect(proxy.linesOf('stopped')).toMatchObject([{ cut: 0 }]);
    });

    test.skipIf(leftOut)(`SIGTERM: what is not over at the deadline is cut off${leftOut}`, async () => {
      const { held } = await holdingServers([A]);
      const proxy = await startProxy({ timeouts: { shutdown: 100 } });
      const busy = curl('alice', url(A), ...how, ...HOLD);
      await until(() => held.length === 1);
      expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
      expect((await busy).exit).not.toBe(0);
      expect(proxy.linesOf('stopped')).toMatchObject([{ cut: how.length }]);
    });
  });

  test('a client that says nothing, or not all of it, is let go', async () => {
    await startProxy({ timeouts: { headers: 200 } });
    for (const text of ['', `GET ${url(A)} HTTP/1.1\r\nHost: a\r\n`]) {
      expect(await everything(await rawClient(text))).toMatch(/^HTTP\/1.1 408 /);
    }
  });

  test('a tunnel in which nothing moves is closed, on both sides', async () => {
    const sockets: net.Socket[] = [];
    await tcpServer((socket) => void sockets.push(socket.resume()));
    await startProxy({ timeouts: { idle: 200 } });
    const client = await rawTunnel();
    await Promise.all([closed(client.resume()), until(() => sockets.every((socket) => socket.closed))]);
    // A reset: the port can be used again at once.
    expect(tcpStates().filter(({ remote }) => remote === `${A}:${SERVER}`)).toEqual([]);
  });

  test('a server that never answers is 504', async () => {
    await nodeServers([A], () => {});
    await startProxy({ timeouts: { idle: 200 } });
    const client = await rawClient(`GET ${url(A)} HTTP/1.1\r\nHost: a\r\n${authorization('alice')}\r\n`);
    expect(await everything(client)).toMatch(/^HTTP\/1.1 504 /);
  });

  test.skipIf(leftOut)(`headers, bodies and answers are passed on as they are${leftOut}`, async () => {
    let seen: string[] = [];
    await nodeServers([A], (request, response) => {
      seen = [`${request.method} ${request.url}`, ...request.rawHeaders];
      response.writeHead(201, 'As You Like', [
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'Keep-Alive',
        'x',
        'X-Hop',
        '1',
        'Connection',
        'X-Hop',
      ]);
      request.pipe(response);
    });
    await startProxy();
    const headers = [
      'Connection: keep-alive, X-Secret',
      'X-Secret: 1',
      'TE: trailers',
      'X-Two: 1',
      'X-Two: 2',
      'Host: else.invalid',
    ];
    const lines = headers.flatMap((line) => ['-H', line]);
    const file = join(folderWith({ body: 'x'.repeat(3_000_000) }), 'body');
    const post = await curl(
      'alice',
      url(A, '/a/../b%20c?d=[e]'),
      '--path-as-is',
      '-g',
      '-i',
      ...lines,
      '--data-binary',
      `@${file}`,
    );
    expect(seen.slice(0, 1)).toEqual(['POST /a/../b%20c?d=[e]']);
    const pairs = seen
      .slice(1)
      .flatMap((name, index, list) => (index % 2 === 0 ? [`${name}: ${list[index + 1]}`] : []));
    expect(pairs).toEqual(
      expect.arrayContaining(['X-Two: 1', 'X-Two: 2', `Host: ${A}:${SERVER}`, 'Via: 1.1 forward-proxy']),
    );
    expect(pairs.filter((line) => /secret|^te:|^proxy-|else/i.test(line))).toEqual([]);
    expect(/\r\n\r\n(x*)$/.exec(post.body)?.[1]).toHaveLength(3_000_000);
    expect(post.body).toMatch(/HTTP\/1.1 201 As You Like\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n/);
    expect(post.body).not.toMatch(/x-hop/i);

    // A body of unknown length, with a method that core expects none of.
    const chunked = ['-X', 'DELETE', '-H', 'Transfer-Encoding: chunked', '--data-binary', `@${file}`];
    expect((await curl('alice', url(A), ...chunked)).body).toHaveLength(3_000_000);
    const expecting = ['-H', 'Expect: 100-continue', '--expect100-timeout', '20', '--data-binary', 'small'];
    expect(await curl('alice', url(A), ...expecting)).toMatchObject({ status: 201, body: 'small' });
    expect(await curl('alice', url(A), '-I')).toMatchObject({ status: 201 });
    expect(await curl('alice', url(A), '-H', 'Transfer-Encoding: gzip, chunked', '-d', 'x')).toMatchObject({
      status: 501,
    });
  });

  test('what is no request to a proxy is 400', async () => {
    await startProxy();
    for (const line of [
      'GET / HTTP/1.1',
      'GET https://a/ HTTP/1.1',
      'GET http://u@a/ HTTP/1.1',
      'CONNECT a HTTP/1.1',
      'CONNECT a:0 HTTP/1.1',
    ]) {
      const client = await rawClient(`${line}\r\nHost: a\r\n${authorization('alice')}\r\n`);
      client.end();
      expect(await everything(client)).toMatch(/^HTTP\/1.1 400 /);
    }
  });

  test.skipIf(leftOut)(
    `upstream connections are kept, and one that the server has closed does no harm${leftOut}`,
    async () => {
      const sockets: net.Socket[] = [];
      await nodeServers([A], ({ socket }, response) => {
        sockets.push(socket);
        response.end('ok');
      });
      await startProxy();
      for (let n = 0; n < 3; n++) expect(await curl('alice', url(A))).toMatchObject({ status: 200 });
      expect(new Set(sockets).size).toBe(1);
      sockets[0]?.resetAndDestroy();
      expect(await curl('alice', url(A))).toMatchObject({ status: 200 });
      expect(new Set(sockets).size).toBe(2);
    },
  );

  test.skipIf(leftOut)(
    `a server that closes a kept connection instead of answering is asked once more${leftOut}`,
    async () => {
      let connections = 0;
      await tcpServer((socket) => {
        connections++;
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
          socket.once('data', () => socket.resetAndDestroy());
        });
      });
      await startProxy();
      expect(await curl('alice', url(A))).toMatchObject({ status: 200, body: 'ok' });
      expect(await curl('alice', url(A))).toMatchObject({ status: 200, body: 'ok' });
      expect(connections).toBe(2);
      // It might have been done already.
      expect(await curl('alice', url(A), '-d', 'x')).toMatchObject({ status: 502 });
    },
  );

  test.skipIf(leftOut)(`an answer that breaks the rules ends no more than itself${leftOut}`, async () => {
    const answers = ['HTTP/1.1 200 \u0001\r\n\r\n', 'nonsense\r\n\r\n', 'HTTP/1.1 101 Switching\r\n\r\n', ''];
    let n = 0;
    await tcpServer((socket) => socket.once('data', () => socket.end(answers[n++] ?? '')));
    const proxy = await startProxy();
    for (const _ of answers) expect(await curl('alice', url(A))).toMatchObject({ status: 502 });
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test.skipIf(leftOut)(`an answer that breaks off does not look complete${leftOut}`, async () => {
    await tcpServer((socket) =>
      socket.once('data', () => {
        socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      }),
    );
    await startProxy();
    // 18: partial file.
    expect(await curl('alice', url(A))).toMatchObject({ exit: 18, status: 200, body: 'hello' });
  });

  test('either side of a tunnel may end first', async () => {
    await tcpServer((socket) => {
      // Hears all before it answers.
      void everything(socket).then((text) => socket.end(`heard ${text}`));
    });
    await tcpServer((socket) => {
      socket.once('data', () => socket.end('goodbye'));
      void everything(socket).then((text) => (heard = text));
    }, SERVERS[1]);
    let heard = '';
    const proxy = await startProxy();
    const clientFirst = await rawTunnel();
    clientFirst.end('x'.repeat(1_000_000));
    expect(/^heard (x*)$/.exec(await everything(clientFirst))?.[1]).toHaveLength(1_000_000);

    const serverFirst = await rawTunnel(SERVERS[1]);
    serverFirst.write('y');
    expect(await everything(serverFirst)).toBe('goodbye');
    serverFirst.end('y'.repeat(999_999));
    await until(() => heard.length > 0);
    expect(heard).toHaveLength(1_000_000);
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test.each(['upwards', 'downwards'])('back-pressure, %s: who reads nothing is sent no more', async (direction) => {
    const LENGTH = 2 ** 26;
    const sockets: net.Socket[] = [];
    await tcpServer((socket) => void sockets.push(socket));
    await startProxy();
    const client = await rawTunnel();
    await until(() => sockets.length === 1);
    const [server] = sockets as [net.Socket];
    const [from, to] = direction === 'upwards' ? [client, server] : [server, client];
    from.resume();
    to.pause();
    let sent = 0;
    const chunk = Buffer.alloc(65536);
    const writeMore = () => {
      while (sent < LENGTH) {
        sent += chunk.length;
        if (!from.write(chunk)) return;
      }
      from.end();
    };
    from.on('drain', writeMore);
    writeMore();
    // Until every buffer on the way is full: nothing moves for a while.
    for (let last = -1, still = 0; still < 20; still = last === sent ? still + 1 : 0) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(sent).toBeLessThan(LENGTH / 2);
    let received = 0;
    to.on('data', (data: Buffer) => (received += data.length)).resume();
    await once(to, 'end');
    expect(received).toBe(LENGTH);
  });

  test('clients that break off leave nothing open', async () => {
    // One for each round, because of TIME-WAIT.
    const hosts = Array.from({ length: 5 }, (_, n) => `127.0.2.${n}`);
    const serving: net.Socket[] = [];
    const serve = (socket: net.Socket) => {
      serving.push(socket);
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx'));
    };
    for (const host of hosts) await tcpServer(serve, host);
    const proxy = await startProxy();
    const get = (host: string, user: string) => `GET ${url(host)} HTTP/1.1\r\nHost: a\r\n${authorization(user)}\r\n`;
    const connectTo = (host: string, user: string) =>
      `CONNECT ${host}:${SERVER} HTTP/1.1\r\nHost: a\r\n${authorization(user)}\r\n`;
    // It may still have something open of its start; a leak would be one more for each of very many clients. One more: the socket that
    // the addon asks the kernel with, from the first connect on.
    const before = proxy.descriptors() + 1;
    for (const host of hosts) {
      const tunnels = await Promise.all(Array.from({ length: PORTS }, async () => rawTunnel(host)));
      for (const [index, tunnel] of tunnels.entries()) {
        // With a FIN for which there is somebody no more, and with a reset.
        if (index % 2 === 0) tunnel.destroy();
        else tunnel.resetAndDestroy();
      }
      await until(() => serving.every((socket) => socket.readableEnded || socket.destroyed || !socket.readable));
      for (const socket of serving.splice(0)) socket.destroy();
      await until(
        () => proxy.descriptors() <= before,
        () => `${proxy.descriptors()} of ${before}: ${JSON.stringify(tcpStates())}`,
      );
      const requests = await Promise.all(Array.from({ length: PORTS }, async () => rawClient(get(host, 'bob'))));
      await Promise.all(requests.map(async (client) => once(client, 'data')));
      for (const client of requests) client.destroy();
      await until(
        () => proxy.descriptors() <= before,
        () => `${proxy.descriptors()} of ${before}: ${JSON.stringify(tcpStates())}`,
      );
      // While the proxy still connects.
      const early = [connectTo(NOWHERE.server, 'nobody'), get(NOWHERE.server, 'nobody')];
      const clients = await Promise.all(early.map(async (text) => rawClient(text)));
      await until(() => tcpStates().filter(({ state }) => state === 'SYN-SENT').length === early.length);
      for (const client of clients) client.resetAndDestroy();
      await until(
        () => proxy.descriptors() <= before,
        () => JSON.stringify(tcpStates()),
      );
    }
    expect(await proxy.end('SIGTERM')).toEqual(CLEAN_END);
  });

  test.skipIf(leftOut)(`the settings that come with it${leftOut}`, async () => {
    await sourceServers([A]);
    const proxy = new Example('forward-proxy', 'forward-proxy/config.json');
    await proxy.logged('listening');
    expect(await curl('alice', url(A))).toMatchObject({ status: 200, body: '127.0.0.11' });
    expect(await proxy.end('SIGINT')).toEqual(CLEAN_END);
  });
});

describe('examples/forward-proxy: settings', () => {
  const tenants = { alice: { password: 'x', sources: ['127.0.0.1'] } };
  const good = { listen: PROXY, tenants };
  test.each([
    ['limits.conections', { ...good, limits: { conections: 1 } }],
    ['timeouts.idle', { ...good, timeouts: { idle: -1 } }],
    ['listen.port', { ...good, listen: { ...PROXY, port: 65536 } }],
    ['tenants.alice.sources', { ...good, tenants: { alice: { password: 'x', sources: [] } } }],
    ['tenants.alice.password', { ...good, tenants: { alice: { sources: ['127.0.0.1'] } } }],
    ['deny', { ...good, deny: ['localhost'] }],
    ['allow', { ...good, allow: ['127.0.0.0/33'] }],
    ['tenants.alice.sources', { ...good, tenants: { alice: { password: 'x', sources: ['eth0'] } } }],
  ])('%s', async (name, config) => {
    const proxy = new Example('forward-proxy', config);
    expect(await proxy.end()).toEqual({ ...CLEAN_END, code: 1 });
    expect(proxy.lines).toMatchObject([{ event: 'not-started', message: expect.stringContaining(name) }]);
  });
});
