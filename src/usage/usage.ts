// How full are the ports, and which listeners are in the way? Policy on plain data: no I/O, no native code.
import type { Family } from '../values/address';
import { clearBit, hasBit, type PortBits, rangeBits } from '../values/port_bits';
import { formatRange, type PortRange } from '../values/port_range';
import type { SocketGroup, SocketHolder } from '../kernel/socket_table';

/** The ports in use from one source towards one destination. */
export interface PortUsage {
  /** `tcp` or `udp`: each has ports of its own. */
  protocol: 'tcp' | 'udp';
  /** IPv4-mapped IPv6 sockets are among the IPv4 ones, with which they share their ports. */
  family: 'IPv4' | 'IPv6';
  /** A link-local address has the number of its interface as its zone: `fe80::1%2`. */
  localAddress: string;
  /** The destination. */
  remoteAddress: string;
  /** The port of the destination. */
  remotePort: number;
  /** How many of the `capacity` ports are taken towards this destination, TIME-WAIT included. */
  used: number;
  /** How many of the `used` ones are in TIME-WAIT (TCP only). */
  timeWait: number;
  /**
   * How many ports this source can have towards this destination: those of the ephemeral range that are not reserved, and on
   * which no socket listens or (UDP) is bound without a remote end. An upper bound: whether a connected socket shares
   * its port is not to be seen from outside.
   */
  capacity: number;
  /** `used / capacity`, 0 to 1. */
  ratio: number;
}

/** The ports that the kernel gives out by itself: the ephemeral range without what is reserved. */
export interface Assignable {
  readonly range: PortRange;
  readonly reserved: readonly PortRange[];
}

/** What is left of the assignable ports when those who hold one for themselves have theirs. */
export interface Room {
  /** The bytes of 65,536 bits: the ports that count. */
  readonly ports: Uint8Array;
  /** Endpoints that do not count, for `socketGroups`; a wildcard address stands for all of its family. */
  readonly except: Uint8Array;
  capacityOf(family: Family, localAddress: string): number;
}

const isWildcard = ({ localAddress }: SocketHolder): boolean => localAddress === '0.0.0.0' || localAddress === '::';

/** The assignable ports, and how many they are: cheap for the widest range and any number of reservations. */
class AssignablePorts {
  readonly #bits: PortBits;
  size = 0;

  constructor({ range, reserved }: Assignable) {
    this.#bits = rangeBits(range.low, range.high);
    this.size = range.high - range.low + 1;
    for (const hole of reserved) {
      for (let port = hole.low; port <= hole.high; port++) this.delete(port);
    }
  }

  /** As `socketGroups` takes them. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#bits.buffer);
  }

  has(port: number): boolean {
    return hasBit(this.#bits, port);
  }

  delete(port: number): void {
    if (!this.has(port)) return;
    clearBit(this.#bits, port);
    this.size--;
  }
}

/** Bytes behind one another. Each is copied when it comes, and not all of them at the end: the event loop has its turns in between. */
class Bytes {
  #bytes = new Uint8Array(1024);
  #length = 0;

