// HTTP for Prometheus. All scrapes that come while the kernel's tables are read get the answer to that one reading.
import { createServer, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { release } from 'node:os';
import { type Given, wrong } from './arguments';
import type { Selection } from './filter';
import { limitMetrics, rangeMetrics } from './kernel_metrics';
import { exposition, type Metric, usageMetrics } from './prometheus';
import { printable } from './text';
import type { Native } from '../kernel/addon';
import { AF_INET } from '../kernel/constants';
import { nativeFor } from '../kernel/load';
import { outcomeCode } from '../kernel/outcome';
import { assignablePorts } from '../kernel/sysctl';
import { ConflictFinder } from '../usage/conflicts';
import { fullest } from '../usage/fullest';
import { checkFilter, usageNow } from '../usage/port_usage';
import type { PortRange } from '../values/port_range';

export interface ExporterOptions {
  /** How many groups have series of their own. */
  readonly limit: number;
  readonly reserve: PortRange | undefined;
  readonly version: string;
  readonly selection: Selection;
}

export interface Listen {
  /** As it was typed. */
  readonly given: Given;
  readonly host: string;
  readonly port: number;
}

const IPPROTO_TCP = 6;
/** Milliseconds without anything coming or going, after which a connection is closed. */
const IDLE = 10_000;
const MOST_CONNECTIONS = 256;

/** `127.0.0.1:9469` or `[::1]:9469`. Whoever means every address says so. */
export function readListen(given: Given): Listen {
  const [, v6, v4, text] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(given.text) ?? [];
  const host = v6 ?? v4 ?? '';
  const port = Number(text);
  if (isIP(host) !== (v6 === undefined ? 4 : 6) || port > 65535) {
    throw wrong(
      given,
      "ADDR:PORT with a numeric address, such as 127.0.0.1:9469 or [::1]:9469 ('0.0.0.0' is every address)",
    );
  }
  return { given, host, port };
}

/** Reads the kernel's tables for those who scrape. */
export class Collector {
  readonly #native: Native;
  readonly #options: ExporterOptions;
  #reading: Promise<Metric[]> | undefined;
  #scrapes = 0;
  #dumps = 0;
  #failures = 0;
  #problem = '';

  constructor(native: Native, options: ExporterOptions) {
    this.#native = native;
    this.#options = options;
  }

  /** The text of one scrape. Never rejects: what the kernel refuses shows in `connectx_up`. */
  async scrape(): Promise<string> {
    this.#scrapes++;
    const metrics = await (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)));
    return exposition([...metrics, ...this.#own()]);
  }

  /** Why the kernel does not answer; undefined when it does. */
  problem(): string | undefined {
    const answer = this.#native.diagLookup(IPPROTO_TCP, AF_INET, '127.0.0.1', 0, '127.0.0.1', 0, 0);
    if (typeof answer === 'number') return `sock_diag: ${outcomeCode(answer)}`;
    try {
      assignablePorts(this.#native);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  async #read(): Promise<Metric[]> {
    const start = performance.now();
    this.#dumps++;
    const { limit, reserve, selection } = this.#options;
    const up = (value: number): Metric[] => [
      { name: 'connectx_up', help: 'Whether the kernel answered', type: 'gauge', samples: [{ value }] },
    ];
    try {
      const assignable = assignablePorts(this.#native);
      const finder = new ConflictFinder();
      const usage = await usageNow(this.#native, checkFilter(selection.filter), (protocol, holder) =>
        finder.add(protocol, holder),
      );
      this.#say('');
      return [
        ...up(1),
        ...usageMetrics(fullest(usage.filter(selection.includes), limit), true),
        ...conflictMetrics(finder.conflicts(assignable), limit),
        ...rangeMetrics(assignable, reserve),
        ...limitMetrics(),
        {
          name: 'connectx_exporter_dump_seconds',
          help: "Time that the last look at the kernel's tables took",
          type: 'gauge',
          samples: [{ value: (performance.now() - start) / 1000 }],
        },
      ];
    } catch (error) {
      this.#failures++;
      this.#say((error as Error).message);
      return [...up(0), ...limitMetrics()];
    }
  }

  /** Each problem once, and when it is over. */
  #say(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    process.stderr.write(`connectx exporter: ${problem === '' ? 'the kernel answers again' : printable(problem)}\n`);
  }

  #own(): Metric[] {
    const count = (name: string, help: string, value: number): Metric => ({
      name,
      help,
      type: 'counter',
      samples: [{ value }],
    });
    const { version } = this.#options;
    const { user, system } = process.cpuUsage();
    return [
      count('connectx_exporter_scrapes_total', 'Scrapes', this.#scrapes),
      count('connectx_exporter_dumps_total', "Looks at the kernel's tables, which scrapes may share", this.#dumps),
      count('connectx_exporter_dump_failures_total', 'Looks that failed', this.#failures),
      count('connectx_exporter_cpu_seconds_total', 'Processor time of the exporter', (user + system) / 1e6),
      {
        name: 'connectx_exporter_resident_memory_bytes',
        help: 'Memory of the exporter',
        type: 'gauge',
        samples: [{ value: process.memoryUsage.rss() }],
      },
      {
        name: 'connectx_exporter_build_info',
        help: 'What the exporter is',
        type: 'gauge',
        samples: [{ labels: { version, node: process.version, kernel: release() }, value: 1 }],
      },
    ];
  }
}

function conflictMetrics(conflicts: ReturnType<ConflictFinder['conflicts']>, limit: number): Metric[] {
  // Workers that share a port (SO_REUSEPORT) are conflicts each, and one series.
  const series = new Map(
    conflicts.map(({ protocol, family, localAddress, localPort, uid }) => [
      `${protocol} ${localAddress} ${localPort} ${uid}`,
      { protocol, family: `IPv${family}`, local_address: localAddress, local_port: localPort, uid },
    ]),
  );
  return [
    {
      name: 'connectx_listener_conflicts',
      help: 'Sockets that listen (udp: are bound) inside the ephemeral range on a port that is not reserved',
      type: 'gauge',
      samples: (['tcp', 'udp'] as const).map((protocol) => ({
        labels: { protocol },
        value: conflicts.filter((conflict) => conflict.protocol === protocol).length,
      })),
    },
    {
      name: 'connectx_listener_conflict_info',
      help: 'One for each of them, up to the limit',
      type: 'gauge',
      samples: [...series.values()].slice(0, limit).map((labels) => ({ labels, value: 1 })),
    },
  ];
}

function answer(response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, {
    'content-type': 'text/plain; version=0.0.4; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

function serverFor(collector: Collector): Server {
  const server = createServer((request, response) => {
    const { method = '', url = '' } = request;
    request.resume();
    const [path] = url.split('?');
    if (method !== 'GET' && method !== 'HEAD') answer(response, 405, 'GET or HEAD\n', { allow: 'GET, HEAD' });
    else if (path === '/metrics') void collector.scrape().then((text) => answer(response, 200, text));
    else if (path === '/healthz') {
      const problem = collector.problem();
      answer(response, problem === undefined ? 200 : 503, `${problem === undefined ? 'ok' : printable(problem)}\n`);
    } else answer(response, path === '/' ? 200 : 404, '/metrics and /healthz\n');
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.headersTimeout = IDLE;
  server.requestTimeout = IDLE;
  server.setTimeout(IDLE);
  return server;
}

/** Listens until a signal ends it. */
export async function exporter({ given, host, port }: Listen, options: ExporterOptions): Promise<void> {
  const server = serverFor(new Collector(nativeFor('connectx exporter'), options));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`${given.typed} ${given.text}: ${error.message}`, { cause: error })),
    );
    server.listen({ host, port }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      process.stdout.write(`http://${isIP(host) === 6 ? `[${host}]` : host}:${bound}/metrics\n`);
    });
    server.once('close', () => resolve());
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        server.close();
        server.closeAllConnections();
      });
    }
  });
}
