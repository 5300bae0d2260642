// QUIC of ngtcp2, as Debian has it: sessions that send a file each way, and what their server has seen.
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { answerOf } from './examples.js';
import { folderWith, leftOutWithout, Program } from './programs.js';
import { fixture } from './run.js';
import { until } from './udp.js';

/** To be appended to a test's name. */
export const leftOutWithoutQuic = leftOutWithout('gtlsserver', 'gtlsclient', 'setpriv', 'stdbuf');

export const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What the server says of its sessions. */
export interface Seen {
  /** Hashes of what was sent to it, in order of the text. */
  uploads: string[];
  /** The ends that it has heard, e.g. `[127.0.0.11]:20000`. */
  peers: Set<string>;
}

export class QuicServer {
  readonly #log: string;
  readonly #program: Program;

  private constructor(folder: string, host: string, port: number) {
    this.#log = join(folder, 'server.log');
    // It prints all that it hears, some megabytes for each session: not byte by byte.
    const args = ['--no-quic-dump', '-d', folder, host, `${port}`, fixture('tls.pem'), fixture('tls.pem')];
    const command = 'exec stdbuf -e 1M gtlsserver "$@" >server.log 2>&1';
    this.#program = new Program(folder, 'sh', '-c', command, 'sh', ...args);
  }

  /** It serves these files, and answers when it has heard the whole of a request. */
  static async start(host: string, port: number, files: Readonly<Record<string, Buffer>>): Promise<QuicServer> {
    const folder = folderWith();
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
    const server = new QuicServer(folder, host, port);
    await until(() => isBound(port));
    return server;
  }

  /** Ends it, and reads what it has printed. */
  async end(): Promise<Seen> {
    // It writes what it has not yet written.
    await this.#program.stop('SIGINT');
    const peers = new Set<string>();
    const bodies = new Map<string, Buffer[]>();
    // Each packet is logged with the connection that it is of, and right behind it the content that it has brought.
    let connection = '';
    let body: Buffer[] = [];
    for await (const line of createInterface({ input: createReadStream(this.#log) })) {
      const dump = /^[0-9a-f]{8} {2}([0-9a-f ]{48}) /.exec(line)?.[1];
      if (dump !== undefined) {
        body.push(Buffer.from(dump.replaceAll(' ', ''), 'hex'));
        continue;
      }
      connection = /^I\d+ (0x[0-9a-f]+) /.exec(line)?.[1] ?? connection;
      const peer = /^Received packet: .* remote=(\S+)/.exec(line)?.[1];
      if (peer !== undefined) peers.add(peer);
      const stream = /^http: stream (0x[0-9a-f]+) body /.exec(line)?.[1];
      if (stream === undefined) continue;
      const key = `${connection} ${stream}`;
      body = bodies.get(key) ?? [];
      bodies.set(key, body);
    }
    return { uploads: [...bodies.values()].map((parts) => hashOf(Buffer.concat(parts))).sort(), peers };
  }
}

/** Whether somebody has bound the UDP port, in the namespace of the calling thread. */
function isBound(port: number): boolean {
  const end = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  return ['udp', 'udp6'].some((name) => readFileSync(`/proc/thread-self/net/${name}`, 'utf8').includes(end));
}

/** Sends `upload`, and resolves with what it gets of this name. `options`: of gtlsclient(1). */
export async function quicSession(
  server: { host: string; port: number },
  name: string,
  upload: Buffer,
  options: readonly string[] = [],
): Promise<Buffer> {
  const folder = folderWith();
  writeFileSync(join(folder, 'upload'), upload);
  const download = folderWith();
  const args = ['--quiet', '--exit-on-all-streams-close', '-m', 'POST', '-d', join(folder, 'upload')];
  const where = [server.host, `${server.port}`, `https://test.example/${name}`];
  const { exit } = await answerOf('gtlsclient', ...args, '--download', download, ...options, ...where);
  if (exit !== 0) throw new Error(`gtlsclient ended with ${String(exit)}`);
  return readFileSync(join(download, name));
}
