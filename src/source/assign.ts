// `assign` of connectx/register: which source a connection gets that sets none, by its destination. As a user writes it, checked.
import { type Destination, parseAddress } from '../values/address';
import { AddressSet } from '../values/address_set';
import { Block, blocksBetween } from '../values/cidr';
import { invalidType, invalidValue } from '../errors/argument_errors';
import { readSource, type Source, type SourceFunction } from './options';
import { SourcePool } from './pool';
import { isPool, type Pooled } from './pooled';
import { neededFamily } from './resolve';
import type { StickySource } from './sticky';

/** A source for connections that set no `localAddress`. */
export interface Assignment {
  /**
   * An IP address, or several with commas between, also blocks and ranges (`'127.0.0.2-127.0.0.9'`), which then take turns; or a pool; or a
   * function, whose `undefined` leaves the connection to core.
   */
  source: string | SourcePool | StickySource | SourceFunction;
  /** The destinations that get it: IPs and CIDR blocks. Default: every one. */
  to?: readonly string[] | undefined;
}

/** The sources to assign, in this order, and to which destinations. */
export type Assignments = readonly { readonly source: Source; readonly to: AddressSet | undefined }[];

/** @throws one of Node's argument errors */
export function readAssign(name: string, assign: unknown): Assignments {
  if (assign === undefined) return [];
  if (!Array.isArray(assign)) throw invalidType(name, 'an instance of Array', assign);
  return assign.map((entry: unknown, index) => {
    const at = `${name}[${index}]`;
    if (typeof entry !== 'object' || entry === null) throw invalidType(at, 'of type object', entry);
    const { source, to } = entry as Partial<Record<keyof Assignment, unknown>>;
    if (to !== undefined && !Array.isArray(to)) throw invalidType(`${at}.to`, 'an instance of Array', to);
    return {
      source: readAssigned(`${at}.source`, source as Assignment['source']),
      to: to && destinationsOf(`${at}.to`, to),
    };
  });
}

/** `SOURCES>DESTINATIONS;SOURCES`: lists with commas between. @throws one of Node's argument errors */
export function parseAssign(name: string, text: string): Assignments {
  const entries = text.split(';').map((entry) => entry.trim());
  return entries.filter(Boolean).map((entry) => {
    const [source = '', to, ...rest] = entry.split('>');
    if (rest.length > 0) throw invalidValue(name, entry, 'must have one > between sources and destinations');
    const destinations = to === undefined ? undefined : destinationsOf(name, to.split(','));
    return { source: readAssigned(name, source), to: destinations };
  });
}

function readAssigned(name: string, source: Assignment['source']): Source {
  if (typeof source === 'string') return readSource({ localAddress: poolOf(name, source) });
  if (typeof source === 'function') return readSource({ localAddress: orCores(source) });
  if (isPool(source)) return readSource({ localAddress: source });
  throw invalidType(name, 'of type string or function or an instance of SourcePool', source);
}

function poolOf(name: string, text: string): SourcePool {
  const pool = new SourcePool([]);
  for (const part of text.split(',')) {
    try {
      for (const source of sourcesIn(part)) pool.add(source);
    } catch (error) {
      const why = error instanceof Error ? `: ${error.message}` : '';
      throw invalidValue(name, text, `must be addresses, blocks, or ranges of addresses${why}`);
    }
  }
  return pool;
}

function sourcesIn(part: string): readonly string[] {
  const dash = part.indexOf('-');
  if (dash < 0) return [part.trim()];
  return blocksBetween(Block.parse(part.slice(0, dash).trim()), Block.parse(part.slice(dash + 1).trim()));
}

function destinationsOf(name: string, blocks: readonly unknown[]): AddressSet {
  const set = new AddressSet();
  for (const block of blocks) set.add(name, block);
  return set;
}

/** The source that this destination gets; undefined: core connects it. */
export function assignedTo(assignments: Assignments, destination: Destination): Source | undefined {
  const found = assignments.find(({ to }) => to === undefined || to.has(destination.address));
  if (found === undefined) return undefined;
  const { address } = found.source;
  return isPool(address) && !serves(address, destination) ? undefined : found.source;
}

// What a function has no source for is connected as if it were not there: the wildcard has the kernel choose.
function orCores(choose: SourceFunction): SourceFunction {
  return (destination) => {
    const answer = choose(destination);
    return isOfUse(answer, destination) ? answer : neededFamily(destination) === 4 ? '0.0.0.0' : '::';
  };
}

// What is no answer at all is an error, which connecting finds.
function isOfUse(answer: ReturnType<SourceFunction>, destination: Destination): boolean {
  if (answer === undefined) return false;
  if (isPool(answer)) return serves(answer, destination);
  const addresses: readonly unknown[] = Array.isArray(answer) ? answer : [answer];
  return addresses.some((one) => {
    const family = typeof one === 'string' ? parseAddress(one)?.family : undefined;
    return family === undefined || family === neededFamily(destination);
  });
}

function serves(pool: Pooled, destination: Destination): boolean {
  return pool.serves(neededFamily(destination) === 4 ? 4 : 6);
}
