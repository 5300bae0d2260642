// What a pool is made of, as a user writes it: checked, with its defaults.
import { Block } from '../values/cidr';
import { invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import { type Choose, type ChooseSource, chooseWith, STRATEGIES } from './strategies';

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
   * - a function: gets the sources of the pool that may be tried, and the destination; returns one of them,
   *   or an address of one of the blocks; undefined: none. After a failure it is asked again, without the source that failed.
   */
  strategy?: 'round-robin' | 'random' | 'least-used' | 'sticky' | ChooseSource | undefined;
  /**
   * How long, in ms, a source is passed over towards a destination to which it had no free port left, or altogether when it was
   * not an address of this machine. It is still tried before a connection fails. Default 1000; 0: not at all.
   */
  cooldown?: number | undefined;
}

/** @throws one of Node's argument errors */
export function readPoolSource(source: unknown): { block: Block; weight: number } {
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

/** @throws one of Node's argument errors */
export function readStrategy(strategy: SourcePoolOptions['strategy'] = 'round-robin'): Choose {
  if (typeof strategy === 'function') return chooseWith(strategy);
  if (typeof strategy !== 'string') throw invalidType('options.strategy', 'of type string or function', strategy);
  if (Object.hasOwn(STRATEGIES, strategy)) return STRATEGIES[strategy];
  const names = Object.keys(STRATEGIES).map((name) => `'${name}'`);
  throw invalidValue('options.strategy', strategy, `must be one of ${names.join(', ')}, or a function`);
}

/** @throws one of Node's argument errors */
export function readCooldown(cooldown: unknown = 1000): number {
  if (typeof cooldown !== 'number') throw invalidType('options.cooldown', 'of type number', cooldown);
  if (!(cooldown >= 0 && cooldown <= 2 ** 31)) throw outOfRange('options.cooldown', '>= 0 && <= 2147483648', cooldown);
  return cooldown;
}
