// HTTP(S) servers that say what they see of each connection, and requests to them.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import type * as net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { fixture } from './run.js';
import { track } from './sockets.js';

/** A certificate of test.example that signs itself, and its key. */
export const pem = readFileSync(fixture('tls.pem'), 'utf8');

/** What a server saw of the connection that a request came over. */
export interface Seen {
  address: string;
  port: number;
  /** Of all connections to the server; the same for requests over the same connection. */
  connection: number;
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
  tls: { reused: boolean; servername: string | false; alpn: string | false | null } | null;
}

export interface WebServer {
  port: number;
  /** How many connections were accepted. */
  connections: number;
  /** How many are open. */
  open: number;
  /** Requests are answered as soon as there are so many at once, and from then on each at once. Infinity: never. */
  hold: number;
}

export interface WebOptions {
  tls?: boolean;
  /** HTTP/2 beside HTTP/1.1. */
  h2?: boolean;
}

/** Answers each request with what it has seen ({@link Seen}), as JSON. */
export async function webServer(port: number, host: string, options: WebOptions = {}): Promise<WebServer> {
  const web: WebServer = { port, connections: 0, open: 0, hold: 0 };
  const numbers = new WeakMap<object, number>();
  let last = 0;
  const numberOf = (connection: object): number => {
    const number = numbers.get(connection) ?? ++last;
    numbers.set(connection, number);
    return number;
  };
  const waiting: (() => void)[] = [];
  const listener = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    // The one of an HTTP/2 request is a proxy of it.
    const { stream } = request as { stream?: http2.Http2Stream };
    const socket = stream?.session?.socket ?? request.socket;
    const secure = 'encrypted' in socket ? (socket as TLSSocket & { servername: string | false }) : undefined;
    const seen: Seen = {
      address: (socket.remoteAddress ?? '').replace('::ffff:', ''),
      port: socket.remotePort ?? 0,
      connection: numberOf(stream?.session ?? socket),
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      tls: secure
        ? { reused: secure.isSessionReused(), servername: secure.servername, alpn: secure.alpnProtocol }
        : null,
    };
    waiting.push(() => response.end(`${JSON.stringify(seen)}\n`));
    if (waiting.length < web.hold) return;
    web.hold = 0;
    for (const answer of waiting.splice(0)) answer();
  };
  const context = { key: pem, cert: pem };
  const server: net.Server = options.h2
    ? http2.createSecureServer({ ...context, allowHTTP1: true }, listener as never)
    : options.tls
      ? https.createServer(context, listener)
      : http.createServer({ keepAliveTimeout: 60_000 }, listener);
  server.on('connection', (socket: net.Socket) => {
    track(socket);
    web.connections++;
    web.open++;
    socket.on('error', () => {}).on('close', () => web.open--);
  });
  track(server).listen(port, host);
  await once(server, 'listening');
  web.port = (server.address() as net.AddressInfo).port;
  return web;
}

/** The options of a request, with the source options that `node:http` does not know. */
export type RequestOptions = https.RequestOptions & Record<string, unknown>;

/** Makes the request and reads the answer. */
export async function get(options: object, secure = false): Promise<Seen> {
  const module = secure ? https : http;
  return new Promise((resolve, reject) => {
    const request = module.request(options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data: string) => (text += data));
      response.on('end', () => resolve(JSON.parse(text) as Seen)).on('error', reject);
    });
    request.on('error', reject).end();
  });
}