  add(some: Uint8Array): void {
    if (this.#length + some.length > this.#bytes.length) {
      const more = new Uint8Array(2 * (this.#length + some.length));
      more.set(this.#bytes);
      this.#bytes = more;
    }
    this.#bytes.set(some, this.#length);
    this.#length += some.length;
  }

  all(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** The IPv4 wildcard endpoint, for an IPv6 one that takes part in IPv4. */
function wildcard4(endpoint: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(endpoint);
  copy[0] = 4;
  return copy;
}

/** Takes the sockets that hold a port for themselves, one by one, and tells what is left. */
export interface RoomBuilder {
  add(holder: SocketHolder): void;
  done(): Room;
}

/**
 * TCP: an explicit bind, such as a listener's, takes its port away from the kernel's choice for every address and for
 * both families (`__inet_hash_connect` goes by port alone).
 */
class TcpRoom implements RoomBuilder {
  readonly #ports: AssignablePorts;

  constructor(assignable: Assignable) {
    this.#ports = new AssignablePorts(assignable);
  }

  add({ localPort }: SocketHolder): void {
    this.#ports.delete(localPort);
  }

  done(): Room {
    const { bytes, size } = this.#ports;
    return { ports: bytes, except: new Uint8Array(), capacityOf: () => size };
  }
}

/** UDP: a socket without a remote end is in the way of its own address, or of all of its family when that is the wildcard. */
class UdpRoom implements RoomBuilder {
  readonly #ports: AssignablePorts;
  readonly #everywhere = { 4: new Set<number>(), 6: new Set<number>() };
  readonly #at = new Map<string, Set<number>>();
  readonly #except = new Bytes();

  constructor(assignable: Assignable) {
    this.#ports = new AssignablePorts(assignable);
  }

  add(holder: SocketHolder): void {
    const { family, localAddress, localPort, endpoint } = holder;
    if (!this.#ports.has(localPort)) return;
    this.#except.add(endpoint);
    if (!isWildcard(holder)) {
      const known = this.#at.get(localAddress) ?? new Set();
      this.#at.set(localAddress, known.add(localPort));
      return;
    }
    this.#everywhere[family].add(localPort);
    if (family === 6 && !holder.v6Only) {
      this.#everywhere[4].add(localPort);
      this.#except.add(wildcard4(endpoint));
    }
  }

  done(): Room {
    // Each source address is counted once, however many destinations it has.
    const capacities = new Map<string, number>();
    const { bytes, size } = this.#ports;
    return {
      ports: bytes,
      except: this.#except.all(),
      capacityOf: (family, localAddress) => {
        let capacity = capacities.get(localAddress);
        if (capacity === undefined) {
          const everywhere = this.#everywhere[family];
          capacity = size - everywhere.size;
          for (const port of this.#at.get(localAddress) ?? []) if (!everywhere.has(port)) capacity--;
          capacities.set(localAddress, capacity);
        }
        return capacity;
      },
    };
  }
}

export function roomBuilder(protocol: 'tcp' | 'udp', assignable: Assignable): RoomBuilder {
  return protocol === 'tcp' ? new TcpRoom(assignable) : new UdpRoom(assignable);
}

export function roomFor(protocol: 'tcp' | 'udp', assignable: Assignable, holders: readonly SocketHolder[]): Room {
  const builder = roomBuilder(protocol, assignable);
  for (const holder of holders) builder.add(holder);
  return builder.done();
}

export function usageOf(protocol: 'tcp' | 'udp', group: SocketGroup, capacity: number): PortUsage {
  const { family, localAddress, remoteAddress, remotePort, used, timeWait } = group;
  return {
    protocol,
    family: family === 4 ? 'IPv4' : 'IPv6',
    localAddress,
    remoteAddress,
    remotePort,
    used,
    timeWait,
    capacity,
    ratio: capacity === 0 ? 1 : used / capacity,
  };
}

/** Fullest first; of equally full ones, that with the most ports. */
export function byFullness(a: PortUsage, b: PortUsage): number {
  return b.ratio - a.ratio || b.used - a.used;
}

/** The lists in one, each of them in order. */
export function merged(lists: readonly (readonly PortUsage[])[]): PortUsage[] {
  const [one = [], ...others] = lists;
  return others.reduce<PortUsage[]>((all, list) => mergedTwo(all, list), [...one]);
}

function mergedTwo(a: readonly PortUsage[], b: readonly PortUsage[]): PortUsage[] {
  const all: PortUsage[] = [];
  let at = 0;
  for (const one of a) {
    for (let other = b[at]; other !== undefined && byFullness(other, one) < 0; other = b[++at]) all.push(other);
    all.push(one);
  }
  return all.concat(b.slice(at));
}

/** One group, as a text that tells it from the others. */
export function usageKey({ protocol, localAddress, remoteAddress, remotePort }: PortUsage): string {
  return `${protocol} ${localAddress} ${remoteAddress} ${remotePort}`;
}

/** Those of the sockets that hold a port which the kernel may give to a connection first. */
export function inTheWay(assignable: Assignable, holders: readonly SocketHolder[]): SocketHolder[] {
  const ports = new AssignablePorts(assignable);
  return holders.filter(({ localPort }) => ports.has(localPort));
}

/** The ranges and these ports, in order, neighbours joined: as the kernel itself writes reserved ports. */
export function reserving(reserved: readonly PortRange[], ports: readonly number[]): PortRange[] {
  const sorted = [...reserved, ...ports.map((port) => ({ low: port, high: port }))].sort((a, b) => a.low - b.low);
  const joined: PortRange[] = [];
  for (const range of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && range.low <= last.high + 1) {
      joined[joined.length - 1] = { low: last.low, high: Math.max(last.high, range.high) };
    } else {
      joined.push(range);
    }
  }
  return joined;
}

/** The command that reserves exactly these. */
export function reserveCommand(ranges: readonly PortRange[]): string {
  return `sysctl -w net.ipv4.ip_local_reserved_ports=${ranges.map(formatRange).join(',')}`;
}
