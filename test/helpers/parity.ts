// The same scenario through net.connect and through connectx, recorded and compared: every event that a client socket emits,
// in order, and all that the socket says of itself at that moment.
import * as net from 'node:net';
import * as connectx from 'connectx';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enterNetwork, OUTSIDE } from './netns.js';
import { type ConnectionError, track } from './sockets.js';

/** Where the servers listen, at every address of this machine. */
export const SERVER = 5353;
/** Nothing listens there. */
export const CLOSED = 5354;
/** SYNs to these are never answered. */
export const DEAD4 = '192.0.2.9';
export const DEAD6 = '2001:db8:1::9';
/** There is no route to these. */
export const UNREACHABLE4 = '203.0.113.1';
export const UNREACHABLE6 = '2001:db8:2::1';

/** One network namespace around all tests of the file. Ports are 2xxxx, and nothing else is. */
export function useParityNetwork(): void {
  let leave = () => {};
  beforeAll(() => {
    leave = enterNetwork({
      range: [20000, 29999],
      commands: [
        ...OUTSIDE,
        `ip neigh add ${DEAD4} lladdr 02:00:00:00:00:09 dev v0`,
        `ip neigh add ${DEAD6} lladdr 02:00:00:00:00:09 dev v0`,
      ],
    });
  });
  afterAll(() => leave());
}

/** The source that the kernel takes towards a destination of the network above. */
export function kernelsChoice({ address, family }: { address: string; family: number }): string {
  if (family === 6) return address.startsWith('2001:db8:') ? '2001:db8:1::1' : '::1';
  return address.startsWith('127.') ? '127.0.0.1' : '192.0.2.1';
}

type Connect = (...args: unknown[]) => net.Socket;

/** A way to make sockets. */
export interface Side {
  readonly name: string;
  /** `net.connect`, or connectx's. */
  readonly connect: Connect;
  readonly Socket: new (options?: object) => net.Socket;
  /** The source options that this side is to have; none for core. */
  readonly source: object;
}

export const core: Side = {
  name: 'net',
  connect: net.connect as unknown as Connect,
  Socket: net.Socket,
  source: {},
};

export function mine(source: object): Side {
  return {
    name: `connectx, given ${Object.keys(source).join(', ') || 'no source'}`,
    connect: connectx.connect as unknown as Connect,
    Socket: connectx.Socket,
    source,
  };
}

/** A side at work in a scenario: what it makes is recorded. */
export class Actor {
  readonly entries: Entry[] = [];
  readonly #side: Side;
  readonly #open = new Set<net.Socket>();
  #sockets = 0;
  #allClosed: (() => void) | undefined;

  /** The source options of the side. */
  readonly source: object;

  constructor(side: Side) {
    this.#side = side;
    this.source = side.source;
  }

  /** `connect(options)` with the side's source, and recorded from the beginning. */
  to(options: object, listener?: () => void): net.Socket {
    return this.connect({ ...options, ...this.source }, ...(listener ? [listener] : []));
  }

