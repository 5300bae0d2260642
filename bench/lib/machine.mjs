// What a result says of where it was measured.
import { spawnSync } from 'node:child_process';
import { cpus, release } from 'node:os';

export const machine = `Node ${process.version}, Linux ${release()}, ${cpus().length} x ${cpus()[0]?.model.trim()}`;

/** With `+` when the work tree is not what was committed; undefined where there is no repository. */
export function commitOf(folder) {
  // Inside a user namespace the folder belongs to nobody that git knows.
  const options = ['describe', '--always', '--abbrev=12', '--exclude=*', '--dirty=+'];
  const { status, stdout } = spawnSync('git', ['-C', folder, '-c', 'safe.directory=*', ...options], {
    encoding: 'utf8',
  });
  return status === 0 ? stdout.trim() : undefined;
}
