// What one thread remembers between UDP connects: hints, all of them void when the thread changes its network namespace.
import { performance } from 'node:perf_hooks';
import { canonicalAddress } from '../values/address';
import { deviceOfNewSockets, udpSharingOf } from '../kernel/sock_diag';
import { ephemeralRange, reservedPorts } from '../kernel/sysctl';
import type { Native } from '../kernel/addon';
import { formatRange, type PortRange, portsOf } from '../values/port_range';
import { type DestinationPorts, PortTable } from './ports';

// A program may have replaced the clock (tests do).
const now = performance.now.bind(performance);

/** How long a sysctl is believed, in ms; it is always read again before a range is called exhausted. */
const BELIEVED_MS = 1000;

/** Linux's own default (ip-sysctl.rst), for when /proc cannot be read. */
const DEFAULT_RANGE: PortRange = { low: 32768, high: 60999 };

export class PortCache {
  /** How many exclusive binds in a row have found the port in use. */
  #inUse = 0;
  readonly #native: Native;
  readonly #table = new PortTable(Math.random);
  readonly #lists = new Map<string, Uint16Array>();
  #range = DEFAULT_RANGE;
  #reserved: readonly PortRange[] = [];
  #sysctls = '';
  #readAt = Number.NEGATIVE_INFINITY;
  #device = 0;

  constructor(native: Native) {
    this.#native = native;
  }

  /**
   * Whether to try an exclusive bind first, which is cheaper where nobody is on the port. After a few failures in a row, only now
   * and then.
   */
  shouldTryExclusive(): boolean {
    if (this.#inUse < 4) return true;
    this.#inUse++;
    return this.#inUse % 32 === 0;
  }

  /** An exclusive bind has worked, or has found the port in use. */
  noteExclusive(worked: boolean): void {
    this.#inUse = worked ? 0 : this.#inUse + 1;
  }

  /** The index of the device that sockets are born with here (`ip vrf exec`); 0: none. */
  get device(): number {
    if (this.#readAt === Number.NEGATIVE_INFINITY) this.refresh();
    return this.#device;
  }

  /** The ephemeral range, or the given one, in words. */
  rangeOf(range: PortRange | undefined): string {
    return formatRange(range ?? this.#range);
  }

  /** The ports from a source towards a destination, without one from which a socket would connect to itself. */
  portsTowards(
    local: string,
    remote: string,
    remotePort: number,
    device: string | undefined,
    range: PortRange | undefined,
  ): DestinationPorts {
    if (now() - this.#readAt > BELIEVED_MS) this.refresh();
    const bounds = range ?? this.#range;
    const isWithin = remotePort >= bounds.low && remotePort <= bounds.high;
    const except = isWithin && canonicalAddress(local) === canonicalAddress(remote) ? remotePort : 0;
    const name = except === 0 ? formatRange(bounds) : `${formatRange(bounds)} without ${except}`;
    return this.#table.get(
      `${local} ${remote} ${remotePort} ${device ?? ''} ${name}`,
      this.#listOf(name, bounds, except),
    );
  }

  #listOf(name: string, bounds: PortRange, except: number): Uint16Array {
    let list = this.#lists.get(name);
    if (list === undefined) {
      list = Uint16Array.from(portsOf([bounds], this.#reserved)).filter((port) => port !== except);
      // Without a bound, each range that a program names once would stay.
      if (this.#lists.size >= 16) this.#lists.clear();
      this.#lists.set(name, list);
    }
    return list;
  }

  /** Reads the sysctls. True when they have changed, and with them what may be used. */
  refresh(): boolean {
    this.#readAt = now();
    this.#device = deviceOfNewSockets(this.#native) ?? this.#device;
    // Where it cannot be read just now (EMFILE, ENOMEM), what it was is the best guess.
    this.#range = ephemeralRange(this.#native) ?? this.#range;
    this.#reserved = reservedPorts(this.#native);
    const sysctls = [this.#range, ...this.#reserved].map(formatRange).join();
    if (sysctls === this.#sysctls) return false;
    this.#sysctls = sysctls;
    this.#lists.clear();
    this.#table.clear();
    return true;
  }

  /** Whether ports can be shared here; see kernel/sock_diag.ts. */
  get shared(): boolean {
    return udpSharingOf(this.#native).works;
  }

  /** The thread is in another network namespace. */
  forget(): void {
    this.#sysctls = '';
    this.#range = DEFAULT_RANGE;
    this.refresh();
  }
}

let known: { readonly native: Native; readonly cache: PortCache } | undefined;

/** The thread's own, of this addon. */
export function portCacheOf(native: Native): PortCache {
  if (known?.native !== native) known = { native, cache: new PortCache(native) };
  return known.cache;
}
