// Programs that know nothing of connectx, with and without `connectx/register`; and servers that tell which source they see.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as net from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { fixture } from './run.js';
import { track } from './sockets.js';

const root = join(import.meta.dirname, '../..');

/** How a program is given connectx. */
export const IMPORT = ['--import', 'connectx/register'] as const;
export const REQUIRE = ['--require', 'connectx/register'] as const;

export interface Ended {
  stdout: string;
  stderr: string;
}

/** Runs a fixture, in the calling thread's namespace, with these options of Node. */
export async function runProgram(
  execArgv: readonly string[],
  name: string,
  argument: unknown,
  env: Record<string, string> = {},
): Promise<Ended> {
  const args = [...execArgv, fixture(name), JSON.stringify(argument)];
  const options = { cwd: root, timeout: 25_000, env: { ...process.env, ...env } };
  return promisify(execFile)(process.execPath, args, options);
}

const pem = readFileSync(fixture('tls.pem'));
const certificate = { key: pem, cert: pem };

type ListenerOf = (request: { socket: net.Socket }, response: { end(text: string): unknown }) => void;

const answer: ListenerOf = ({ socket }, response) => response.end(`${socket.remoteAddress}\n`);
const greet = (socket: net.Socket): void => {
  socket.on('error', () => {});
  socket.write(`${socket.remoteAddress}\n`);
};

function http2Server(): http2.Http2Server {
  return http2.createServer((request, response) => response.end(`${request.stream.session?.socket.remoteAddress}\n`));
}

/** What answers each kind of client of register-program.mjs. */
const servers: Record<string, () => net.Server> = {
  'net.connect': () => net.createServer(greet),
  'new net.Socket().connect': () => net.createServer(greet),
  'tls.connect': () => tls.createServer(certificate, greet),
  'http.Agent': () => http.createServer({ keepAliveTimeout: 60_000 }, answer),
  'https.Agent': () => https.createServer({ ...certificate, keepAliveTimeout: 60_000 }, answer),
  http2: http2Server,
  undici6: () => http.createServer({ keepAliveTimeout: 60_000 }, answer),
  undici7: () => http.createServer({ keepAliveTimeout: 60_000 }, answer),
  undici8: () => http.createServer({ keepAliveTimeout: 60_000 }, answer),
};

/** Those of Node's core and of undici. */
export const KINDS = Object.keys(servers);

const FIRST_PORT = 6001;

/** One for each kind; resolves with where they listen. */
export async function serve(any: string, kinds: readonly string[] = KINDS): Promise<Record<string, number>> {
  const ports: Record<string, number> = {};
  for (const [index, kind] of kinds.entries()) {
    const port = FIRST_PORT + index;
    ports[kind] = port;
    const server = servers[kind]?.();
    if (server === undefined) continue;
    track(server);
    server.on('connection', (socket: net.Socket) => void track(socket));
    server.listen({ port, host: any });
    await once(server, 'listening');
  }
  return ports;
}

/** A gRPC server with the method `/test.Peer/Who`, which answers with the source that it sees. */
export async function serveGrpc(any: string, port: number): Promise<void> {
  const server = new grpc.Server();
  const bytes = (value: Buffer) => value;
  const method = {
    path: '/test.Peer/Who',
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
  server.addService(
    { Who: method },
    {
      Who: (call: { getPeer(): string }, reply: grpc.sendUnaryData<Buffer>) => {
        const peer = call.getPeer();
        reply(null, Buffer.from(peer.slice(0, peer.lastIndexOf(':')).replaceAll(/[[\]]/g, '')));
      },
    },
  );
  track({ close: () => server.forceShutdown() });
  const host = net.isIPv6(any) ? `[${any}]` : any;
  await promisify(server.bindAsync.bind(server))(`${host}:${port}`, grpc.ServerCredentials.createInsecure());
}
