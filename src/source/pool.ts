// Many source addresses as one: which of them next, which of them rest, and how much each of them holds.
import { type Destination, type Family, type ParsedAddress, parseAddress } from '../values/address';
import { Block } from '../values/cidr';
import { CoolDown } from '../values/cool_down';
import { invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import { nativeFor } from '../kernel/load';
import { portsOf } from '../values/port_range';
import { type Choice, type Choose, type ChooseSource, chooseWith, type Entry, STRATEGIES } from './strategies';
import { ephemeralRange, reservedPorts } from '../kernel/sysctl';

/** A source: an IP address or a CIDR block, with its share. */
export interface PoolSource {
  /** `'192.0.2.7'`, `'192.0.2.0/28'`, `'2001:db8::/64'`. Every address of a block is used as it is, its first and last too. */
  address: string;
  /**
   * The share of this source beside the others of its family, above 0. Of a block: of the whole block. Default: its number of
   * addresses, so that every address counts the same.
   */
  weight?: number | undefined;
}

/** Options of {@link SourcePool}. */
export interface SourcePoolOptions {
  /**
   * Which source is tried first, and which one after it. Default `'round-robin'`.
   *
   * - `'round-robin'`: each in turn, as often as its weight says
   * - `'random'`: as likely as its weight says
   * - `'least-used'`: the one with the fewest open connections of this pool for its weight: towards the destination, then in all
   * - `'sticky'`: for one destination address always the same one, as long as it has ports
   * - a function: gets the sources that may be tried, as they were given to the pool, and the destination; returns one of them,
   *   or an address of one of the blocks; undefined: none. After a failure it is asked again, without the source that failed.
   */
  strategy?: 'round-robin' | 'random' | 'least-used' | 'sticky' | ChooseSource | undefined;
  /**
   * How long, in ms, a source is passed over towards a destination to which it had no free port left, or altogether when it was
   * not an address of this machine. It is still tried before a connection fails. Default 1000; 0: not at all.
   */
  cooldown?: number | undefined;
}

/** What {@link SourcePool.stats} tells of one source. */
export interface PoolSourceStats {
  /** As it was given. */
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

interface Member extends Entry {
  inUse: number;
  connections: number;
  exhausted: number;
  unusable: number;
}

/** Why a source that was tried is not used. */
export type Fault = 'exhausted' | 'not-local' | 'other';

/** A connection's hold on its source. */
export interface PoolLease {
  /** Once is enough; more often does no harm. */
  release(): void;
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
  readonly #cooling: CoolDown;
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
    this.#cooling = new CoolDown(readCooldown(options.cooldown));
    for (const source of sources) this.add(source);
  }

  /** Adds a source; of one that is there already, the weight is changed. Applies to connects from then on. */
  add(source: string | PoolSource): this {
    const { block, weight } = readSource(source);
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
    const used = destination === undefined ? 0 : (this.#inUse.get(keyOf(destination)) ?? 0);
    return Math.max(addresses * ports - used, 0);
  }

  /** What the pool holds now, and what became of its sources so far, in the order in which they were added. */
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
    return { inUse: this.#inUse.get('') ?? 0, coolingDown: this.#cooling.count(performance.now()), sources };
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
      rests: (address, now) =>
        !this.#cooling.isEmpty && (this.#cooling.has(`${address} ${where}`, now) || this.#cooling.has(address, now)),
      failed: (member, address, fault) => {
        if (fault === 'exhausted') {
          member.exhausted++;
          this.#cooling.start(`${address} ${where}`, performance.now());
          return;
        }
        member.unusable++;
        if (fault === 'not-local') this.#cooling.start(address, performance.now());
      },
      lease: (member, address) => {
        member.connections++;
        this.#cooling.end(address);
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

/** What a {@link Picker} needs of its pool. */
interface Access {
  entries(): readonly Member[];
  choose(entries: readonly Entry[]): Choice | undefined;
  rests(address: string, now: number): boolean;
  failed(member: Member, address: string, fault: Fault): void;
  lease(member: Member, address: string): PoolLease;
}

/** So many addresses of one block are looked through for one that does not rest. */
const LOOK = 256;
/** So many addresses of blocks are tried for one connection; single addresses all are. */
const TRIES = 1024;

/** Gives out the sources for one attempt, each once: first those that do not rest, then the others. */
export class Picker {
  readonly #access: Access;
  readonly #tried = new Set<string>();
  /** Blocks in which nothing was found, in this pass. */
  readonly #spent = new Set<Member>();
  #restedOnly = true;
  #blockTries = 0;
  #current: { readonly member: Member; readonly address: string } | undefined;

  constructor(access: Access) {
    this.#access = access;
  }

  /**
   * The next source to try.
   *
   * @throws what a strategy function throws, and one of Node's argument errors for an answer of it that is none of the candidates
   */
  next(): ParsedAddress | undefined {
    for (;;) {
      const now = performance.now();
      const entries = this.#access.entries().filter((member) => this.#isCandidate(member, now));
      const choice = entries.length === 0 ? undefined : this.#access.choose(entries);
      if (choice === undefined) {
        // Also of a strategy function that wants none of those that are left.
        if (entries.length > 0 || !this.#restedOnly) return undefined;
        this.#restedOnly = false;
        this.#spent.clear();
        continue;
      }
      const member = choice.entry as Member;
      const address = this.#addressIn(choice, now);
      if (address === undefined) {
        this.#spent.add(member);
        continue;
      }
      this.#tried.add(address);
      this.#current = { member, address };
      if (member.block.only !== undefined) return member.block.only;
      this.#blockTries++;
      return parseAddress(address);
    }
  }

  /** The source that {@link next} gave is not used. */
  failed(fault: Fault): void {
    if (this.#current !== undefined) this.#access.failed(this.#current.member, this.#current.address, fault);
  }

  /** The source that {@link next} gave is used, until the lease is released. */
  lease(): PoolLease | undefined {
    return this.#current && this.#access.lease(this.#current.member, this.#current.address);
  }

  #isCandidate(member: Member, now: number): boolean {
    const { only, text } = member.block;
    if (only === undefined) return !this.#spent.has(member) && this.#blockTries < TRIES;
    return !this.#tried.has(text) && !(this.#restedOnly && this.#access.rests(text, now));
  }

  // From the one that was chosen on.
  #addressIn({ entry: { block }, offset }: Choice, now: number): string | undefined {
    const looks = Math.min(block.size, LOOK + this.#tried.size);
    for (let i = 0; i < looks; i++) {
      const address = block.at(offset + BigInt(i));
      if (!this.#tried.has(address) && !(this.#restedOnly && this.#access.rests(address, now))) return address;
    }
    return undefined;
  }
}

function keyOf({ address, port }: { readonly address: string; readonly port: number }): string {
  return `> ${address} ${port}`;
}

function readSource(source: unknown): { block: Block; weight: number } {
  const { address, weight } =
    typeof source === 'string' ? { address: source } : ((source ?? {}) as Partial<Record<keyof PoolSource, unknown>>);
  if (typeof address !== 'string') {
    throw invalidType('source', 'of type string or an object with a string property address', source);
  }
  const block = Block.parse(address);
  if (weight === undefined) return { block, weight: block.size };
  if (typeof weight !== 'number') throw invalidType('source.weight', 'of type number', weight);
  if (!(weight > 0 && weight <= Number.MAX_SAFE_INTEGER)) {
    throw outOfRange('source.weight', `> 0 && <= ${Number.MAX_SAFE_INTEGER}`, weight);
  }
  return { block, weight };
}

function readStrategy(strategy: SourcePoolOptions['strategy'] = 'round-robin'): Choose {
  if (typeof strategy === 'function') return chooseWith(strategy);
  if (typeof strategy !== 'string') throw invalidType('options.strategy', 'of type string or function', strategy);
  if (Object.hasOwn(STRATEGIES, strategy)) return STRATEGIES[strategy];
  const names = Object.keys(STRATEGIES).map((name) => `'${name}'`);
  throw invalidValue('options.strategy', strategy, `must be one of ${names.join(', ')}, or a function`);
}

function readCooldown(cooldown: unknown = 1000): number {
  if (typeof cooldown !== 'number') throw invalidType('options.cooldown', 'of type number', cooldown);
  if (!(cooldown >= 0 && cooldown <= 2 ** 31)) throw outOfRange('options.cooldown', '>= 0 && <= 2147483648', cooldown);
  return cooldown;
}
