// examples/forward-proxy with clients and origins of which every byte is the test's.
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { connect } from 'connectx';
import { Example } from './examples.js';
import { connected, track } from './sockets.js';

export const PROXY = { host: '127.0.0.1', port: 3128 };
export const ORIGIN = { host: '127.0.0.2', port: 8080 };
export const PASSWORDS: Record<string, string> = { alice: 'wonderland', bob: 'builder' };

export interface Settings {
  tenants?: object;
  limits?: object;
  timeouts?: object;
  allow?: string[];
  resolvers?: string[];
  logInterval?: number;
}

export async function startProxy(settings: Settings = {}): Promise<Example> {
  const tenants = {
    alice: { password: PASSWORDS.alice, sources: ['127.0.0.11'] },
    bob: { password: PASSWORDS.bob, sources: ['127.0.0.21'] },
  };
  const example = new Example('forward-proxy', {
    ...{ listen: PROXY, tenants, allow: ['127.0.0.0/8'], logInterval: 600_000, ...settings },
  });
  await example.logged('listening');
  return example;
}

export const authorization = (user = 'alice', password = PASSWORDS[user]) =>
  `Proxy-Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}\r\n`;

export const urlOf = (path = '/', { host, port } = ORIGIN) => `http://${host}:${port}${path}`;

/** The head of a plain request, with more lines, and what follows it. */
export const plain = (path: string, lines = '', body = '', method = 'GET') =>
  `${method} ${urlOf(path)} HTTP/1.1\r\nHost: a\r\n${authorization()}${lines}\r\n${body}`;

export const connectTo = (target: string, lines = '', user = 'alice') =>
  `CONNECT ${target} HTTP/1.1\r\nHost: a\r\n${authorization(user)}${lines}\r\n`;

let clients = 0;

/** A connection to the proxy. Clients have addresses and ports of their own, because the ephemeral ones are few. */
export async function rawClient(text: string | Uint8Array = '', from?: string): Promise<net.Socket> {
  clients++;
  const localAddress = from ?? `127.1.${(clients >> 8) & 255}.${clients & 255}`;
  const localPort = 40_000 + (clients % 20_000);
  const socket = await connected(connect({ ...PROXY, localAddress, localPort, allowHalfOpen: true }));
  socket.on('error', () => {});
  socket.write(text);
  return socket;
}

/** All that comes until the other side ends or breaks off. */
export async function everything(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (data) => (text += data.toString('latin1')));
    for (const event of ['end', 'close']) socket.once(event, () => resolve(text));
  });
}

/** What the proxy answers to these bytes; the client says nothing more, and closes. */
export async function exchange(text: string): Promise<string> {
  const socket = await rawClient(text);
  const answer = await everything(socket);
  socket.destroy();
  return answer;
}

export const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0);

/** A request without anything wrong. */
export const clean = async (path: string) => exchange(plain(path, 'Connection: close\r\n'));

export interface Origin {
  /** Method and path of each request that it has seen. */
  requests: string[];
}

/** An origin that answers with what it sees: method, path, headers and body. */
export async function echoOrigin({ host, port } = ORIGIN): Promise<Origin> {
  const requests: string[] = [];
  const server = track(
    http.createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`);
      let body = '';
      request.setEncoding('latin1').on('data', (data: string) => (body += data));
      request.on('error', () => {});
      request.on('end', () => {
        const seen = `${request.method} ${request.url}\n${request.rawHeaders.join('\n')}\n\n${body}`;
        response.end(Buffer.from(seen, 'latin1'));
      });
    }),
  );
  server.maxHeadersCount = 0;
  server.on('connection', (socket) => track(socket));
  await once(server.listen(port, host), 'listening');
  return { requests };
}

/** An origin of which every byte is the test's; `serve` gets each connection. */
export async function rawOrigin(serve: (socket: net.Socket) => void, { host, port } = ORIGIN): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    track(socket).on('error', () => {});
    serve(socket);
  });
  await once(track(server).listen(port, host), 'listening');
}
