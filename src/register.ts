// For `--import` and `--require`: what Node's core connects from a `localAddress` shares its ports, and what sets none gets a source where
// one is assigned, with no change to the program.
import type * as net from 'node:net';
import { Socket as CoreSocket } from 'node:net';
import { AddressSet } from './values/address_set';
import { invalidType } from './errors/argument_errors';
import { load } from './kernel/load';
import { refusalOf, runtime } from './kernel/runtime';
import type { Native } from './kernel/addon';
import { assignedTo, type Assignment, type Assignments, parseAssign, readAssign } from './source/assign';
import { CoreHook } from './tcp/core_hook';

export type { Assignment } from './source/assign';

/** What {@link register} is told. */
export interface RegisterOptions {
  /**
   * Only connections from these source addresses: IPs, or blocks like `192.0.2.0/24` and `2001:db8::/64`. None at all: core's
   * own behaviour for every connection that sets a `localAddress`. Default: every source address.
   */
  sources?: readonly string[] | undefined;
  /**
   * Sources for connections that set neither `localAddress` nor `localPort`: each gets that of the first entry whose `to` has its destination.
   * Default: none.
   */
  assign?: readonly Assignment[] | undefined;
}

/** The environment variable that says what the import registers: `all`, `off`, or IPs and blocks with commas between. */
const SOURCES_VARIABLE = 'CONNECTX_REGISTER';
/** The one that says what it assigns: `127.0.0.2-127.0.0.9>127.0.0.0/8;192.0.2.0/28`. */
const ASSIGN_VARIABLE = 'CONNECTX_ASSIGN';

type Sources = AddressSet | 'all' | 'none';

interface Entry {
  readonly sources: Sources;
  readonly assign: Assignments;
}

/**
 * What is in force in this thread. There is one for all copies of connectx that are loaded: copies of a later version that do
 * the same use it too, and others need another symbol.
 */
interface Registry {
  register(entry: Entry): () => void;
}

const kRegistry = Symbol.for('connectx.register.2');

type SocketClass = typeof net.Socket & { [kRegistry]?: Registry };

/**
 * Says of which source addresses the connections of this thread share their ports over destinations, and which sources are assigned to
 * those that set none, instead of what was said before, by the import of this module or by an earlier call. Connections that are under way
 * stay as they are.
 *
 * @param options default: every source address, and none is assigned
 * @returns a function that takes it back: then the latest one that has not been taken back is in force again
 * @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_INVALID_IP_ADDRESS
 * @example
 * const undo = register({ assign: [{ source: '192.0.2.0/28', to: ['203.0.113.0/24'] }] });
 * // ...
 * undo();
 */
export function register(options?: RegisterOptions): () => void {
  const { sources, assign } = options ?? {};
  return registry.register({ sources: readSources(sources), assign: readAssign('options.assign', assign) });
}

function readSources(sources: unknown): Sources {
  if (sources === undefined) return 'all';
  if (!Array.isArray(sources)) throw invalidType('options.sources', 'an instance of Array', sources);
  return addressSetOf(sources, (index) => `options.sources[${index}]`);
}

function addressSetOf(sources: readonly unknown[], name: (index: number) => string): Sources {
  if (sources.length === 0) return 'none';
  const set = new AddressSet();
  for (const [index, source] of sources.entries()) set.add(name(index), source);
  return set;
}

function includes(sources: Sources, localAddress: string): boolean {
  return typeof sources === 'string' ? sources === 'all' : sources.has(localAddress);
}

function fromEnvironment(): Entry {
  const assign = parseAssign(ASSIGN_VARIABLE, process.env[ASSIGN_VARIABLE] ?? '');
  return { sources: sourcesIn(process.env[SOURCES_VARIABLE]?.trim() ?? ''), assign };
}

function sourcesIn(text: string): Sources {
  if (text === 'off') return 'none';
  if (text === '' || text === 'all') return 'all';
  const sources = text.split(',').map((source) => source.trim());
  return addressSetOf(sources, () => SOURCES_VARIABLE);
}

function createRegistry(): Registry {
  const loaded = load();
  const { native } = loaded;
  const refusal = refusalOf('tcp', runtime);
  if (native !== undefined && refusal === undefined) return new Stack(native);
  if (refusal !== undefined) warn(refusal.message);
  else if (native === undefined && loaded.error !== undefined) warn(loaded.error.message);
  return { register: () => () => undefined };
}

function warn(why: string): void {
  process.emitWarning(`connectx/register is off, and connections from a localAddress are as without it: ${why}`, {
    type: 'ConnectxWarning',
    code: 'CONNECTX_REGISTER_OFF',
  });
}

/** What was registered and not taken back. The last one is in force. */
class Stack implements Registry {
  readonly #hook: CoreHook;
  readonly #entries: Entry[] = [];

  constructor(native: Native) {
    this.#hook = new CoreHook(native, warn);
  }

  register(entry: Entry): () => void {
    this.#entries.push(entry);
    this.#update();
    return () => {
      const index = this.#entries.indexOf(entry);
      if (index < 0) return;
      this.#entries.splice(index, 1);
      this.#update();
    };
  }

  #update(): void {
    const entry = this.#entries.at(-1);
    const isIdle = entry === undefined || (entry.sources === 'none' && entry.assign.length === 0);
    this.#hook.set(isIdle ? undefined : rulesOf(entry));
  }
}

function rulesOf({ sources, assign }: Entry): Parameters<CoreHook['set']>[0] {
  return {
    includes: (localAddress) => includes(sources, localAddress),
    assigns: assign.length > 0,
    sourceFor: (destination) => assignedTo(assign, destination),
  };
}

function sharedRegistry(): Registry {
  const holder: SocketClass = CoreSocket;
  const shared = holder[kRegistry];
  if (shared !== undefined) return shared;
  const entry = fromEnvironment();
  const created = createRegistry();
  created.register(entry);
  Object.defineProperty(holder, kRegistry, { value: created });
  return created;
}

const registry = sharedRegistry();
