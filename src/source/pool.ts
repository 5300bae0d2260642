// Many source addresses as one: which of them next, which of them rest, and how much each of them holds.
import { canonicalAddress, type Destination, type Family, parseAddress } from '../values/address';
import { Block } from '../values/cidr';
import { ExpiringMap } from '../values/expiring_map';
import { invalidType } from '../errors/argument_errors';
import { nativeFor } from '../kernel/load';
import { portsOf } from '../values/port_range';
import { ephemeralRange, reservedPorts } from '../kernel/sysctl';
import { type Member, Picker, type PoolLease } from './picker';
import { type PoolSource, readCooldown, readPoolSource, readStrategy, type SourcePoolOptions } from './pool_options';
import type { Choose } from './strategies';

export type { PoolSource, SourcePoolOptions } from './pool_options';

/** How many pairs of source and destination are remembered as exhausted; beyond it the oldest are tried again. */
const MOST_EXHAUSTED = 16_384;
/** The same of pairs without a route. Apart from the others: a client may name destinations that nobody can reach. */
const MOST_UNREACHABLE = 1024;

// A pool may come from another copy of connectx in the process (a bundle, or a vm context as Jest makes it), whose class is
// another one. The number is that of the methods marked @internal below.
const BRAND = Symbol.for('connectx.SourcePool');
const PROTOCOL = 1;

/** What {@link SourcePool.stats} tells of one source. */
export interface PoolSourceStats {
  /** As the kernel writes it (RFC 5952), so that it compares with `socket.localAddress`. */
  address: string;
  /** Of the source. */
  family: 'IPv4' | 'IPv6';
  /** Its share beside the others of its family. */
  weight: number;
  /** Open or opening connections of this pool. */
  inUse: number;
  /** Connections that it was the source of, since it was added. */
  connections: number;
  /** How often it had no free port towards a destination. */
  exhausted: number;
  /** How often it could not be used for another reason, not being an address of this machine before all. */
  unusable: number;
}

/** What {@link SourcePool.stats} tells. */
export interface PoolStats {
  /** Open or opening connections of this pool. */
  inUse: number;
  /** How many pairs of source and destination, and sources altogether, are passed over now. */
  coolingDown: number;
  /** In the order in which they were added. */
  sources: PoolSourceStats[];
}

/**
 * A set of source addresses for `localAddress`. Each connection gets one of them; when that one has no free port left towards the
 * destination, or is not (any more) an address of this machine, the next one is tried within the same call. One pool may serve any
 * number of connections, TCP and UDP, of both address families, and may be changed while it is in use.
 *
 * @throws ERR_INVALID_IP_ADDRESS, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE when something in it is wrong
 * @example
 * const pool = new SourcePool(['192.0.2.0/28', { address: '198.51.100.7', weight: 4 }], { strategy: 'least-used' });
 * connect({ host: 'example.org', port: 443, localAddress: pool });
 */
export class SourcePool {
  readonly #members = new Map<string, Member>();
  /** Replaced, never changed: a connect that is under way goes on with what it has. */
  #families: Readonly<Record<Family, readonly Member[]>> = { 4: [], 6: [] };
  readonly #choose: Choose;
  readonly #exhausted: ExpiringMap<true>;
  readonly #unreachable: ExpiringMap<true>;
  readonly #inUse = new Map<string, number>();
  #turn = 0;

  /** `sources`: addresses and CIDR blocks of both families. Throws one of Node's argument errors when one is wrong. */
  constructor(sources: Iterable<string | PoolSource>, options: SourcePoolOptions = {}) {
    if (
      typeof sources === 'string' ||
      typeof (sources as Partial<Iterable<unknown>> | null)?.[Symbol.iterator] !== 'function'
    ) {
      throw invalidType('sources', 'an iterable of strings and objects', sources);
    }
    if (typeof options !== 'object' || (options as unknown) === null) {
      throw invalidType('options', 'of type object', options);
    }
    this.#choose = readStrategy(options.strategy);
    const cooldown = readCooldown(options.cooldown);
    this.#exhausted = new ExpiringMap(cooldown, MOST_EXHAUSTED);
    this.#unreachable = new ExpiringMap(cooldown, MOST_UNREACHABLE);
    for (const source of sources) this.add(source);
  }

  /** Adds a source; of one that is there already, the weight is changed. Applies to connects from then on. */
  add(source: string | PoolSource): this {
    const { block, weight } = readPoolSource(source);
    const present = this.#members.get(block.text);
    if (present !== undefined) present.weight = weight;
    else {
      const sequence = block.anywhere(Math.random);
      const counts = { inUse: 0, connections: 0, exhausted: 0, unusable: 0 };
      this.#members.set(block.text, { block, weight, credit: 0, sequence, ...counts });
      this.#sort();
    }
    return this;
  }

