// The sources of a pool for one attempt, each given out once.
import { type ParsedAddress, parseAddress } from '../values/address';
import type { PortRange } from '../values/port_range';
import type { Fault, PoolLease, SourcePicker } from './pooled';
import type { Choice, Entry } from './strategies';

/** A source of a pool, and what became of it. */
export interface Member extends Entry {
  /** Those of its ports that there are to be had; undefined: all. */
  ports: PortRange | undefined;
  inUse: number;
  connections: number;
  exhausted: number;
  unusable: number;
}

/** What a {@link Picker} needs of its pool. */
export interface Access {
  entries(): readonly Member[];
  choose(entries: readonly Entry[]): Choice | undefined;
  /** Whether it is passed over for a while, but for want of another one. */
  rests(address: string, now: number): boolean;
  /** Whether it is not to be used, an address of the member or all of it. */
  holds(source: string, now: number): boolean;
  failed(member: Member, address: string, fault: Fault): void;
  lease(member: Member, address: string): PoolLease;
}

/** So many addresses of one block are looked through for one that does not rest. */
const LOOK = 256;
/** So many addresses of blocks are tried for one connection; single addresses all are. */
const TRIES = 1024;

/** Gives out the sources for one attempt, each once: first those that do not rest, then the others. */
export class Picker implements SourcePicker {
  readonly #access: Access;
  readonly #tried = new Set<string>();
  /** Blocks in which nothing was found, in this pass. */
  readonly #spent = new Set<Member>();
  #isHeldBack = false;
  #restedOnly = true;
  #blockTries = 0;
  readonly #exhausted: Member[] = [];
  #current: { readonly member: Member; readonly address: string } | undefined;

  constructor(access: Access) {
    this.#access = access;
  }

  get ports(): PortRange | undefined {
    return this.#current?.member.ports;
  }

  get isHeldBack(): boolean {
    return this.#isHeldBack;
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
    if (this.#current === undefined) return;
    const { member, address } = this.#current;
    if (fault === 'exhausted') this.#exhausted.push(member);
    this.#access.failed(member, address, fault);
  }

  /** What counts the sources that had no port once more. */
  countAgain(): () => void {
    const members = this.#exhausted;
    return () => {
      for (const member of members) member.exhausted++;
    };
  }

  /** The source that {@link next} gave is used, until the lease is released. */
  lease(): PoolLease | undefined {
    return this.#current && this.#access.lease(this.#current.member, this.#current.address);
  }

  #isCandidate(member: Member, now: number): boolean {
    const { only, text } = member.block;
    if (this.#isHeld(text, now)) return false;
    if (only === undefined) return !this.#spent.has(member) && this.#blockTries < TRIES;
    return !this.#tried.has(text) && !(this.#restedOnly && this.#access.rests(text, now));
  }

  // From the one that was chosen on.
  #addressIn({ entry: { block }, offset }: Choice, now: number): string | undefined {
    const looks = Math.min(block.size, LOOK + this.#tried.size);
    for (let i = 0; i < looks; i++) {
      const address = block.at(offset + BigInt(i));
      if (this.#tried.has(address) || this.#isHeld(address, now)) continue;
      if (!this.#restedOnly || !this.#access.rests(address, now)) return address;
    }
    return undefined;
  }

  #isHeld(source: string, now: number): boolean {
    if (!this.#access.holds(source, now)) return false;
    this.#isHeldBack = true;
    return true;
  }
}
