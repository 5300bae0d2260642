// A fresh network namespace for each test, with a tiny ephemeral range, so that exhaustion costs nothing.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe } from 'vitest';

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

/** Writes `net.<name>` of the calling thread's namespace. */
export function sysctl(name: string, value: string | number): void {
  writeFileSync(`/proc/sys/net/${name.replaceAll('.', '/')}`, `${value}`);
}

/** Runs a shell command in the calling thread's namespace. */
export function shell(command: string): string {
  return execFileSync('sh', ['-ec', command], { encoding: 'utf8' });
}

/** Enters a fresh namespace; what it returns leaves it again. */
export function enterNetwork(network: Network): () => void {
  const { enter, leave } = addon();
  const before = enter();
  if (before < 0) throw new Error(`unshare(CLONE_NEWNET): errno ${-before}`);
  const addresses = network.addresses ?? [];
  const lines = addresses.map(
    (ip) => `ip addr add ${ip}/${ip.includes(':') ? 128 : 32} dev lo${ip.includes(':') ? ' nodad' : ''}`,
  );
  shell(['ip link set lo up', ...lines, ...(network.commands ?? [])].join('\n'));
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
