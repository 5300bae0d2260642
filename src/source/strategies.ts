// In which order does a pool give its sources out? One function for each strategy; plain data in, one choice out.
import { canonicalAddress, type Destination } from '../values/address';
import type { Block } from '../values/cidr';
import { invalidType, invalidValue } from '../errors/argument_errors';

/** One source of a pool: an address or a block. */
export interface Entry {
  readonly block: Block;
  /** Its share, beside those of the others. */
  weight: number;
  /** For round-robin: how much it is behind its share. */
  credit: number;
  /** For round-robin: the next address of the block. */
  sequence: bigint;
}

/** What a strategy may ask of the pool. */
export interface Situation {
  readonly destination: Destination;
  /** As `Math.random`. */
  readonly random: () => number;
  /** Grows by one with each choice. */
  readonly turn: number;
  /** Open connections of the pool from this address: towards the destination, and in all. */
  inUse(address: string): readonly [towards: number, inAll: number];
}

/** An entry, and which of its addresses. */
export interface Choice {
  readonly entry: Entry;
  readonly offset: bigint;
}

/** Never gets an empty list. Undefined: none of these. */
export type Choose = (entries: readonly Entry[], situation: Situation) => Choice | undefined;

/** Every entry in turn, as often as its weight says, and evenly spread (as nginx does it); within a block, every address in turn. */
const roundRobin: Choose = (entries) => {
  let total = 0;
  let best: Entry | undefined;
  for (const entry of entries) {
    total += entry.weight;
    entry.credit += entry.weight;
    if (best === undefined || entry.credit > best.credit) best = entry;
  }
  if (best === undefined) return undefined;
  best.credit -= total;
  const offset = best.sequence;
  best.sequence++;
  return { entry: best, offset };
};

const random: Choose = (entries, { random }) => {
  let total = 0;
  for (const { weight } of entries) total += weight;
  let left = random() * total;
  for (const entry of entries) {
    left -= entry.weight;
    if (left < 0) return { entry, offset: entry.block.anywhere(random) };
  }
  // Where rounding has left a crumb.
  const entry = entries.at(-1);
  return entry && { entry, offset: entry.block.anywhere(random) };
};

/** All addresses of a block are looked at up to this size, and of a larger one some at random. */
const SMALL_BLOCK = 256;
const SAMPLE = 16;

/** The fewest connections for its weight: towards the destination, where the ports count, then in all, then in turn. */
const leastUsed: Choose = (entries, { random, turn, inUse }) => {
  let best: Choice | undefined;
  let fewest: readonly [number, number] = [Infinity, Infinity];
  const compare = (entry: Entry, offset: bigint): void => {
    const weight = entry.weight / entry.block.size;
    const [towards, inAll] = inUse(entry.block.at(offset));
    const load = [(towards + 1) / weight, (inAll + 1) / weight] as const;
    if (load[0] > fewest[0] || (load[0] === fewest[0] && load[1] >= fewest[1])) return;
    fewest = load;
    best = { entry, offset };
  };
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[(turn + i) % entries.length] as Entry;
    const { size } = entry.block;
    if (size <= SMALL_BLOCK) for (let j = 0; j < size; j++) compare(entry, BigInt((turn + j) % size));
    else for (let j = 0; j < SAMPLE; j++) compare(entry, entry.block.anywhere(random));
  }
  return best;
};

/**
 * The same source for the same key, whatever else is in the pool: each entry draws a number from the two, and the highest wins
 * (rendezvous hashing, with weights as in draft-ietf-bess-weighted-hrw). When an entry goes, only its own keys move; when it is passed
 * over, they go to the next highest.
 */
export function stickyTo(key: string): Choose {
  return (entries) => {
    let best: Entry | undefined;
    let highest = -Infinity;
    for (const entry of entries) {
      const drawn = (hash(`${entry.block.text} ${key}`) + 0.5) / 2 ** 32;
      const score = -entry.weight / Math.log(drawn);
      if (score > highest) [best, highest] = [entry, score];
    }
    if (best === undefined) return undefined;
    const offset = [0, 1, 2, 3].reduce((bits, word) => (bits << 32n) | BigInt(hash(`${word} ${key}`)), 0n);
    return { entry: best, offset };
  };
}

/** The key is the destination address. */
const sticky: Choose = (entries, situation) =>
  stickyTo(canonicalAddress(situation.destination.address))(entries, situation);

// FNV-1a, and the end of MurmurHash3, because FNV leaves the high bits of short texts alike.
function hash(text: string): number {
  let bits = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) bits = Math.imul(bits ^ text.charCodeAt(i), 0x01000193);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

export const STRATEGIES = { 'round-robin': roundRobin, random, 'least-used': leastUsed, sticky } as const;

/** Chooses among the addresses and blocks of the pool that may be tried now. */
export type ChooseSource = (candidates: readonly string[], destination: Destination) => string | undefined;

/** The strategy that a function of the user's is. */
export function chooseWith(choose: ChooseSource): Choose {
  return (entries, { destination }) => {
    const answer: unknown = choose(
      entries.map(({ block }) => block.text),
      { ...destination },
    );
    if (answer === undefined) return undefined;
    if (typeof answer !== 'string') throw invalidType('strategy()', 'of type string or undefined', answer);
    for (const entry of entries) {
      const offset = entry.block.offsetOf(answer);
      if (offset !== undefined) return { entry, offset };
    }
    throw invalidValue('strategy()', answer, 'must be one of the candidates, or an address of one of them');
  };
}
