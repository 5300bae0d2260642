// What one thread remembers between UDP connects: hints, all of them void when the thread changes its network namespace.
import { performance } from 'node:perf_hooks';
import { canonicalAddress } from '../values/address';
import { deviceOfNewSockets, udpSharingOf } from '../kernel/sock_diag';
import { ephemeralRange, reservedPortsText } from '../kernel/sysctl';
import type { Native } from '../kernel/addon';
import { formatRange, type PortRange } from '../values/port_range';
import type { PortBits } from '../values/port_bits';
import { type PortSpace, reservedBits } from './port_space';
import { PortTable } from './port_table';
import type { DestinationPorts } from './ports';

// A program may have replaced the clock (tests do).
const now = performance.now.bind(performance);

/** How long a sysctl is believed, in ms; it is always read again before a range is called exhausted. */
const BELIEVED_MS = 1000;

/** Linux's own default (ip-sysctl.rst), for when /proc cannot be read. */
const DEFAULT_RANGE: PortRange = { low: 32768, high: 60999 };

interface Sysctls {
  /** In the words of the kernel. */
  readonly text: string;
  readonly range: PortRange;
  readonly reserved: PortBits | undefined;
}

const UNREAD: Sysctls = { text: '', range: DEFAULT_RANGE, reserved: undefined };

/** When the sysctls were read, and the device that sockets were born with then. */
interface Read {
  readonly at: number;
  readonly device: number;
}

const NEVER: Read = { at: Number.NEGATIVE_INFINITY, device: 0 };

/** The ports from a source towards a destination. */
interface Towards {
  readonly local: string;
  readonly remote: string;
  readonly remotePort: number;
  readonly device: string | undefined;
  readonly low: number;
  readonly high: number;
  readonly ports: DestinationPorts;
}

export class PortCache {
  /** How many exclusive binds in a row have found the port in use. */
  #inUse = 0;
  readonly #native: Native;
  readonly #table = new PortTable(Math.random);
  #space: PortSpace | undefined;
  #sysctls = UNREAD;
  #read = NEVER;
  /** A program mostly connects to the same destination again and again. */
  #last: Towards | undefined;

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
    if (this.#read === NEVER) this.refresh();
    return this.#read.device;
  }

  /** The ephemeral range, or the given one, in words. */
  rangeOf(range: PortRange | undefined): string {
    return formatRange(range ?? this.#sysctls.range);
  }

  /** The ports from a source towards a destination, without one from which a socket would connect to itself. */
  portsTowards(
    local: string,
    remote: string,
    remotePort: number,
    device: string | undefined,
    range: PortRange | undefined,
  ): DestinationPorts {
    if (now() - this.#read.at > BELIEVED_MS) this.refresh();
    const bounds = range ?? this.#sysctls.range;
    const { low, high } = bounds;
    const last = this.#last;
    const isLast = last?.remotePort === remotePort && last.remote === remote && last.local === local;
    if (isLast && last.low === low && last.high === high && last.device === device) return last.ports;
    const isWithin = remotePort >= low && remotePort <= high;
    const except = isWithin && canonicalAddress(local) === canonicalAddress(remote) ? remotePort : 0;
    const key = `${local} ${remote} ${remotePort} ${device ?? ''} ${low} ${high} ${except}`;
    const ports = this.#table.get(key) ?? this.#table.add(key, this.#spaceOf(bounds, except));
    this.#last = { local, remote, remotePort, device, low, high, ports };
    return ports;
  }

  // Mostly the same as before, and then the same object: there may be very many destinations.
  #spaceOf({ low, high }: PortRange, except: number): PortSpace {
    const last = this.#space;
    if (last?.low === low && last.high === high && last.except === except) return last;
    return (this.#space = { low, high, reserved: this.#sysctls.reserved, except });
  }

  /** Reads the sysctls. True when they have changed, and with them what may be used. */
  refresh(): boolean {
    this.#read = { at: now(), device: deviceOfNewSockets(this.#native) ?? this.#read.device };
    // Where it cannot be read just now (EMFILE, ENOMEM), what it was is the best guess.
    const range = ephemeralRange(this.#native) ?? this.#sysctls.range;
    // There may be thousands of them: they are taken apart when they are others than before.
    const reserved = reservedPortsText(this.#native);
    const text = `${formatRange(range)} ${reserved}`;
    if (text === this.#sysctls.text) return false;
    this.#sysctls = { text, range, reserved: reservedBits(reserved) };
    this.#space = undefined;
    this.#last = undefined;
    this.#table.clear();
    return true;
  }

  /** Whether ports can be shared here; see kernel/sock_diag.ts. */
  get shared(): boolean {
    return udpSharingOf(this.#native).works;
  }

  /** The thread is in another network namespace. */
  forget(): void {
    this.#sysctls = UNREAD;
    this.refresh();
  }
}

let known: { readonly native: Native; readonly cache: PortCache } | undefined;

/** The thread's own, of this addon. */
export function portCacheOf(native: Native): PortCache {
  if (known?.native !== native) known = { native, cache: new PortCache(native) };
  return known.cache;
}
