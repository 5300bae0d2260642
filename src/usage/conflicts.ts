// Listeners inside the ephemeral range: the kernel may give their port to a connection before they are (re)started.
import type { Native } from '../kernel/addon';
import { nativeWithNet } from '../kernel/permission';
import { eachHolder } from './port_usage';
import { ownersOf, type SocketProcess } from '../kernel/processes';
import type { PortRange } from '../values/port_range';
import type { SocketHolder } from '../kernel/socket_table';
import { assignablePorts } from '../kernel/sysctl';
import { type Assignable, inTheWay, reserveCommand, reserving } from './usage';

/** A socket that waits on a port which the kernel also gives to outgoing connections. */
export interface ListenerConflict {
  /** Of the socket. */
  protocol: 'tcp' | 'udp';
  /** Of the socket; one of IPv6 may hold the port of both. */
  family: 'IPv4' | 'IPv6';
  /** What it is bound to; `0.0.0.0` and `::` for every address. */
  localAddress: string;
  /** The port that is in the way. */
  localPort: number;
  /** The user that the socket was made by. */
  uid: number;
  /** Every process that has it open. */
  processes: SocketProcess[];
  /** False: some process may be missing, for other users' are not ours to see (root sees all). */
  processesComplete: boolean;
  /** The command that reserves the ports of all conflicts and keeps the reservations that are there: once is enough. */
  remedy: string;
}

const LISTEN = 10;

// The kernel's table may change while it is read, and then a socket can come twice.
function eachOnce(holders: readonly SocketHolder[]): SocketHolder[] {
  const seen = new Set<number>();
  return holders.filter(({ inode }) => {
    const isNew = inode === 0 || !seen.has(inode);
    seen.add(inode);
    return isNew;
  });
}

/** Takes sockets one by one, and tells which of them are conflicts; whose they are is not asked. */
export class ConflictFinder {
  readonly #waiting = { tcp: [] as SocketHolder[], udp: [] as SocketHolder[] };

  add(protocol: 'tcp' | 'udp', holder: SocketHolder): void {
    // A TCP socket that is only bound is one on its way to something else.
    if (protocol === 'udp' || holder.state === LISTEN) this.#waiting[protocol].push(holder);
  }

  /** In the order of their ports. */
  conflicts(assignable: Assignable): ({ protocol: 'tcp' | 'udp' } & SocketHolder)[] {
    return (['tcp', 'udp'] as const)
      .flatMap((protocol) =>
        inTheWay(assignable, eachOnce(this.#waiting[protocol])).map((holder) => ({ protocol, ...holder })),
      )
      .sort((a, b) => a.localPort - b.localPort);
  }
}

/** How many of them there are, for each protocol. */
export async function conflictCounts(native: Native): Promise<Record<'tcp' | 'udp', number>> {
  const assignable = assignablePorts(native);
  const counts = await Promise.all(
    (['tcp', 'udp'] as const).map(async (protocol) => {
      const finder = new ConflictFinder();
      await eachHolder(native, protocol, assignable.range, (holder) => finder.add(protocol, holder));
      return finder.conflicts(assignable).length;
    }),
  );
  const [tcp = 0, udp = 0] = counts;
  return { tcp, udp };
}

/**
 * {@link listenerConflicts}, as of now or as they were with another range. `also`: ports that the remedy reserves as well.
 */
export async function conflictsWithin(
  range: PortRange | undefined,
  also: readonly PortRange[] = [],
): Promise<ListenerConflict[]> {
  const native = nativeWithNet('listener-conflicts');
  const now = assignablePorts(native);
  const assignable: Assignable = { range: range ?? now.range, reserved: now.reserved };
  const finder = new ConflictFinder();
  await Promise.all(
    (['tcp', 'udp'] as const).map((protocol) =>
      eachHolder(native, protocol, assignable.range, (holder) => finder.add(protocol, holder)),
    ),
  );
  const conflicts = finder.conflicts(assignable);
  const ports = conflicts.map(({ localPort }) => localPort);
  const remedy = reserveCommand(reserving([...assignable.reserved, ...also], ports));
  const owners = await ownersOf(new Set(conflicts.map(({ inode }) => inode)));
  return conflicts.map(({ protocol, family, localAddress, localPort, uid, inode }) => {
    const processes = [...(owners.byInode.get(inode) ?? [])];
    return {
      protocol,
      family: family === 4 ? 'IPv4' : 'IPv6',
      localAddress,
      localPort,
      uid,
      processes,
      processesComplete: owners.complete,
      remedy,
    };
  });
}

/**
 * The sockets that listen (TCP), or are bound without a remote end (UDP), on a port inside the ephemeral range that is not
 * reserved, in the order of their ports. Such a server cannot start while an outgoing connection has its port, and takes
 * the port from all connections while it runs.
 *
 * Among UDP sockets are those that merely send: the kernel gave them their port, and they need no reservation.
 *
 * Rejects as {@link portUsage} does. @throws `ERR_CONNECTX_UNSUPPORTED` off Linux.
 *
 * @example
 * for (const { localPort, processes, remedy } of await listenerConflicts()) {
 *   console.warn(`port ${localPort} of ${processes[0]?.name ?? 'a process'} may be taken: ${remedy}`);
 * }
 */
export async function listenerConflicts(): Promise<ListenerConflict[]> {
  return conflictsWithin(undefined);
}
