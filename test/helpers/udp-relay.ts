// examples/udp-relay, with clients and an upstream of the test's.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { Example } from './examples.js';
import { slowness } from './sockets.js';
import { keep, sendUntil, udpServer, until } from './udp.js';

export const RELAY = { address: '127.0.0.1', port: 5300 };
export const UPSTREAM = { address: '127.0.0.2', port: 5353 };

export interface Stats {
  flows: Record<string, number>;
  datagrams: Record<string, number>;
  bytes: Record<string, number>;
  dropped: Record<string, number>;
}

export class Relay extends Example {
  static async start(settings: object = {}): Promise<Relay> {
    const listen = { host: RELAY.address, port: RELAY.port };
    const routes = [{ listen, upstream: { host: UPSTREAM.address, port: UPSTREAM.port } }];
    const relay = new Relay('udp-relay', { routes, sources: ['127.0.0.11'], logInterval: 600_000, ...settings });
    await relay.logged('listening');
    return relay;
  }

  async stats(): Promise<Stats> {
    const before = this.linesOf('stats').length;
    this.kill('SIGUSR2');
    await until(() => this.linesOf('stats').length > before);
    return this.linesOf('stats').at(-1) as unknown as Stats;
  }

  /** Resolves when the counts are as wanted. */
  async counted(matches: (stats: Stats) => boolean): Promise<Stats> {
    let stats = await this.stats();
    for (const deadline = performance.now() + 10_000 * slowness; !matches(stats); stats = await this.stats()) {
      if (performance.now() > deadline) throw new Error(JSON.stringify(stats));
      await pause(5);
    }
    return stats;
  }
}

/** A client, and all that comes to it. */
export async function clientAt(
  address: string,
  port = 40000,
  server = RELAY.address,
): Promise<{ heard: string[]; send: (text: string) => void; ask: (text: string) => Promise<void> }> {
  const socket = keep(dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4'));
  const heard: string[] = [];
  socket.on('message', (message) => heard.push(message.toString()));
  socket.on('error', () => {});
  socket.bind(port, address);
  await once(socket, 'listening');
  const send = (text: string) => socket.send(text, RELAY.port, server);
  const ask = async (text: string) =>
    sendUntil(
      () => send(text),
      () => heard.includes(text),
    );
  return { heard, send, ask };
}

export interface Heard {
  address: string;
  port: number;
  text: string;
}

/** An upstream that sends back what it hears; resolves with those that it has heard. */
export async function echoing(host = UPSTREAM.address): Promise<{ server: dgram.Socket; heard: Heard[] }> {
  const server = await udpServer(UPSTREAM.port, host);
  const heard: Heard[] = [];
  server.on('message', (message, { address, port }) => {
    heard.push({ address, port, text: message.toString() });
    server.send(message, port, address);
  });
  return { server, heard };
}
