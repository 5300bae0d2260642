// A fresh network namespace for each test, with a tiny ephemeral range, so that exhaustion costs nothing.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe } from 'vitest';
import { need } from './needs.js';

interface Addon {
  enter(): number;
  leave(fd: number): number;
}

const addon = () =>
  createRequire(import.meta.url)(join(import.meta.dirname, '../native/build/Release/netns.node')) as Addon;

/** Set by scripts/test.mjs. */
export const hasNamespaces = process.env.CONNECTX_TEST_NAMESPACE === '1';

/** A `describe` that is left out, and says so, where no namespace can be made. */
export function describeIsolated(name: string, body: () => void): void {
  if (hasNamespaces) describe(name, body);
  else describe.skip(`${name} [left out: no network namespace can be made here]`, body);
}

export interface Network {
  /** The ephemeral range, both ends inclusive. */
  range: readonly [low: number, high: number];
  /** `net.ipv4.ip_local_reserved_ports` */
  reserved?: string;
  /** More addresses on `lo`, e.g. `2001:db8::1`; all of 127.0.0.0/8 is there anyway. */
  addresses?: readonly string[];
  /** Shell commands run after the rest is up. */
  commands?: readonly string[];
}

/** Commands for an interface beside `lo`, with an address of each family, and nobody on its other side. */
export const OUTSIDE = [
  'ip link add v0 type veth peer name v1',
  'ip link set v0 up',
  'ip link set v1 up',
  'ip addr add 192.0.2.1/24 dev v0',
  'ip addr add 2001:db8:1::1/64 dev v0 nodad',
];

/** After {@link OUTSIDE}: 192.0.2.8 and 2001:db8:1::8 are reached with packets of 1,400 bytes at most. */
export const NARROW = [
  'ip route add 192.0.2.8/32 dev v0 mtu 1400',
  'ip -6 route add 2001:db8:1::8/128 dev v0 mtu 1400',
];

/** After {@link OUTSIDE}: nobody answers, and who somebody is is asked once, for a third of a second. */
export const NO_NEIGHBOURS = ['4', '6'].flatMap((v) => [
  `echo 1 > /proc/sys/net/ipv${v}/neigh/v0/mcast_solicit`,
  `echo 300 > /proc/sys/net/ipv${v}/neigh/v0/retrans_time_ms`,
]);

/** Writes `net.<name>` of the calling thread's namespace. */
export function sysctl(name: string, value: string | number): void {
  writeFileSync(`/proc/sys/net/${name.replaceAll('.', '/')}`, `${value}`);
}

/** Runs a shell command in the calling thread's namespace; the addresses that it adds with `nodad` are usable at once. */
export function shell(command: string): string {
  need(...['ss', 'sysctl', 'mount'].filter((name) => new RegExp(`(^|[\\n;&|] *)${name} `).test(command)));
  const output = execFileSync('sh', ['-ec', command], { encoding: 'utf8' });
  awaitRoutes();
  return output;
}

// linux/if_addr.h, linux/ipv6_route.h
const IFA_F_NODAD = 0x02;
const RTF_LOCAL = 0x80000000;

/**
 * The kernel adds the route to an IPv6 address of its own in a work item (addrconf_dad_work), and so, on a busy machine, after
 * `ip` has ended. Until then a connect is ENETUNREACH.
 */
function awaitRoutes(): void {
  const read = (name: string) =>
    readFileSync(`/proc/thread-self/net/${name}`, 'utf8')
      .split('\n')
      .map((line) => line.split(/\s+/));
  for (let n = 0; n < 5000; n++) {
    const local = read('ipv6_route').filter(([, , , , , , , , flags = '']) => Number.parseInt(flags, 16) >= RTF_LOCAL);
    const routed = new Set(local.map(([destination]) => destination));
    const missing = read('if_inet6').filter(
      ([address, , , , flags = '']) => (Number.parseInt(flags, 16) & IFA_F_NODAD) !== 0 && !routed.has(address),
    );
    if (missing.length === 0) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  }
  throw new Error('the kernel does not route to all of its addresses');
}

/** A TCP socket as ss(8) of iproute2 shows it, e.g. `TIME-WAIT` from `127.0.0.1:20000` to `127.0.0.2:5353`. */
export interface TcpState {
  state: string;
  local: string;
  remote: string;
}

/** Every TCP socket of the calling thread's namespace that is no listener. */
export function tcpStates(): TcpState[] {
  const lines = shell('ss -Htan state connected state time-wait').split('\n').filter(Boolean);
  return lines.map((line) => {
    const [state = '', , , local = '', remote = ''] = line.trim().split(/\s+/);
    return { state, local, remote };
  });
}

/** Enters a fresh namespace; what it returns leaves it again. */
export function enterNetwork(network: Network): () => void {
  const { enter, leave } = addon();
  const before = enter();
  if (before < 0) throw new Error(`unshare(CLONE_NEWNET): errno ${-before}`);
  const addresses = network.addresses ?? [];
  const lines = addresses.map(
    (ip) => `addr add ${ip}/${ip.includes(':') ? 128 : 32} dev lo${ip.includes(':') ? ' nodad' : ''}`,
  );
  // One process for all of them: on an emulated machine each takes a tenth of a second.
  execFileSync('ip', ['-batch', '-'], { input: ['link set lo up', ...lines, ''].join('\n') });
  if (network.commands !== undefined) shell(network.commands.join('\n'));
  else awaitRoutes();
  // So that a range may begin at 1, as in the reference suite.
  sysctl('ipv4.ip_unprivileged_port_start', 0);
  sysctl('ipv4.ip_local_reserved_ports', network.reserved ?? '');
  sysctl('ipv4.ip_local_port_range', network.range.join(' '));
  return () => {
    const status = leave(before);
    if (status !== 0) throw new Error(`setns: errno ${-status}`);
  };
}

/** A fresh namespace around each test of the surrounding `describe`. */
export function useNetwork(network: Network): void {
  let leave = () => {};
  beforeEach(() => {
    leave = enterNetwork(network);
  });
  afterEach(() => leave());
}
