// The ports in use as metrics, and the text format of Prometheus (exposition format 0.0.4). No I/O.
import type { Bounded, RestUsage } from '../usage/fullest';
import type { PortUsage } from '../usage/usage';

export type Labels = Readonly<Record<string, string | number>>;

/** A metric with all of its series. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly samples: readonly { readonly labels?: Labels; readonly value: number }[];
}

export const METRICS = [
  { name: 'connectx_ports_used', help: 'Ephemeral ports in use, TIME-WAIT included', key: 'used' },
  { name: 'connectx_ports_time_wait', help: 'Ephemeral ports in TIME-WAIT', key: 'timeWait' },
  { name: 'connectx_ports_capacity', help: 'Ephemeral ports that there are', key: 'capacity' },
  { name: 'connectx_ports_ratio', help: 'Ephemeral ports in use, of those that there are, 0 to 1', key: 'ratio' },
] as const;

/** Of the groups beyond the limit, summed for each protocol. */
export const REST_METRICS = [
  { name: 'connectx_ports_rest_groups', help: 'Groups beyond the limit, which have no series', key: 'groups' },
  { name: 'connectx_ports_rest_used', help: 'Ephemeral ports in use by groups beyond the limit', key: 'used' },
  {
    name: 'connectx_ports_rest_time_wait',
    help: 'Ephemeral ports in TIME-WAIT of groups beyond the limit',
    key: 'timeWait',
  },
  { name: 'connectx_ports_rest_ratio', help: 'The fullest group beyond the limit, 0 to 1', key: 'ratio' },
] as const satisfies readonly { name: string; help: string; key: keyof RestUsage }[];

/** In the order in which they are written. */
export const labelsOf = ({ protocol, family, localAddress, remoteAddress, remotePort }: PortUsage) => ({
  protocol,
  family,
  local_address: localAddress,
  remote_address: remoteAddress,
  remote_port: remotePort,
});

/** `isBound`: there is a limit, and the rest has its metrics also while it is nothing. */
export function usageMetrics({ shown, rest }: Bounded, isBound: boolean): Metric[] {
  const metrics: Metric[] = METRICS.map(({ name, help, key }) => ({
    name,
    help,
    type: 'gauge',
    samples: shown.map((one) => ({ labels: labelsOf(one), value: one[key] })),
  }));
  if (!isBound) return metrics;
  const sums: Metric[] = REST_METRICS.map(({ name, help, key }) => ({
    name,
    help,
    type: 'gauge',
    samples: (['tcp', 'udp'] as const).map((protocol) => ({
      labels: { protocol },
      value: rest.find((sum) => sum.protocol === protocol)?.[key] ?? 0,
    })),
  }));
  return [...metrics, ...sums];
}

const escaped = (text: string, pattern: RegExp): string =>
  text.replace(pattern, (character) => (character === '\n' ? '\\n' : `\\${character}`));

export function exposition(metrics: readonly Metric[]): string {
  return metrics
    .map(({ name, help, type, samples }) => {
      const lines = samples.map(({ labels = {}, value }) => {
        const texts = Object.entries(labels).map(([label, of]) => `${label}="${escaped(`${of}`, /[\\"\n]/g)}"`);
        return `${name}${texts.length === 0 ? '' : `{${texts.join(',')}}`} ${value}\n`;
      });
      return `# HELP ${name} ${escaped(help, /[\\\n]/g)}\n# TYPE ${name} ${type}\n${lines.join('')}`;
    })
    .join('');
}

/** What `connectx usage --prometheus` prints. */
export function prometheusText(bounded: Bounded, isBound: boolean): string {
  return exposition(usageMetrics(bounded, isBound));
}
