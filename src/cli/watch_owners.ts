// Whose connections are these? Of each group a few are looked at; the walk through /proc is the dear part, and there is one for all.
import type { Native } from '../kernel/addon';
import { domainOf } from '../kernel/constants';
import { ownersOf } from '../kernel/processes';
import { type PortUsage, usageKey } from '../usage/usage';
import { parseAddress } from '../values/address';
import { portsIn } from '../values/port_bits';

const NUMBERS = { tcp: 6, udp: 17 } as const;
const ESTABLISHED = 1;
/** How many groups are looked at together. */
const MOST = 200;
/** Milliseconds between looks at least; and a look may take this share of the time. */
const PAUSE = 5000;
const SHARE = 0.05;
/** How many names of earlier looks are kept. */
const REMEMBERED = 2000;

interface Sampled {
  readonly inode: number;
  readonly uid: number;
}

export class OwnerNames {
  readonly #native: Native;
  #names = new Map<string, string>();
  #next = 0;

  constructor(native: Native) {
    this.#native = native;
  }

  /** `haproxy (812)`; undefined when it is not known. */
  nameOf(usage: PortUsage): string | undefined {
    return this.#names.get(usageKey(usage));
  }

  /** Looks at these groups, unless that was done a moment ago. Whether there is something new. */
  async look(groups: readonly PortUsage[]): Promise<boolean> {
    const start = performance.now();
    if (start < this.#next) return false;
    this.#next = Infinity;
    const sampled = new Map<string, Sampled[]>();
    for (const group of groups.slice(0, MOST)) sampled.set(usageKey(group), await this.#socketsOf(group));
    const { byInode } = await ownersOf(new Set([...sampled.values()].flat().map(({ inode }) => inode)));
    this.#names = new Map([
      ...[...this.#names].slice(-REMEMBERED),
      ...[...sampled].flatMap(([key, sockets]) => {
        const names = sockets.flatMap(({ inode, uid }) => {
          const processes = byInode.get(inode);
          // Of another user, or without a process: closed, and the kernel still sends what is left.
          return processes?.map(({ name, pid }) => `${ascii(name)} (${pid})`) ?? [`user ${uid}`];
        });
        const [first, ...others] = new Set(names);
        return first === undefined ? [] : [[key, others.length === 0 ? first : `${first} +${others.length}`] as const];
      }),
    ]);
    const end = performance.now();
    this.#next = end + Math.max(PAUSE, (end - start) / SHARE);
    return true;
  }

  /** The first, the middle and the last of its connections. */
  async #socketsOf({ protocol, localAddress, remoteAddress, remotePort }: PortUsage): Promise<Sampled[]> {
    const local = parseAddress(localAddress);
    const remote = parseAddress(remoteAddress);
    if (local === undefined || remote === undefined) return [];
    const number = NUMBERS[protocol];
    const domain = domainOf(remote.family);
    const question = [number, ESTABLISHED, domain, local.ip, remote.ip, remotePort] as const;
    const found = await this.#native.portsInState(...question);
    // The kernel does not answer, or no more: nothing is known of them.
    const ports = typeof found === 'number' ? [] : portsIn(found);
    const some = new Set([ports[0], ports[ports.length >> 1], ports[ports.length - 1]]);
    const device = Number(local.zone ?? remote.zone ?? 0);
    return [...some].flatMap((port) => {
      if (port === undefined) return [];
      const socket = this.#native.diagLookup(number, domain, local.ip, port, remote.ip, remotePort, device);
      return typeof socket === 'number' || socket === null ? [] : [socket];
    });
  }
}

/** A character of another script may take two columns of a terminal. */
const ascii = (name: string): string => name.replace(/[^\x20-\x7e]/gu, '?');
