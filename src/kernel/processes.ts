// Whose sockets are these? Out of /proc (proc_pid_fd(5)), off the event loop.
// Not node:fs/promises: Node then loads it, and what it needs, when it is first used.
import { promises } from 'node:fs';

/** A process that has a socket open. */
export interface SocketProcess {
  /** In the PID namespace of this process. */
  pid: number;
  /** As `ps -o comm` shows it: the kernel cuts it off at 15 bytes. */
  name: string;
}

export interface Owners {
  readonly byInode: ReadonlyMap<number, readonly SocketProcess[]>;
  /** False: some processes do not let this one see what they have open (CAP_SYS_PTRACE), or there is no /proc. */
  readonly complete: boolean;
}

const AT_ONCE = 64;

/** What became of looking: undefined when the process is gone, false when it is not for us to see. */
async function seen<T>(look: Promise<T>): Promise<T | false | undefined> {
  try {
    return await look;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    if (code === 'EACCES' || code === 'EPERM') return false;
    throw error;
  }
}

async function socketsOf(pid: string, wanted: ReadonlySet<number>): Promise<Set<number> | false> {
  const found = new Set<number>();
  const descriptors = await seen(promises.readdir(`/proc/${pid}/fd`));
  if (descriptors === false) return false;
  for (let at = 0; at < (descriptors ?? []).length; at += AT_ONCE) {
    const some = (descriptors ?? []).slice(at, at + AT_ONCE);
    const links = await Promise.all(some.map((fd) => seen(promises.readlink(`/proc/${pid}/fd/${fd}`))));
    for (const link of links) {
      if (link === false) return false;
      const inode = Number(/^socket:\[(\d+)\]$/.exec(link ?? '')?.[1]);
      if (wanted.has(inode)) found.add(inode);
    }
  }
  return found;
}

/** The processes that have these sockets open, each of them. */
export async function ownersOf(inodes: ReadonlySet<number>): Promise<Owners> {
  const byInode = new Map<number, SocketProcess[]>();
  if (inodes.size === 0) return { byInode, complete: true };
  const entries = await seen(promises.readdir('/proc'));
  if (entries === undefined || entries === false) return { byInode, complete: false };
  let complete = true;
  for (const pid of entries.filter((name) => /^\d+$/.test(name))) {
    const found = await socketsOf(pid, inodes);
    if (found === false) complete = false;
    else if (found.size > 0) {
      const name = await seen(promises.readFile(`/proc/${pid}/comm`, 'utf8'));
      // Gone between the two looks.
      if (typeof name !== 'string') continue;
      for (const inode of found) {
        byInode.set(inode, [...(byInode.get(inode) ?? []), { pid: Number(pid), name: name.trimEnd() }]);
      }
    }
  }
  return { byInode, complete };
}
