// Ports in use and connects as metrics for prom-client, an optional peer.
import type * as promClient from 'prom-client';
import { labelsOf, METRICS, REST_METRICS } from './cli/prometheus';
import { invalidType } from './errors/argument_errors';
import { unsupported } from './errors/connectx_error';
import { load, nativeFor } from './kernel/load';
import { isSourcePool, type SourcePool } from './source/pool';
import { conflictCounts } from './usage/conflicts';
import { ConnectCounts } from './usage/connect_counts';
import { type Bounded, fullest } from './usage/fullest';
import { checkFilter, type UsageFilter, usageNow } from './usage/port_usage';

/** Options of {@link collectPortUsage}. */
export interface CollectPortUsageOptions {
  /** Where the metrics go. Default: prom-client's own registry. */
  register?: promClient.Registry | undefined;
  /** Which ports in use. Default: all. */
  filter?: UsageFilter | undefined;
  /** How many destinations at most, the fullest ones: each of them is a time series. The others are summed. Default 100. */
  limit?: number | undefined;
}

/** Options of {@link collectConnects}. */
export interface CollectConnectsOptions {
  /** Where the metrics go. Default: prom-client's own registry. */
  register?: promClient.Registry | undefined;
  /** The pools whose sources have metrics. A source of several pools is counted once for all of them. Default: none. */
  pools?: Iterable<SourcePool> | undefined;
  /** The bounds of the histogram, in seconds. Default: 0.5 ms to 10 s. */
  buckets?: number[] | undefined;
}

const LABELS = ['protocol', 'family', 'local_address', 'remote_address', 'remote_port'] as const;
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

// When it is needed: importing this module must not fail where the peer is not installed.
function peer(): typeof promClient {
  try {
    return require('prom-client') as typeof promClient;
  } catch (cause) {
    throw unsupported('prom-client', 'it cannot be loaded; npm install prom-client', cause);
  }
}

/**
 * Registers `connectx_ports_used`, `connectx_ports_time_wait`, `connectx_ports_capacity` and `connectx_ports_ratio`, gauges with
 * the labels `protocol`, `family`, `local_address`, `remote_address` and `remote_port`, and `connectx_ports_rest_groups`, `_used`,
 * `_time_wait` and `_ratio` by `protocol` for what is beyond the limit. The kernel is asked when the registry is read, once for all
 * of them.
 *
 * @throws what `portUsage` throws; `ERR_CONNECTX_UNSUPPORTED` without prom-client; and prom-client's error when they are registered already.
 *
 * @example
 * import { register } from 'prom-client';
 * import { collectPortUsage } from 'connectx/metrics';
 *
 * collectPortUsage({ register, filter: { protocol: 'tcp' } });
 */
export function collectPortUsage(options: CollectPortUsageOptions = {}): void {
  const { Gauge, register: globalRegistry } = peer();
  const { register = globalRegistry, filter, limit = 100 } = options;
  if (!Number.isInteger(limit) || limit < 1) throw invalidType('options.limit', 'a positive integer', limit);
  const checked = checkFilter(filter);
  const native = nativeFor('port-usage');
  let reading: Promise<Bounded> | undefined;
  const read = (): Promise<Bounded> =>
    (reading ??= usageNow(native, checked)
      .then((usage) => fullest(usage, limit))
      .finally(() => (reading = undefined)));
  for (const { name, help, key } of METRICS) {
    new Gauge({
      name,
      help,
      labelNames: LABELS,
      registers: [register],
      async collect() {
        const { shown } = await read();
        // Those that are gone shall not stay as they were.
        this.reset();
        for (const one of shown) this.set(labelsOf(one), one[key]);
      },
    });
  }
  for (const { name, help, key } of REST_METRICS) {
    new Gauge({
      name,
      help,
      labelNames: ['protocol'],
      registers: [register],
      async collect() {
        const { rest } = await read();
        for (const protocol of checked.protocols) {
          this.set({ protocol }, rest.find((sum) => sum.protocol === protocol)?.[key] ?? 0);
        }
      },
    });
  }
}

function readPools(pools: Iterable<SourcePool> = []): SourcePool[] {
  if (typeof (pools as Partial<Iterable<unknown>> | null)?.[Symbol.iterator] !== 'function') {
    throw invalidType('options.pools', 'an iterable of SourcePool', pools);
  }
  return [...pools].map((pool) => {
    if (!isSourcePool(pool)) throw invalidType('options.pools', 'an iterable of SourcePool', pool);
    return pool;
  });
}