  /**
   * Takes a source away, given as it was added; a block only as a whole. Connections that are open stay.
   *
   * @returns whether it was there
   */
  delete(address: string): boolean {
    if (typeof address !== 'string') throw invalidType('address', 'of type string', address);
    const deleted = this.#members.delete(Block.parse(address).text);
    if (deleted) this.#sort();
    return deleted;
  }

  /** How many sources there are, blocks counted once. */
  get size(): number {
    return this.#members.size;
  }

  /**
   * How many connections the pool's sources can hold to one destination: addresses, times ephemeral ports that are not reserved.
   * With a destination: to that one, and less what this pool has open to it; whatever else uses its ports is not counted (see
   * `portUsage`).
   *
   * @throws a {@link ConnectxError} ERR_CONNECTX_UNSUPPORTED off Linux
   */
  capacity(destination?: { readonly address: string; readonly port: number }): number {
    const native = nativeFor('SourcePool.capacity()');
    const range = ephemeralRange(native);
    const ports = range === undefined ? 0 : portsOf([range], reservedPorts(native)).length;
    const parsed = destination && parseAddress(destination.address);
    const addresses = [...this.#members.values()]
      .filter(({ block }) => parsed === undefined || block.family === parsed.family)
      .reduce((sum, { block }) => sum + block.size, 0);
    const used = destination === undefined ? 0 : this.#countOf(keyOf(destination));
    return Math.max(addresses * ports - used, 0);
  }

  /** What the pool holds now, and what its sources were used for so far, in the order in which they were added. */
  stats(): PoolStats {
    const sources = [...this.#members.values()].map((member) => ({
      address: member.block.text,
      family: member.block.family === 4 ? ('IPv4' as const) : ('IPv6' as const),
      weight: member.weight,
      inUse: member.inUse,
      connections: member.connections,
      exhausted: member.exhausted,
      unusable: member.unusable,
    }));
    const now = performance.now();
    const coolingDown = this.#exhausted.count(now) + this.#unreachable.count(now);
    return { inUse: this.#countOf(''), coolingDown, sources };
  }

  /** @internal Whether it has a source of this family. */
  serves(family: Family): boolean {
    return this.#families[family].length > 0;
  }

  /** @internal The sources for one attempt, `family` being that of the source. */
  pick(destination: Destination, family: Family): Picker {
    const where = keyOf(destination);
    const situation = {
      destination,
      random: Math.random,
      turn: 0,
      inUse: (address: string) => [this.#countOf(`${address} ${where}`), this.#countOf(address)] as const,
    };
    return new Picker({
      entries: () => this.#families[family],
      choose: (entries) => this.#choose(entries, { ...situation, turn: this.#turn++ }),
      rests: (address, now) => {
        const pair = `${address} ${where}`;
        return (
          (!this.#exhausted.isEmpty && (this.#exhausted.has(pair, now) || this.#exhausted.has(address, now))) ||
          (!this.#unreachable.isEmpty && this.#unreachable.has(pair, now))
        );
      },
      failed: (member, address, fault) => {
        const now = performance.now();
        const pair = `${address} ${where}`;
        switch (fault) {
          case 'exhausted':
            member.exhausted++;
            this.#exhausted.set(pair, true, now);
            break;
          case 'unreachable':
            // It may be the destination's fault, so nothing is counted against the source.
            this.#unreachable.set(pair, true, now);
            break;
          case 'not-local':
            member.unusable++;
            this.#exhausted.set(address, true, now);
            break;
          case 'other':
            member.unusable++;
        }
      },
      lease: (member, address) => {
        member.connections++;
        this.#exhausted.delete(address);
        return this.#lease(member, ['', where, address, `${address} ${where}`]);
      },
    });
  }

  #lease(member: Member, keys: readonly string[]): PoolLease {
    const count = (by: 1 | -1): void => {
      member.inUse += by;
      for (const key of keys) {
        const left = this.#countOf(key) + by;
        if (left === 0) this.#inUse.delete(key);
        else this.#inUse.set(key, left);
      }
    };
    count(1);
    let held = true;
    return {
      release: () => {
        if (held) count(-1);
        held = false;
      },
    };
  }

  #countOf(key: string): number {
    return this.#inUse.get(key) ?? 0;
  }

  #sort(): void {
    const all = [...this.#members.values()];
    const of = (family: Family) => all.filter(({ block }) => block.family === family);
    this.#families = { 4: of(4), 6: of(6) };
  }
}

function keyOf({ address, port }: { readonly address: string; readonly port: number }): string {
  return `> ${canonicalAddress(address)} ${port}`;
}

Object.defineProperty(SourcePool.prototype, BRAND, { value: PROTOCOL });

/** Whether it is a pool, of this copy of connectx or of another one with the same methods. */
export function isPool(value: unknown): value is SourcePool {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === PROTOCOL;
}

/** Whether it is a pool of a copy of connectx that has other methods. */
export function isForeignPool(value: object): boolean {
  return BRAND in value && !isPool(value);
}
