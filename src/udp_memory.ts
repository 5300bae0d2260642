// What one thread remembers between UDP connects: hints, all of them void when the thread changes its network namespace.
import { ephemeralRange, reservedPorts } from './sysctl';
import type { Native } from './native';
import { formatRange, type PortRange, portsOf } from './range';
import { type DestinationPorts, PortTable } from './udp_ports';

/** How long a sysctl is believed, in ms; it is always read again before a range is called exhausted. */
const BELIEVED_MS = 1000;

/** Linux's own default (ip-sysctl.rst), for when /proc cannot be read. */
const DEFAULT_RANGE: PortRange = { low: 32768, high: 60999 };

export class UdpMemory {
  /** Undefined: not known yet. */
  #shared: boolean | undefined;
  #notAlone = 0;
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
   * Whether to try first if nobody is on a port at all: a cheaper way in, and a cheap failure. After it has failed a few
   * times in a row, only now and then.
   */
  expectsToBeAlone(): boolean {
    if (this.#notAlone < 4) return true;
    this.#notAlone++;
    return this.#notAlone % 32 === 0;
  }

  wasAlone(alone: boolean): void {
    this.#notAlone = alone ? 0 : this.#notAlone + 1;
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

  /**
   * Whether the kernel answers for UDP here, so that ports can be shared. Found out when it is first asked for; where that is
   * not possible (EMFILE, say), it is taken for granted until next time.
   */
  get shared(): boolean {
    if (this.#shared !== undefined) return this.#shared;
    const seen = this.#native.udpProbe();
    if (seen > 0) this.#shared = true;
    else if (seen === 0) this.#giveUpSharing();
    return this.#shared ?? true;
  }

  /** A socket was not seen: that is found out again. */
  doubtSharing(): void {
    if (this.#shared === true) this.#shared = undefined;
  }

  // From now on no port is shared. Said once.
  #giveUpSharing(): void {
    this.#shared = false;
    process.emitWarning(
      'sock_diag(7) does not answer for UDP here (a sandbox, or a kernel without CONFIG_INET_UDP_DIAG). connectx never hands ' +
        'out a 4-tuple that it could not check, so from now on a UDP port is used for one destination at a time.',
      { type: 'ConnectxWarning', code: 'CONNECTX_UDP_EXCLUSIVE' },
    );
  }

  /** The thread is in another network namespace. */
  forget(): void {
    this.#sysctls = '';
    this.#range = DEFAULT_RANGE;
    this.refresh();
  }
}