/** A figure of each source, whichever pools it is in. */
function bySource(pools: readonly SourcePool[], figure: 'inUse' | 'exhausted'): Map<string, number> {
  const sums = new Map<string, number>();
  for (const pool of pools) {
    for (const source of pool.stats().sources) {
      sums.set(source.address, (sums.get(source.address) ?? 0) + source[figure]);
    }
  }
  return sums;
}

/**
 * Registers what connects came to, as this process sees it: `connectx_connects_total` with the labels `protocol`, `outcome`
 * (`connected`, `failed` or `aborted`) and `reason` (that of the error, or its code), the histogram `connectx_connect_duration_seconds`
 * of those that have connected, by `protocol`; for `pools`, `connectx_pool_in_use` and `connectx_pool_exhausted_total`, by `source`;
 * and, where the kernel's tables can be read, `connectx_listener_conflicts`, by `protocol`.
 *
 * It listens to the tracing channel `connectx:connect`: until it is called, connects cost what they cost without metrics. Connections
 * that `connectx/register` takes over are core's, and are not among them.
 *
 * @returns ends it: nothing is counted any more. What has been counted stays in the registry.
 * @throws `ERR_INVALID_ARG_TYPE`; `ERR_CONNECTX_UNSUPPORTED` without prom-client; and prom-client's error when they are registered already.
 *
 * @example
 * import { register } from 'prom-client';
 * import { SourcePool } from 'connectx';
 * import { collectConnects } from 'connectx/metrics';
 *
 * const pool = new SourcePool(['192.0.2.7', '198.51.100.0/28']);
 * collectConnects({ register, pools: [pool] });
 */
export function collectConnects(options: CollectConnectsOptions = {}): () => void {
  const { Counter, Gauge, Histogram, register: globalRegistry } = peer();
  const { register = globalRegistry, buckets = BUCKETS } = options;
  const pools = readPools(options.pools);
  const registers = [register];
  const total = new Counter({
    name: 'connectx_connects_total',
    help: 'Connects that are over, by outcome and reason',
    labelNames: ['protocol', 'outcome', 'reason'],
    registers,
  });
  // A counter that begins at 1 has not increased, for Prometheus: of these the first one has to be seen.
  for (const protocol of ['tcp', 'udp'] as const) {
    for (const reason of ['ports-exhausted', 'pool-exhausted']) total.inc({ protocol, outcome: 'failed', reason }, 0);
  }
  const duration = new Histogram({
    name: 'connectx_connect_duration_seconds',
    help: 'Time from the call until the socket is connected',
    labelNames: ['protocol'],
    buckets,
    registers,
  });
  if (pools.length > 0) {
    new Gauge({
      name: 'connectx_pool_in_use',
      help: 'Open or opening connections of a source',
      labelNames: ['source'],
      registers,
      collect() {
        this.reset();
        for (const [source, value] of bySource(pools, 'inUse')) this.set({ source }, value);
      },
    });
    new Counter({
      name: 'connectx_pool_exhausted_total',
      help: 'How often a source had no free port towards a destination',
      labelNames: ['source'],
      registers,
      collect() {
        this.reset();
        for (const [source, value] of bySource(pools, 'exhausted')) this.inc({ source }, value);
      },
    });
  }
  const { native } = load();
  if (native !== undefined) {
    new Gauge({
      name: 'connectx_listener_conflicts',
      help: 'Sockets that listen (udp: are bound) inside the ephemeral range on a port that is not reserved',
      labelNames: ['protocol'],
      registers,
      async collect() {
        this.reset();
        // A sandbox without sock_diag has no such figure, and all the others nevertheless.
        const counts = await conflictCounts(native).catch(() => undefined);
        if (counts === undefined) return;
        for (const protocol of ['tcp', 'udp'] as const) this.set({ protocol }, counts[protocol]);
      },
    });
  }
  const counts = new ConnectCounts({
    connected: (protocol, seconds) => {
      total.inc({ protocol, outcome: 'connected', reason: '' });
      duration.observe({ protocol }, seconds);
    },
    failed: (protocol, outcome, reason) => total.inc({ protocol, outcome, reason }),
  });
  counts.start();
  return () => counts.stop();
}
