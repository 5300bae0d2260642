// What a pool is made of, as a user writes it: checked, with its defaults.
import { isIP } from 'node:net';
import { Block } from '../values/cidr';
import { badPort, invalidAddress, invalidType, invalidValue, outOfRange } from '../errors/argument_errors';
import type { PortRange } from '../values/port_range';
import { readRange } from './range_option';
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
  /**
   * The ports of this source that there are to be had, both ends inclusive, 1 to 65535: a slice, so that several machines, containers or
   * processes share one address without talking to each other (see {@link portSlice}). Default: all.
   */
  ports?: readonly [low: number, high: number] | undefined;
}

/** A source as it was given. */
export interface ReadSource {
  readonly block: Block;
  readonly weight: number;
  readonly ports: PortRange | undefined;
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
export function readPoolSource(source: unknown): ReadSource {
  const {
    address,
    weight,
    ports: slice,
  } = typeof source === 'string' ? { address: source } : ((source ?? {}) as Partial<Record<keyof PoolSource, unknown>>);
  if (typeof address !== 'string') {
    throw invalidType('source', 'of type string or an object with a string property address', source);
  }
  const block = Block.parse(address);
  const ports = readRange('source.ports', slice);
  if (weight === undefined) return { block, weight: block.size, ports };
  if (typeof weight !== 'number') throw invalidType('source.weight', 'of type number', weight);
  if (!(weight > 0 && weight <= Number.MAX_SAFE_INTEGER)) {
    throw outOfRange('source.weight', `> 0 && <= ${Number.MAX_SAFE_INTEGER}`, weight);
  }
  return { block, weight, ports };
}

/** @throws one of Node's argument errors */
export function readMember(address: string): Block {
  if (typeof address !== 'string') throw invalidType('address', 'of type string', address);
  return Block.parse(address);
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

/** Options of {@link SourcePool.rest}. */
export interface RestOptions {
  /** For how long, in ms; 0 ends the rest. */
  ms: number;
  /** Towards this destination only. Default: towards all. */
  destination?:
    | {
        /** Its numeric IP. */
        readonly address: string;
        /** Default: every port. */
        readonly port?: number | undefined;
      }
    | undefined;
}

/** @throws one of Node's argument errors */
export function readRest(options: RestOptions): RestOptions {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw invalidType('options', 'of type object', options);
  }
  const { ms, destination } = options;
  if (typeof ms !== 'number') throw invalidType('options.ms', 'of type number', ms);
  if (!(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw outOfRange('options.ms', `>= 0 && <= ${Number.MAX_SAFE_INTEGER}`, ms);
  }
  if (destination === undefined) return { ms };
  if (typeof destination !== 'object' || (destination as unknown) === null) {
    throw invalidType('options.destination', 'of type object', destination);
  }
  const { address, port } = destination;
  if (typeof address !== 'string') throw invalidType('options.destination.address', 'of type string', address);
  if (isIP(address) === 0) throw invalidAddress(address);
  if (port === undefined) return { ms, destination: { address } };
  if (typeof port !== 'number') throw invalidType('options.destination.port', 'of type number', port);
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw badPort('options.destination.port', port);
  return { ms, destination: { address, port } };
}
