// Node's own HTTP client over connectx, from pinned source addresses, to nginx and through HAProxy. There are fewer ephemeral
// ports than connections from each source, which is more than core's localAddress can do.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { plainEnvironment } from '../helpers/environment.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith, haproxy, leftOutWithout, nginx, type Program } from '../helpers/programs.js';
import { track } from '../helpers/sockets.js';

const PORTS = 64;
const SERVER = 8080;
const TLS_SERVER = 8443;

interface Addresses {
  family: string;
  sources: readonly string[];
  destinations: readonly string[];
}

const families: readonly Addresses[] = [
  {
    family: 'IPv4',
    sources: ['127.0.0.11', '127.0.0.12', '127.0.0.13'],
    destinations: ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'],
  },
  {
    family: 'IPv6',
    sources: ['2001:db8::11', '2001:db8::12', '2001:db8::13'],
    destinations: ['2001:db8::2', '2001:db8::3', '2001:db8::4', '2001:db8::5'],
  },
];
const BACKENDS = ['127.0.0.21', '127.0.0.22', '127.0.0.23'];

/** To each destination from each source: together fewer than there are ports, for each source more. */
const CONNECTIONS = 40;
const REQUESTS_PER_CONNECTION = 5;

const everyPair = ({ sources, destinations }: Addresses) =>
  sources.flatMap((source) => destinations.map((destination) => ({ source, destination })));

const repeat = <T>(list: readonly T[], times: number): T[] => Array.from({ length: times }, () => list).flat();

const listen = (hosts: readonly string[], port: number) =>
  hosts.map((host) => `listen ${net.isIPv6(host) ? `[${host}]` : host}:${port};`).join(' ');

/** nginx alone, which answers with the source that it sees. */
async function directServer(folder: string, { destinations }: Addresses): Promise<Program> {
  const program = nginx(
    folder,
    `log_format source $remote_addr;
     access_log access.log source;
     server { ${listen(destinations, SERVER)} return 200 "$remote_addr $remote_port nginx"; }`,
  );
  await program.listensOn(destinations, SERVER);
  return program;
}

/** HAProxy before three nginx, which answer with the source that HAProxy sees. */
async function proxiedServer(folder: string, { destinations }: Addresses, extra = ''): Promise<Program> {
  const backends = nginx(
    folder,
    `log_format source $http_x_source_ip;
     access_log access.log source;
     server { ${listen(BACKENDS, 9000)} return 200 "$http_x_source_ip $http_x_source_port $server_addr"; }`,
  );
  await backends.listensOn(BACKENDS, 9000);
  const proxy = haproxy(
    folder,
    `
    frontend clients
      ${destinations.map((host) => `bind ${net.isIPv6(host) ? `[${host}]` : host}:${SERVER}`).join('\n      ')}
      ${extra}
      http-request set-header X-Source-IP %[src]
      http-request set-header X-Source-Port %[src_port]
      default_backend servers
    backend servers
      http-reuse always
      ${BACKENDS.map((host, index) => `server nginx${index} ${host}:9000 maxconn 40`).join('\n      ')}
    `,
  );
  await proxy.listensOn(destinations, SERVER);
  return backends;
}

const routes = [
  { route: 'nginx', start: directServer, servers: 1, needs: ['nginx'] },
  { route: 'HAProxy before three nginx', start: proxiedServer, servers: 3, needs: ['nginx', 'haproxy'] },
];

interface Answer {
  status: number | undefined;
  /** The source as the server has seen it, and as it is meant to be. */
  seen: string;
  meant: string;
  server: string | undefined;
}

type Pair = ReturnType<typeof everyPair>[number];

function get({ source, destination }: Pair, options: https.RequestOptions, client: typeof http | typeof https = http) {
  return new Promise<Answer>((resolve, reject) => {
    const request = client.get({ host: destination, port: SERVER, localAddress: source, ...options });
    let socket: net.Socket | undefined;
    let localPort: number | undefined;
    request.once('socket', (given) => (socket = track(given)));
    request.once('error', reject);
    request.once('response', (response) => {
      localPort = socket?.localPort;
      let text = '';
      response.setEncoding('latin1').on('data', (chunk) => (text += String(chunk)));
      response.once('error', reject).once('end', () => {
        const [ip, port, server] = text.trim().split(' ');
        resolve({
          status: response.statusCode,
          seen: `${ip} ${port}`,
          meant: `${source} ${localPort}`,
          server,
        });
      });
    });
  });
}

/** Works the list off, `limit` at a time. */
async function bounded<T, R>(list: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const rest = list.values();
  const worker = async () => {
    for (const item of rest) results.push(await work(item));
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}

function expectAsMeant(answers: readonly Answer[], servers: number): void {
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  expect(answers.filter(({ seen, meant }) => seen !== meant)).toEqual([]);
  expect(new Set(answers.map(({ server }) => server)).size).toBe(servers);
}

/** How many requests the servers have logged from each source. */
function logged(folder: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const source of readFileSync(join(folder, 'access.log'), 'utf8').split('\n').filter(Boolean)) {
    counts[source] = (counts[source] ?? 0) + 1;
  }
  return counts;
}

