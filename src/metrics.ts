// The ports in use as metrics for prom-client, an optional peer.
import type * as promClient from 'prom-client';
import { labelsOf, METRICS } from './cli/text';
import { invalidType } from './errors/argument_errors';
import { unsupported } from './errors/connectx_error';
import { nativeFor } from './kernel/load';
import { checkFilter, type PortUsage, type UsageFilter, usageNow } from './usage/port_usage';

/** Options of {@link collectPortUsage}. */
export interface CollectPortUsageOptions {
  /** Where the metrics go. Default: prom-client's own registry. */
  register?: promClient.Registry | undefined;
  /** Which ports in use. Default: all. */
  filter?: UsageFilter | undefined;
  /** How many destinations at most, the fullest ones: each of them is a time series. Default 100. */
  limit?: number | undefined;
}

const LABELS = ['protocol', 'family', 'local_address', 'remote_address', 'remote_port'] as const;

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
 * the labels `protocol`, `family`, `local_address`, `remote_address` and `remote_port`. The kernel is asked when the
 * registry is read, once for all of them.
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
  let reading: Promise<PortUsage[]> | undefined;
  const read = (): Promise<PortUsage[]> => (reading ??= usageNow(native, checked).finally(() => (reading = undefined)));
  for (const { name, help, key } of METRICS) {
    new Gauge({
      name,
      help,
      labelNames: LABELS,
      registers: [register],
      async collect() {
        const usage = await read();
        // Those that are gone shall not stay as they were.
        this.reset();
        for (const one of usage.slice(0, limit)) {
          this.set(labelsOf(one), one[key]);
        }
      },
    });
  }
}
