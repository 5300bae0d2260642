// A program for each library that docs/recipes.md names in a sentence or a table, made from the recipe above it where that is possible.
import { changed, type Change, type Recipe, recipesOf } from './recipes.js';

export interface Variant {
  /** What the page says. */
  says: string;
  recipe: Recipe;
}

const [http, undici, proxyAgent] = recipesOf('HTTP and WebSocket') as [Recipe, Recipe, Recipe];

const HTTPS: readonly Change[] = [
  ['{ HttpAgent }', '{ HttpsAgent }'],
  ['new HttpAgent', 'new HttpsAgent'],
];
const GET = 'http.get(url, { agent }, (response) => response.pipe(process.stdout, { end: false }));';
const REQUESTS = `
const answers = process.argv.slice(2).map((url) => request(url, { dispatcher }));
for (const { body } of await Promise.all(answers)) process.stdout.write(await body.text());
`;

const HTTP2 = `
  const { hostname: host, port: text, pathname } = new URL(url);
  const port = Number(text || 443);
  const client = http2.connect(url, { createConnection: () => agent.createConnection({ host, port, servername: host, ALPNProtocols: ['h2'] }) });
  const stream = client.request({ ':path': pathname });
  stream.on('end', () => client.close()).pipe(process.stdout, { end: false });
`;

const WS = `
  const socket = new WebSocket(url, { agent });
  socket.on('message', (message) => {
    process.stdout.write(String(message));
    socket.close();
  });
`;

const HTTP_PROXY = `
import http from 'node:http';
import { HttpAgent } from 'connectx/http';
import { createProxyServer } from 'http-proxy-3';

const agent = new HttpAgent({ keepAlive: true, localAddress: '192.0.2.7' });
const proxy = createProxyServer({ agent });
proxy.on('error', (error, request, response) => {
  response.writeHead(503).end(error.message);
});
const server = http.createServer((request, response) => {
  proxy.web(request, response, { target: 'http://' + request.headers.host });
});
server.listen(3128, '127.0.0.1', () => console.log('ready'));
`;

const SOCKS = `
import { connect } from 'connectx';
import { SocksClient } from 'socks';

for (const url of process.argv.slice(2)) {
  const { hostname: host, port } = new URL(url);
  const server = { host, port: Number(port) };
  const existing_socket = connect({ ...server, localAddress: '192.0.2.7' }, async () => {
    const destination = { host: '203.0.113.80', port: 80 };
    const proxy = { ...server, type: 5 };
    const { socket } = await SocksClient.createConnection({ proxy, command: 'connect', destination, existing_socket });
    socket.pipe(process.stdout, { end: false });
  });
}
`;

/** By the names of their tests. */
export const variants: Readonly<Record<string, Variant>> = {
  https: {
    says: 'https.get(url, { agent',
    recipe: changed(http, [
      ["import http from 'node:http'", "import https from 'node:https'"],
      ...HTTPS,
      ['http.get', 'https.get'],
    ]),
  },
  http2: {
    says: "http2.connect(url, { createConnection: () => agent.createConnection({ host, port, servername: host, ALPNProtocols: ['h2'] }) })",
    recipe: changed(http, [["import http from 'node:http'", "import http2 from 'node:http2'"], ...HTTPS, [GET, HTTP2]]),
  },
  ws: {
    says: 'new WebSocket(url, { agent })',
    recipe: changed(http, [
      ["import http from 'node:http'", "import WebSocket from 'ws'"],
      [GET, WS],
    ]),
  },
  'http-proxy-3': { says: 'createProxyServer({ agent })', recipe: { name: 'http-proxy-3', code: HTTP_PROXY } },
  socks: { says: 'existing_socket', recipe: { name: 'socks', code: SOCKS } },
  fetch: {
    says: 'fetch(url, { dispatcher })',
    recipe: changed(undici, [
      ['{ Agent, request }', '{ Agent, fetch }'],
      ['request(url', 'fetch(url'],
      ['const { body }', 'const answer'],
      ['await body.text()', 'await answer.text()'],
    ]),
  },
  ProxyAgent: {
    says: 'A `ProxyAgent`',
    recipe: changed({ ...proxyAgent, code: proxyAgent.code + REQUESTS }, [
      ['import { Pool, ProxyAgent }', 'import { Pool, ProxyAgent, request }'],
    ]),
  },
};