  /** `connect()` with just these arguments. */
  connect(...args: unknown[]): net.Socket {
    return this.watch(() => this.#side.connect(...args));
  }

  /** `new Socket()` with the side's source. */
  socket(options: object = {}): net.Socket {
    return this.watch(() => new this.#side.Socket({ ...options, ...this.source }));
  }

  /** An entry that is no event. */
  note(what: string, socket?: net.Socket, ...values: unknown[]): void {
    this.entries.push({ what, values: values.map(shown), state: socket && stateOf(socket) });
  }

  /** What `act` throws at once. */
  throws(what: string, act: () => unknown): void {
    try {
      act();
    } catch (error) {
      this.note(what, undefined, error);
      return;
    }
    throw new Error(`nothing thrown: ${what}`);
  }

  add(socket: net.Socket, event: string, values: unknown[]): void {
    const last = this.entries.at(-1);
    // How the bytes are cut into pieces is the kernel's affair.
    if (event === 'data' && last?.what === 'data') {
      last.values = [(last.values[0] as string) + String(shown(values[0]))];
      last.state = stateOf(socket);
    } else {
      this.entries.push({ what: event, values: values.map(shown), state: stateOf(socket) });
    }
    if (event === 'close') this.#open.delete(socket);
    if (this.#open.size === 0) this.#allClosed?.();
  }

  /** When every socket has closed, and a little later: nothing shall come after that. */
  async done(): Promise<void> {
    if (this.#sockets === 0 && this.entries.length === 0) throw new Error('the scenario did nothing');
    if (this.#open.size > 0) await new Promise<void>((resolve) => (this.#allClosed = resolve));
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  }

  /** Records a socket from the beginning. */
  watch<S extends net.Socket>(make: () => S): S {
    const socket = track(madeBy(this, make));
    this.#open.add(socket);
    this.#sockets++;
    return socket;
  }
}

/** Something that happened. */
export interface Entry {
  what: string;
  values: unknown[];
  state: object | undefined;
}

const actors = new WeakMap<net.Socket, Actor>();
// Whose connect() or constructor is running: a socket may emit before anybody else has it in hand.
let making: Actor | undefined;

function madeBy<S extends net.Socket>(actor: Actor, make: () => S): S {
  making = actor;
  try {
    const socket = make();
    actors.set(socket, actor);
    return socket;
  } finally {
    making = undefined;
  }
}

// Seen neither as a listener nor as a property of the socket.
function watchEvents(): () => void {
  const { prototype } = net.Socket;
  const { emit } = prototype;
  prototype.emit = function (this: net.Socket, event: string | symbol, ...args: unknown[]): boolean {
    const ignored = event === 'newListener' || event === 'removeListener' || typeof event === 'symbol';
    if (!ignored) (actors.get(this) ?? making)?.add(this, event, args);
    return Reflect.apply(emit, this, [event, ...args]) as boolean;
  };
  return () => Reflect.deleteProperty(prototype, 'emit');
}

function shown(value: unknown): unknown {
  if (value instanceof Error) return errorShape(value);
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  return typeof value === 'string' ? anyPort(value) : value;
}

/** What programs look at in an error. */
function errorShape(error: Error): Record<string, unknown> {
  const { localAddress, localPort, ...fields } = error as ConnectionError;
  const shape: Record<string, unknown> = { ...fields, name: error.name, message: anyPort(error.message) };
  if (localAddress !== undefined) shape.localEnd = [localAddress, anyPort(localPort)];
  if (error instanceof AggregateError) shape.errors = error.errors.map(shown);
  return shape;
}

// The kernel assigns ports at random.
function anyPort<T>(value: T): T | string {
  if (typeof value === 'number') return value >= 20000 && value < 30000 ? 'PORT' : value;
  return typeof value === 'string' ? value.replace(/\b2\d{4}\b/g, 'PORT') : value;
}

function stateOf(socket: net.Socket): object {
  const { connecting, pending, readyState, destroyed, bytesRead, bytesWritten, timeout, readableFlowing } = socket;
  const known = {
    ...{ connecting, pending, readyState, destroyed, bytesRead, bytesWritten, timeout, readableFlowing },
    allowHalfOpen: socket.allowHalfOpen,
    autoSelectFamilyAttemptedAddresses: socket.autoSelectFamilyAttemptedAddresses,
    errored: socket.errored && errorShape(socket.errored),
    listeners: ['connect', 'connectionAttempt', 'lookup', 'error', 'close'].map((event) => socket.listenerCount(event)),
  };
  // Core remembers what it found, and would say it in the message of an error.
  if (connecting) return known;
  const { remoteAddress, remotePort, remoteFamily, localAddress, localPort, localFamily } = socket;
  const address: Partial<net.AddressInfo> = socket.address();
  return {
    ...known,
    ...{ remoteAddress, remotePort, remoteFamily, localAddress, localFamily },
    localPort: anyPort(localPort),
    address: { ...address, port: anyPort(address.port) },
  };
}

export interface Parity {
  /** What must happen in core, in this order, among others: so that the scenario is what its name says. */
  reaches: string;
  /** Sources for connectx. Default: none, and what the kernel would take anyway. */
  sources?: readonly object[];
  /** What the server does with a connection. Default: to send back what it hears. */
  server?: (socket: net.Socket) => void;
  /** Further servers, closed after the test. */
  setUp?: () => Promise<unknown>;
}

export type Scenario = (side: Actor) => void | Promise<void>;

/** A test: through connectx the same happens as through `net`. */
export function parity(name: string, { reaches, sources, server, setUp }: Parity, scenario: Scenario): void {
  test(name, async () => {
    await serve(server ?? echo);
    await setUp?.();
    const expected = await record(core, scenario);
    let from = 0;
    for (const what of reaches.split(' ')) {
      const at = expected.findIndex((entry, index) => index >= from && entry.what === what);
      if (at < 0) throw new Error(`no ${what} in ${expected.map((entry) => entry.what).join(' ')}`);
      from = at + 1;
    }
    for (const source of sources ?? [{}, { localAddress: kernelsChoice }]) {
      const side = mine(source);
      const recorded = await record(side, scenario);
      const localEnds = Object.keys(source).length === 0;
      expect(lines(recorded, localEnds), side.name).toEqual(lines(expected, localEnds));
    }
  });
}

/** Plays the scenario; what was recorded. */
export async function record(side: Side, scenario: Scenario): Promise<Entry[]> {
  const actor = new Actor(side);
  const stop = watchEvents();
  try {
    await scenario(actor);
    await actor.done();
  } finally {
    stop();
  }
  return actor.entries;
}

/** Of a source that was asked for, connectx says that there is no route from it (docs/errors.md): of these errors, and in this way. */
const NO_ROUTE = /^connect (?:ENETUNREACH|EHOSTUNREACH|EACCES|EINVAL|EPERM) /;
const FROM_SOURCE = /; the destination cannot be reached from this source: [^;]+$/;

/** The message of an error, without what is known of a source that was asked for. */
function withoutSource(message: string): string {
  const said = NO_ROUTE.test(message) ? message.replace(FROM_SOURCE, '') : message;
  return said.replace(/ - Local \([^)]*\)$/, '');
}

/** One line an entry. With a source of its own, an error names the local end, which core does not know before it has bound it. */
function lines(entries: Entry[], localEnds: boolean): string[] {
  const replacer = (key: string, value: unknown) => {
    if (value === undefined) return 'undefined';
    if (localEnds) return value;
    if (key === 'localEnd') return undefined;
    return key === 'message' && typeof value === 'string' ? withoutSource(value) : value;
  };
  return entries.map(({ what, values, state }) => `${what} ${JSON.stringify([...values, state], replacer)}`);
}

/** Resolves with the socket's next 'close'. */
export function close(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** A server at every address of this machine; closed after the test. */
export async function serve(handler: (socket: net.Socket) => void, port = SERVER): Promise<net.Server> {
  const server = track(net.createServer({ allowHalfOpen: true }));
  server.on('connection', (socket) => {
    track(socket);
    // Clients reset connections.
    socket.on('error', () => {});
    handler(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, '::', resolve));
  return server;
}

export function echo(socket: net.Socket): void {
  socket.pipe(socket);
}

/** Says something, and goodbye. */
export function greet(socket: net.Socket): void {
  socket.resume().end('hello');
}

type LookupCallback = (error: Error | null, answer?: unknown, family?: number) => void;

/** A `lookup` that answers with these addresses, in the event loop's next turn, in the way that it is asked for. */
export function names(
  ...addresses: string[]
): (host: string, options: { all?: boolean }, done: LookupCallback) => void {
  const answer = addresses.map((address) => ({ address, family: net.isIP(address) }));
  return (_host, { all }, done) => {
    setImmediate(() => {
      if (all) done(null, answer);
      else done(null, answer[0]?.address, answer[0]?.family);
    });
  };
}
