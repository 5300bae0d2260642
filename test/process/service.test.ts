// Destinations that a BPF program on the cgroup rewrites inside connect(2), as Cilium's socket load balancing does with Kubernetes
// services: what is shared is the 4-tuple that the kernel connects, not the one that was asked for.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import * as net from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { hasCgroups, inCgroup, leftOutWithoutCgroups, SERVICE } from '../helpers/cgroup.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';

const PORT = 5353;
const RANGE = [20000, 20003] as const;

interface Opened {
  local: number[];
  peers: string[];
  errors: { code: string; reason?: string }[];
}

/** A client in the cgroup. */
class Client {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(options: Record<string, unknown>) {
    const [file, args] = inCgroup('service', [
      process.execPath,
      fixture('service-client.mjs'),
      JSON.stringify(options),
    ]);
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines: Interface = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    this.#lines = lines[Symbol.asyncIterator]();
    clients.add(this);
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the client has ended');
    return JSON.parse(value);
  }

  async opened(): Promise<Opened> {
    return (await this.#next()) as Opened;
  }

  async ask(): Promise<{ tokens: string[]; answers: (string | null)[] }> {
    this.#child.stdin?.write('ask\n');
    return (await this.#next()) as { tokens: string[]; answers: (string | null)[] };
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

const clients = new Set<Client>();
afterEach(async () => {
  for (const client of clients) await client.end();
  clients.clear();
});

/** Backends that answer with who they are. */
async function startBackends(protocol: 'tcp' | 'udp', hosts: readonly string[]): Promise<void> {
  for (const host of hosts) {
    if (protocol === 'tcp') {
      const server = net.createServer((socket) => {
        socket.on('data', (data) => socket.write(`${host} ${String(data)}`));
        socket.on('error', () => undefined);
      });
      track(server.listen(PORT, host));
      await once(server, 'listening');
    } else {
      const server = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
      track(server);
      server.on('message', (data, { address, port }) => server.send(`${host} ${String(data)}`, port, address));
      server.bind(PORT, host);
      await once(server, 'listening');
    }
  }
}

/** The connected 4-tuples, by local port and backend; every answer must have come to who asked. */
async function tuplesOf(client: Client, { local }: Opened): Promise<string[]> {
  const { tokens, answers } = await client.ask();
  return answers.map((answer, n) => {
    const [backend = '', token] = (answer ?? '').split(' ');
    expect(token).toBe(tokens[n]);
    return `${local[n]} ${backend}`;
  });
}

describeIsolated('a service behind two backends', () => {
  useNetwork({
    range: RANGE,
    addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::9'],
    commands: ['ip route add 198.51.100.0/24 dev lo', 'ip -6 route add 2001:db8:5::/64 dev lo'],
  });

  describe.each([
    { family: 4, localAddress: '127.0.0.9' },
    { family: 6, localAddress: '2001:db8::9' },
  ] as const)('IPv$family', ({ family, localAddress }) => {
    const { address: host, backends } = SERVICE[family];

    describe.each(['udp', 'tcp'] as const)('%s', (protocol) => {
      const options = { protocol, host, port: PORT, localAddress };

      test.skipIf(!hasCgroups)(`8 sockets of two processes have 8 tuples${leftOutWithoutCgroups}`, async () => {
        await startBackends(protocol, backends);
        const first = new Client({ ...options, count: 4 });
        const firstOpened = await first.opened();
        expect(firstOpened.errors).toEqual([]);
        const second = new Client({ ...options, count: 4 });
        const secondOpened = await second.opened();
        expect(secondOpened.errors).toEqual([]);
        const tuples = [...(await tuplesOf(first, firstOpened)), ...(await tuplesOf(second, secondOpened))];
        expect(new Set(tuples).size).toBe(8);
        // What programs see is the service.
        expect(new Set([...firstOpened.peers, ...secondOpened.peers])).toEqual(new Set([host]));
      });

      test.skipIf(!hasCgroups)(`one port has one socket for each backend${leftOutWithoutCgroups}`, async () => {
        await startBackends(protocol, backends);
        const client = new Client({ ...options, localPort: 20001, count: 3 });
        const opened = await client.opened();
        expect(opened.errors).toMatchObject([
          protocol === 'udp'
            ? { code: 'EADDRINUSE', reason: 'tuple-in-use' }
            : { code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' },
        ]);
        const tuples = await tuplesOf(client, opened);
        expect(new Set(tuples)).toEqual(new Set(backends.map((backend) => `20001 ${backend}`)));
      });
    });
  });
});

describeIsolated('a service that leads to the own port', () => {
  useNetwork({
    // The one that port 80 of the service leads to.
    range: [20001, 20001],
    addresses: ['2001:db8::1', '2001:db8::2'],
    commands: ['ip route add 198.51.100.0/24 dev lo', 'ip -6 route add 2001:db8:5::/64 dev lo'],
  });

  test.skipIf(!hasCgroups).each([
    { family: 4, protocol: 'tcp' },
    { family: 6, protocol: 'tcp' },
    { family: 4, protocol: 'udp' },
    { family: 6, protocol: 'udp' },
  ] as const)(
    `IPv$family, $protocol: no socket connects to itself${leftOutWithoutCgroups}`,
    async ({ family, protocol }) => {
      const { address: host, backends } = SERVICE[family];
      const argument = JSON.stringify({ protocol, host, localAddress: backends[0], count: 6 });
      const [file, args] = inCgroup('service', [process.execPath, fixture('service-own.mjs'), argument]);
      const { stdout } = await promisify(execFile)(file, args, { timeout: 20_000 });
      const { plain, connectx } = JSON.parse(stdout) as Record<'plain' | 'connectx', Record<string, number>>;
      // The control: every other connect leads there.
      expect(plain.itself).toBeGreaterThanOrEqual(3);
      expect(connectx).toEqual(protocol === 'tcp' ? { ECONNREFUSED: 12 } : { 'not itself': 12 });
    },
  );
});
