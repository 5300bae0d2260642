// The kernel's limits, and how near they are, as metrics. What the kernel does not have is left out.
import { ipv4, kernelNumber, kernelNumbers, socketStatistic, tcpCounters } from './kernel_files';
import type { Metric } from './prometheus';
import type { Assignable } from '../usage/usage';
import { includesPort, type PortRange } from '../values/port_range';

function one(name: string, help: string, value: number | undefined, type: Metric['type'] = 'gauge'): Metric[] {
  return value === undefined || Number.isNaN(value) ? [] : [{ name, help, type, samples: [{ value }] }];
}

/** How many of the ports in `of` the kernel may give to a connection. */
export function assignableIn({ range, reserved }: Assignable, of: PortRange): number {
  let count = 0;
  for (let port = Math.max(of.low, range.low); port <= Math.min(of.high, range.high); port++) {
    if (!reserved.some((hole) => includesPort(hole, port))) count++;
  }
  return count;
}

/** `reserve`: the ports that are to be reserved although nobody listens on them. */
export function rangeMetrics(assignable: Assignable, reserve: PortRange | undefined): Metric[] {
  const { range } = assignable;
  return [
    ...one('connectx_ephemeral_port_low', 'First port of the ephemeral range', range.low),
    ...one('connectx_ephemeral_port_high', 'Last port of the ephemeral range', range.high),
    ...one(
      'connectx_ephemeral_ports_assignable',
      'Ports of the ephemeral range that are not reserved',
      assignableIn(assignable, range),
    ),
    ...(reserve === undefined
      ? []
      : one(
          'connectx_reserve_missing_ports',
          'Ports of --reserve that the kernel may give to a connection',
          assignableIn(assignable, reserve),
        )),
  ];
}

export function limitMetrics(): Metric[] {
  const [descriptors, , most] = kernelNumbers('/proc/sys/fs/file-nr') ?? [];
  const udpMemory = kernelNumbers(ipv4('udp_mem'));
  const tcp = tcpCounters();
  const conntrack = (name: string) => kernelNumber(`/proc/sys/net/netfilter/nf_conntrack_${name}`);
  return [
    ...one('connectx_file_descriptors', 'Descriptors that are open on this machine', descriptors),
    ...one('connectx_file_descriptors_max', 'Descriptors that this machine may have open (fs.file-max)', most),
    ...one('connectx_conntrack_entries', 'Connections that are tracked', conntrack('count')),
    ...one('connectx_conntrack_entries_max', 'Connections that can be tracked', conntrack('max')),
    ...one('connectx_time_wait_sockets', 'Sockets in TIME-WAIT', socketStatistic('TCP', 'tw')),
    ...one('connectx_time_wait_sockets_max', 'Sockets in TIME-WAIT at most', kernelNumber(ipv4('tcp_max_tw_buckets'))),
    ...one('connectx_udp_memory_pages', 'Memory of UDP sockets, in pages', socketStatistic('UDP', 'mem')),
    ...one('connectx_udp_memory_pages_max', 'Memory of UDP sockets at most, in pages (udp_mem)', udpMemory?.[2]),
    ...one(
      'connectx_tcp_active_opens_total',
      'TCP connects of this network namespace',
      tcp.get('ActiveOpens'),
      'counter',
    ),
    ...one(
      'connectx_tcp_attempt_fails_total',
      'TCP connections that failed before they were established',
      tcp.get('AttemptFails'),
      'counter',
    ),
  ];
}
