// Ways to start a process: pure command lines.
import { cpus } from 'node:os';

/**
 * Client and servers on a core each, always the same ones: the scheduler's choices would be most of the spread. With a single
 * core nothing is pinned.
 */
export function onCore(core, command) {
  return cpus().length > 1 ? ['taskset', '-c', `${core}`, ...command] : command;
}

/** The process is killed with its parent, however that one ends: nothing stays behind. */
export function withParent(command) {
  return ['setpriv', '--pdeathsig', 'KILL', ...command];
}

export const CLIENT_CORE = 0;
export const SERVER_CORE = 1;
