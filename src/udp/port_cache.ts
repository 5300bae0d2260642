// What one thread remembers between UDP connects: hints, all of them void when the thread changes its network namespace.
import { udpSharingOf } from '../kernel/sock_diag';
import { ephemeralRange, reservedPorts } from '../kernel/sysctl';
import type { Native } from '../kernel/addon';
import { formatRange, type PortRange, portsOf } from '../values/port_range';
import { type DestinationPorts, PortTable } from './ports';

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

  /** The ephemeral range, or the given one, in words. */
  rangeOf(range: PortRange | undefined): string {
    return formatRange(range ?? this.#range);
  }

  /** The ports towards a destination; `key` names source, destination and interface. */
  portsTowards(key: string, range: PortRange | undefined): DestinationPorts {
    if (performance.now() - this.#readAt > BELIEVED_MS) this.refresh();
    const bounds = range ?? this.#range;
    const name = formatRange(bounds);
    let list = this.#lists.get(name);
    if (list === undefined) {
      list = Uint16Array.from(portsOf([bounds], this.#reserved));
      // Each range that was ever asked for would stay; a few are enough.
      if (this.#lists.size >= 16) this.#lists.clear();
      this.#lists.set(name, list);
    }
    return this.#table.get(`${key} ${name}`, list);
  }

  /** Reads the sysctls. True when they have changed, and with them what may be used. */
  refresh(): boolean {
    this.#readAt = performance.now();
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
