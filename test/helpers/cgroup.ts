// Programs that run in a cgroup with BPF programs on it, which scripts/cgroups.mjs has made for this run of the tests.
import { join } from 'node:path';

const path = process.env.CONNECTX_TEST_CGROUPS ?? '';

/** To be appended to a test's name: what it is left out for, or nothing. */
export const leftOutWithoutCgroups =
  path === '' ? ` [left out: ${process.env.CONNECTX_TEST_CGROUPS_MISSING ?? 'run by scripts/test.mjs, as root'}]` : '';

export const hasCgroups = path !== '';

/**
 * `service`: connect(2) to {@link SERVICE} goes to the two backends in turn, port 80 of it to their port 20001, and getpeername(2) calls them
 * by the name of the service.
 * `device`: each socket is born bound to the interface of index {@link DEVICE_INDEX} (`ip link add NAME index 50 ...`).
 */
export type Cgroup = 'service' | 'device';

export const SERVICE = {
  4: { address: '198.51.100.1', backends: ['127.0.0.1', '127.0.0.2'] },
  6: { address: '2001:db8:5::1', backends: ['2001:db8::1', '2001:db8::2'] },
} as const;

export const DEVICE_INDEX = 50;

/** Where scripts/sk-lookup.mjs listens; to be asked where {@link hasCgroups}. */
export const skLookupSocket = process.env.CONNECTX_TEST_SK_LOOKUP ?? '';

/** The command as one that runs in the cgroup: a program and its arguments. */
export function inCgroup(cgroup: Cgroup, command: readonly string[]): [file: string, args: string[]] {
  const enter = 'echo $$ > "$0" && exec "$@"';
  return ['sh', ['-ec', enter, join(path, cgroup, 'cgroup.procs'), ...command]];
}
