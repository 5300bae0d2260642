// Processes with a tenth of a processor each: a cgroup's quota, where this process may make cgroups, else by stopping them.
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PERIOD_MS = 100;
const SHARE_MS = 10;

const V1 = '/sys/fs/cgroup/cpu';
const V2 = '/sys/fs/cgroup';

/** How the processes are limited, and what ends it: when they have exited. */
export interface Quota {
  readonly how: string;
  end(): void;
}

/** Gives each of these processes 10 ms of each 100. */
export function limitToTenth(pids: readonly number[]): Quota {
  const made: string[] = [];
  const remove = (): void => {
    for (const folder of made.splice(0)) rmdirSync(folder);
  };
  try {
    for (const pid of pids) {
      const v1 = existsSync(join(V1, 'cpu.cfs_quota_us'));
      const folder = join(v1 ? V1 : V2, `connectx-test-${pid}`);
      mkdirSync(folder);
      made.push(folder);
      const write = (name: string, value: string): void => {
        writeFileSync(join(folder, name), value);
      };
      if (v1) {
        write('cpu.cfs_period_us', `${PERIOD_MS * 1000}`);
        write('cpu.cfs_quota_us', `${SHARE_MS * 1000}`);
      } else write('cpu.max', `${SHARE_MS * 1000} ${PERIOD_MS * 1000}`);
      write('cgroup.procs', `${pid}`);
    }
    return { how: 'cgroups', end: remove };
  } catch (error) {
    // Not root, or no cgroups with a processor's controller here.
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    try {
      remove();
    } catch {
      // A process is in it, and ends with the test.
    }
    return { how: `SIGSTOP, for want of cgroups (${code})`, end: stopInTurns(pids) };
  }
}

function stopInTurns(pids: readonly number[]): () => void {
  const timers = new Map<number, NodeJS.Timeout>();
  const signal = (pid: number, name: 'SIGSTOP' | 'SIGCONT'): void => {
    try {
      process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  const stop = (pid: number): void => {
    signal(pid, 'SIGSTOP');
    timers.set(
      pid,
      setTimeout(() => {
        signal(pid, 'SIGCONT');
        timers.set(
          pid,
          setTimeout(() => {
            stop(pid);
          }, SHARE_MS),
        );
      }, PERIOD_MS - SHARE_MS),
    );
  };
  // Each at a time of its own.
  for (const pid of pids) {
    timers.set(
      pid,
      setTimeout(() => {
        stop(pid);
      }, Math.random() * PERIOD_MS),
    );
  }
  return () => {
    for (const [pid, timer] of timers) {
      clearTimeout(timer);
      signal(pid, 'SIGCONT');
    }
  };
}