const eachSource = (sources: readonly string[], requests: number) =>
  Object.fromEntries(sources.map((source) => [source, requests]));

// @types/node has a wider type for what http passes on; to net.connect, too.
const createConnection = (options: http.ClientRequestArgs) => connect(options as ConnectOptions);

function agentOf(open: typeof connect | typeof net.connect): http.Agent {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  // As Node's own default is net.createConnection.
  Object.assign(agent, { createConnection: open });
  track({ close: () => agent.destroy() });
  return agent;
}

describeIsolated(`${PORTS} ephemeral ports, 3 sources, 4 destinations`, () => {
  useNetwork({
    range: [20000, 20000 + PORTS - 1],
    addresses: families.flatMap(({ sources, destinations }) => [...sources, ...destinations]).filter(net.isIPv6),
  });

  for (const { route, start, servers, needs } of routes) {
    const leftOut = leftOutWithout(...needs);

    describe.each(families)(`$family to ${route}`, (addresses) => {
      const { sources, destinations } = addresses;
      const pairs = everyPair(addresses);

      test.skipIf(leftOut)(`160 kept-alive connections from each source${leftOut}`, async () => {
        const folder = folderWith();
        const server = await start(folder, addresses);
        const agent = agentOf(connect);
        const requests = repeat(pairs, CONNECTIONS * REQUESTS_PER_CONNECTION);
        // The agent bounds the connections, and all of them are open at the end.
        const answers = await Promise.all(requests.map((pair) => get(pair, { agent })));
        expectAsMeant(answers, servers);
        const open = Object.values(agent.freeSockets).map((sockets) => sockets?.length);
        expect(open).toEqual(pairs.map(() => CONNECTIONS));
        await server.stop('SIGQUIT');
        expect(logged(folder)).toEqual(eachSource(sources, requests.length / sources.length));
      });

      test.skipIf(leftOut)(`600 requests, each over a connection of its own${leftOut}`, async () => {
        const folder = folderWith();
        const server = await start(folder, addresses);
        // Fewer to each destination than there are ports, so that none needs to come out of TIME-WAIT.
        const requests = repeat(pairs, 50);
        const answers = await bounded(requests, 48, (pair) => get(pair, { createConnection }));
        expectAsMeant(answers, servers);
        expect(new Set(answers.map(({ meant }) => meant)).size).toBeGreaterThan(PORTS);
        await server.stop('SIGQUIT');
        expect(logged(folder)).toEqual(eachSource(sources, requests.length / sources.length));
      });

      test.skipIf(leftOut)(
        `control: core's localAddress stops at ${PORTS} connections a source${leftOut}`,
        async () => {
          await start(folderWith(), addresses);
          const agent = agentOf(net.connect);
          const requests = repeat(pairs, CONNECTIONS);
          // HAProxy's own connections cannot share these ports either, so that it may answer with 503.
          const outcomes = await Promise.allSettled(requests.map((pair) => get(pair, { agent })));
          const failures = outcomes.flatMap((outcome) =>
            outcome.status === 'rejected' ? [outcome.reason as Error] : [],
          );
          const codes = failures.map((error: NodeJS.ErrnoException) => error.code);
          expect(new Set(codes)).toEqual(new Set(['EADDRINUSE']));
          expect(failures.length).toBeGreaterThanOrEqual(sources.length * (CONNECTIONS * destinations.length - PORTS));
        },
      );
    });
  }

  const leftOut = leftOutWithout('nginx', 'haproxy', 'openssl');
  test.skipIf(leftOut)(`TLS to HAProxy, from the pinned sources${leftOut}`, async () => {
    const [addresses] = families as [Addresses];
    const folder = folderWith();
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const files = ['-keyout', 'server.pem.key', '-out', 'server.pem'];
    execFileSync('openssl', ['req', '-x509', '-days', '1', ...key, ...subject, ...files], {
      cwd: folder,
      stdio: 'ignore',
      env: plainEnvironment(),
    });
    const binds = addresses.destinations.map((host) => `bind ${host}:${TLS_SERVER} ssl crt server.pem`);
    await proxiedServer(folder, addresses, binds.join('\n      '));
    const ca = readFileSync(join(folder, 'server.pem'));
    const overTls = (options: https.RequestOptions) =>
      tls.connect({ socket: createConnection(options), servername: 'localhost', ca });
    const answers = await bounded(repeat(everyPair(addresses), 10), 40, (pair) =>
      get(pair, { port: TLS_SERVER, createConnection: overTls }, https),
    );
    expectAsMeant(answers, 3);
  });
});
