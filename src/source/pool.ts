// Many source addresses as one: which of them next, which of them rest, and how much each of them holds.
import { type Destination, type Family, parseAddress } from '../values/address';
import { Block } from '../values/cidr';
import { ExpiringMap } from '../values/expiring_map';
import { invalidType } from '../errors/argument_errors';
import { nativeFor } from '../kernel/load';
import { type PortRange, portsOf } from '../values/port_range';
import { ephemeralRange, reservedPorts } from '../kernel/sysctl';
import { InUse } from './in_use';
import { type Member, Picker } from './picker';
import {
  type PoolSource,
  readCooldown,
  readMember,
  readPoolSource,
  readRest,
  readStrategy,
  type RestOptions,
  type SourcePoolOptions,
} from './pool_options';
import type { PoolStats } from './pool_stats';
import { brand, isPool, type Pooled, type SourcePicker } from './pooled';
import { StickySource } from './sticky';
import type { Choose } from './strategies';
import { destinationKey, Verdicts } from './verdicts';

/** How many pairs of source and destination are remembered as exhausted; beyond it the oldest are tried again. */
const MOST_EXHAUSTED = 16_384;
/** The same of pairs without a route. Apart from the others: a client may name destinations that nobody can reach. */
const MOST_UNREACHABLE = 1024;

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
export class SourcePool implements Pooled {
  readonly #members = new Map<string, Member>();
  /** Replaced, never changed: a connect that is under way goes on with what it has. */
  #families: Readonly<Record<Family, readonly Member[]>> = { 4: [], 6: [] };
  readonly #choose: Choose;
  readonly #exhausted: ExpiringMap<true>;
  readonly #unreachable: ExpiringMap<true>;
  readonly #verdicts = new Verdicts();
  readonly #inUse = new InUse();
  #turn = 0;
  #version = 0;
  readonly #isForeign: boolean;

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
    const { strategy } = options;
    this.#choose = readStrategy(strategy);
    this.#isForeign = typeof strategy === 'function';
    const cooldown = readCooldown(options.cooldown);
    this.#exhausted = new ExpiringMap(cooldown, MOST_EXHAUSTED);
    this.#unreachable = new ExpiringMap(cooldown, MOST_UNREACHABLE);
    for (const source of sources) this.add(source);
  }

  /**
   * Adds a source; of one that is there already, weight and ports become these. Applies to connects from then on: connections that are
   * open stay, also those from ports that it has no longer.
   */
  add(source: string | PoolSource): this {
    const { block, weight, ports } = readPoolSource(source);
    const present = this.#members.get(block.text);
    if (present === undefined) {
      const sequence = block.anywhere(Math.random);
      const counts = { inUse: 0, connections: 0, exhausted: 0, unusable: 0 };
      this.#members.set(block.text, { block, weight, ports, credit: 0, sequence, ...counts });
      this.#sort();
      return this;
    }
    // What was exhausted were other ports.
    if (present.ports?.low !== ports?.low || present.ports?.high !== ports?.high) this.#exhausted.clear();
    present.weight = weight;
    present.ports = ports;
    this.#version++;
    return this;
  }

  /**
   * Takes a source away, given as it was added; a block only as a whole. Connections that are open stay.
   *
   * @returns whether it was there
   */
  delete(address: string): boolean {
    const block = readMember(address);
    const deleted = this.#members.delete(block.text);
    if (!deleted) return false;
    this.#sort();
    this.#verdicts.forget((source) => !this.#has(Block.parse(source)));
    return true;
  }

  /**
   * The pool as one key (a user, a session) sees it, for `localAddress`: always the same source first, and the next one while that has no
   * port towards the destination, rests or is paused. When a source comes or goes, few keys move (rendezvous hashing). The strategy of
   * the pool is not asked.
   *
   * @throws ERR_INVALID_ARG_TYPE
   * @example
   * const pool = new SourcePool(['192.0.2.0/28']);
   * connect({ host: 'example.org', port: 443, localAddress: pool.sticky('alice') });
   */
  sticky(key: string): StickySource {
    if (typeof key !== 'string') throw invalidType('key', 'of type string', key);
    return new StickySource(this, key);
  }

  /**
   * Passes a source over for a while, in all or towards one destination, for a reason that only you know: it is banned there, say. Unlike
   * one that cools down it is not used at all meanwhile: where no other is left, the connection fails with `pool-exhausted`. Open connections
   * stay. The last word on the same source and destination counts.
   *
   * @param address a source as it was added, or an address of a block
   * @returns whether the pool has it; if not, nothing is remembered
   * @throws one of Node's argument errors
   * @example
   * const pool = new SourcePool(['192.0.2.0/28']);
   * pool.rest('192.0.2.7', { destination: { address: '203.0.113.10' }, ms: 60_000 });
   */
  rest(address: string, options: RestOptions): boolean {
    const block = readMember(address);
    const { ms, destination } = readRest(options);
    if (!this.#has(block)) return false;
    const where = destination === undefined ? '' : destinationKey(destination);
    this.#version++;
    this.#verdicts.rest(block.text, where, ms, performance.now());
    return true;
  }

  /**
   * Uses a source no more until {@link resume}, so that it drains: open connections stay, and `stats()` says how many there are. It keeps
   * its weight, which counts for nothing meanwhile.
   *
   * @param address a source as it was added, or an address of a block
   * @returns whether the pool has it; if not, nothing is remembered
   * @throws one of Node's argument errors
   */
  pause(address: string): boolean {
    const block = readMember(address);
    if (!this.#has(block)) return false;
    this.#version++;
    this.#verdicts.pause(block.text);
    return true;
  }

  /**
   * Takes back all that {@link pause} and {@link rest} have said of a source; of a block, and of each of its addresses.
   *
   * @param address a source as it was added, or an address of a block
   * @returns whether the pool has it
   * @throws one of Node's argument errors
   */
  resume(address: string): boolean {
    const block = readMember(address);
    this.#version++;
    this.#verdicts.forget((source) => source === block.text || block.offsetOf(source) !== undefined);
    return this.#has(block);
  }

  /** How many sources there are, blocks counted once. */
  get size(): number {
    return this.#members.size;
  }

  /**
   * How many connections the pool's sources can hold to one destination: addresses, times ports (those of the slice, or else the ephemeral
   * ones) that are not reserved. Sources that are paused or rest count. With a destination: to that one, and less what this pool has open
   * to it; whatever else uses its ports is not counted (see `portUsage`).
   *
   * @throws a {@link ConnectxError} ERR_CONNECTX_UNSUPPORTED off Linux
   */
  capacity(destination?: { readonly address: string; readonly port: number }): number {
    const native = nativeFor('SourcePool.capacity()');
    const reserved = reservedPorts(native);
    const count = (range: PortRange | undefined) => (range === undefined ? 0 : portsOf([range], reserved).length);
    const ephemeral = count(ephemeralRange(native));
    const parsed = destination && parseAddress(destination.address);
    const connections = [...this.#members.values()]
      .filter(({ block }) => parsed === undefined || block.family === parsed.family)
      .reduce((sum, { block, ports }) => sum + block.size * (ports === undefined ? ephemeral : count(ports)), 0);
    const used = destination === undefined ? 0 : this.#inUse.of(destinationKey(destination));
    return Math.max(connections - used, 0);
  }

  /** What the pool holds now, and what its sources were used for so far, in the order in which they were added. */
  stats(): PoolStats {
    const sources = [...this.#members.values()].map((member) => ({
      address: member.block.text,
      family: member.block.family === 4 ? ('IPv4' as const) : ('IPv6' as const),
      weight: member.weight,
      ...(member.ports && { ports: [member.ports.low, member.ports.high] as [number, number] }),
      ...(this.#verdicts.isPaused(member.block.text) && { paused: true as const }),
      inUse: member.inUse,
      connections: member.connections,
      exhausted: member.exhausted,
      unusable: member.unusable,
    }));
    const now = performance.now();
    const coolingDown = this.#exhausted.count(now) + this.#unreachable.count(now) + this.#verdicts.count(now);
    return { inUse: this.#inUse.of(''), coolingDown, sources };
  }

  /** @internal Whether it has a source of this family. */
  serves(family: Family): boolean {
    return this.#families[family].length > 0;
  }

  /** @internal Another one when the sources are others. Undefined: a function of the user's decides, each time. */
  version(): number | undefined {
    return this.#isForeign ? undefined : this.#version;
  }

  /** @internal The sources for one attempt, `family` being that of the source. */
  pick(destination: Destination, family: Family, choose = this.#choose): SourcePicker {
    const where = destinationKey(destination);
    const situation = {
      destination,
      random: Math.random,
      turn: 0,
      inUse: (address: string) => [this.#inUse.of(`${address} ${where}`), this.#inUse.of(address)] as const,
    };
    return new Picker({
      entries: () => this.#families[family],
      choose: (entries) => choose(entries, { ...situation, turn: this.#turn++ }),
      rests: (address, now) => {
        const pair = `${address} ${where}`;
        return (
          (!this.#exhausted.isEmpty && (this.#exhausted.has(pair, now) || this.#exhausted.has(address, now))) ||
          (!this.#unreachable.isEmpty && this.#unreachable.has(pair, now))
        );
      },
      holds: (source, now) => !this.#verdicts.isEmpty && this.#verdicts.holds(source, where, now),
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
        return this.#inUse.lease(member, ['', where, address, `${address} ${where}`]);
      },
    });
  }

  #has(block: Block): boolean {
    if (this.#members.has(block.text)) return true;
    return (
      block.only !== undefined &&
      this.#families[block.family].some((member) => member.block.offsetOf(block.text) !== undefined)
    );
  }

  #sort(): void {
    this.#version++;
    const all = [...this.#members.values()];
    const of = (family: Family) => all.filter(({ block }) => block.family === family);
    this.#families = { 4: of(4), 6: of(6) };
  }
}

brand(SourcePool);

/** Whether it is a pool, of this copy of connectx or of another one with the same methods. */
export function isSourcePool(value: unknown): value is SourcePool {
  return isPool(value) && typeof (value as Partial<SourcePool>).stats === 'function';
}
