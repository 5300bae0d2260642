// What the doctor makes of the kernel's limits, on files of our own.
import { describe, expect, test } from 'vitest';
import {
  conntrackChecks,
  descriptorChecks,
  stepWidthChecks,
  timeWaitChecks,
  udpMemoryCheck,
} from '../../src/cli/doctor_limits.js';
import { faultsAmong } from '../../src/cli/doctor_shared.js';
import type { Check } from '../../src/cli/text.js';

const reading = (files: Readonly<Record<string, string>>) => (path: string) => files[path];
const brief = (checks: readonly Check[]) => checks.map(({ name, level }) => `${name} ${level}`);
const NETFILTER = '/proc/sys/net/netfilter/nf_conntrack_';
const IPV4 = '/proc/sys/net/ipv4/';

test.each([
  { count: 10, max: 262144, buckets: 65536, expected: ['conntrack ok'] },
  { count: 210_000, max: 262144, buckets: 65536, expected: ['conntrack finding'] },
  { count: 10, max: 20_000, buckets: 20_000, expected: ['conntrack note'] },
  { count: 10, max: 1_000_000, buckets: 65536, expected: ['conntrack ok', 'conntrack-hash finding'] },
])('conntrack: $count of $max in $buckets buckets', ({ count, max, buckets, expected }) => {
  const files = {
    [`${NETFILTER}count`]: `${count}`,
    [`${NETFILTER}max`]: `${max}`,
    [`${NETFILTER}buckets`]: `${buckets}`,
  };
  const checks = conntrackChecks(28_232, reading(files));
  expect(brief(checks)).toEqual(expected);
  for (const { level, remedy, lasting } of checks) {
    if (level !== 'ok') expect([remedy, lasting]).toEqual([expect.stringMatching(/\d/), expect.stringMatching(/\d/)]);
  }
});

test('conntrack: not there', () => {
  expect(brief(conntrackChecks(28_232, reading({})))).toEqual(['conntrack ok']);
});

test('descriptors, of a process and of the machine', () => {
  const files = (most: string, open: number) =>
    reading({
      '/proc/self/limits': `Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 ${most}              files`,
      '/proc/sys/fs/file-nr': `${open}\t0\t1000`,
    });
  expect(brief(descriptorChecks(28_232, files('1048576', 10)))).toEqual(['descriptors ok', 'file-max ok']);
  expect(brief(descriptorChecks(28_232, files('unlimited', 799)))).toEqual(['descriptors ok', 'file-max ok']);
  const [process, machine] = descriptorChecks(28_232, files('4096', 800));
  expect(process).toMatchObject({ level: 'note', lasting: expect.stringContaining('LimitNOFILE=') });
  expect(machine).toMatchObject({ level: 'finding', remedy: 'sysctl -w fs.file-max=2000' });
  expect(brief(descriptorChecks(28_232, reading({})))).toEqual(['descriptors finding', 'file-max finding']);
});

test('memory of UDP', () => {
  const files = (used: number) => ({
    '/proc/net/sockstat': `UDP: inuse 3 mem ${used}`,
    [`${IPV4}udp_mem`]: '100\t200\t300',
  });
  expect(udpMemoryCheck(reading(files(239)))).toMatchObject({ level: 'ok' });
  expect(udpMemoryCheck(reading(files(240)))).toMatchObject({
    level: 'finding',
    remedy: 'sysctl -w net.ipv4.udp_mem="600 900 1200"',
    lasting: "echo 'net.ipv4.udp_mem = 600 900 1200' >> /etc/sysctl.d/90-connectx.conf",
  });
  // Another network namespace than the first one does not have it.
  expect(udpMemoryCheck(reading({ [`${IPV4}ip_local_port_range`]: '1 2' }))).toMatchObject({ level: 'note' });
  expect(udpMemoryCheck(reading({}))).toMatchObject({ level: 'finding' });
});

test('TIME-WAIT', () => {
  const files = {
    [`${IPV4}tcp_tw_reuse`]: '1',
    [`${IPV4}tcp_timestamps`]: '1',
    [`${IPV4}tcp_tw_reuse_delay`]: '1000',
    [`${IPV4}tcp_max_tw_buckets`]: '100',
    '/proc/net/sockstat': 'TCP: inuse 1 orphan 0 tw 79 alloc 1 mem 1',
  };
  const of = (more: Readonly<Record<string, string>>) =>
    brief(timeWaitChecks(reading({ ...files, ...more }))).filter((one) => !one.endsWith(' ok'));
  expect(of({})).toEqual([]);
  expect(of({ [`${IPV4}tcp_tw_reuse`]: '0', [`${IPV4}tcp_timestamps`]: '0' })).toEqual([
    'tcp_tw_reuse finding',
    'tcp_timestamps finding',
  ]);
  expect(of({ [`${IPV4}tcp_tw_reuse`]: '2', [`${IPV4}tcp_tw_reuse_delay`]: '60000' })).toEqual([
    'tcp_tw_reuse note',
    'tcp_tw_reuse_delay note',
  ]);
  expect(of({ '/proc/net/sockstat': 'TCP: inuse 1 orphan 0 tw 80 alloc 1 mem 1' })).toEqual([
    'tcp_max_tw_buckets note',
  ]);
});

test('the step width, which only newer kernels have', () => {
  expect(stepWidthChecks(reading({}))).toEqual([]);
  expect(brief(stepWidthChecks(reading({ [`${IPV4}ip_local_port_step_width`]: '7' })))).toEqual([
    'ip_local_port_step_width ok',
  ]);
});

describe('two destinations that are one server', () => {
  const ports = (low: number, count: number) => Array.from({ length: count }, (_, n) => low + n);
  const other = { address: '203.0.113.10', waiting: [], established: ports(1000, 100) };

  test('connects wait on the ports that the other one has, and those on other ports were answered', () => {
    const one = { address: '203.0.113.11', waiting: ports(1050, 10), established: ports(2000, 50) };
    expect(faultsAmong([one, other])).toEqual([{ address: one.address, other: other.address, waiting: 10 }]);
    expect(faultsAmong([other, one])).toHaveLength(1);
  });

  test.each([
    ['it is down: nothing was answered', { waiting: ports(1050, 10), established: [] }],
    ['connects wait on any port', { waiting: ports(1095, 10), established: ports(2000, 50) }],
    ['others on shared ports were answered', { waiting: ports(1050, 10), established: ports(1040, 10) }],
    ['too few to tell from chance', { waiting: ports(1050, 3), established: ports(2000, 50) }],
  ])('not: %s', (_, one) => {
    expect(faultsAmong([{ address: '203.0.113.11', ...one }, other])).toEqual([]);
  });
});
