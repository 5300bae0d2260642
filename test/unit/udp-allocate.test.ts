// How one UDP socket is connected, against a kernel that says what it is told to say.
import { constants } from 'node:os';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Native, Route, SocketOwner, TcpExtras } from '../../src/kernel/addon';
import { Answer } from '../../src/kernel/constants';
import type { PortRange } from '../../src/values/port_range';
import { TURN } from '../../src/connect/steps';
import { IN_USE, NOT_BOUND, type Target } from '../../src/udp/adopt';
import type { Lease } from '../../src/udp/socket';
import { allocate, tryFirst } from '../../src/udp/allocate';
import { attemptOf, type UdpAttempt } from '../../src/udp/attempt';
import type { UdpRequest } from '../../src/udp/options';
import { PortCache } from '../../src/udp/port_cache';
import { bitsOf } from '../helpers/port_bits.js';

/** Stands still while it is told to. What is tested takes it when it is loaded. */
const clock = vi.hoisted(() => {
  const now = performance.now.bind(performance);
  const state: { frozen: number | undefined } = { frozen: undefined };
  performance.now = () => state.frozen ?? now();
  return state;
});

const { errno } = constants;

// native/udp/lock.h
const CONNECTED = 0;
const PORT_LOCKED = 1;
const TUPLE_IN_USE = 2;
const CONTENDED = 3;
const UNSEEN = 4;
const MOVED = 5;
const ALONE = 6;

// net/tcp_states.h
const ESTABLISHED = 1;

// native/napi/addon.cc
const SHARED = 1;
const EXCLUSIVE = 2;
const TRY_ALONE = 4;
const AUTOMATIC = 8;

const SYSCALLS = ['', 'socket', 'netlink', 'connect', 'recv', 'bind'];
const fails = (syscall: string, code: number) => -(code + 4096 * SYSCALLS.indexOf(syscall));

type Says = number | ((port: number, flags: number) => number);

const asBits = (listed: Uint16Array | number) => (typeof listed === 'number' ? listed : bitsOf(listed));

/** As native/udp/lock.cc does it. */
function first(ports: Uint16Array, dull: number, ask: (port: number) => number, answers: Int32Array): number {
  for (let place = 0; ; place++) {
    const verdict = ask(ports[place] as number);
    answers[Answer.place] = place;
    if (verdict !== dull || place + 1 === ports.length) return verdict;
  }
}

interface Asked {
  port?: number;
  range?: PortRange;
  source?: string | null;
  host?: string;
  exclusive?: boolean;
  extras?: TcpExtras | null;
  target?: Target;
}

/** A target that core cannot bind. */
class Adopted implements Target {
  adopted(): number {
    return 7;
  }
  bindExclusive(): number {
    return NOT_BOUND;
  }
  discard(): void {}
  redirect(): void {}
  connectBound(_address = '', _port = 0): boolean {
    return false;
  }
}

/** One that core binds, or says why not. */
class Bound extends Adopted {
  readonly tried: [address: string, port: number][] = [];
  discarded = 0;
  answers = [9];
  readonly connects: [address: string, port: number][] = [];
  /** Whether core's connect(2) has worked. */
  isConnected = true;
  override connectBound(address = '', port = 0): boolean {
    this.connects.push([address, port]);
    return this.isConnected;
  }
  override bindExclusive(address = '', port = 0): number {
    this.tried.push([address, port]);
    return (this.answers.length > 1 ? this.answers.shift() : this.answers[0]) ?? NOT_BOUND;
  }
  override discard(): void {
    this.discarded++;
  }
}

class Kernel {
  range = '50000\t50003\n';
  /** What becomes of udpConnect, in turn; the last one for ever. */
  connects: Says[] = [CONNECTED];
  /** What udpOwner says. */
  owner: (port: number) => number = () => 0;
  /** What diagLookup says. */
  holder: (port: number) => SocketOwner | null = () => null;
  /** What udpProbe says. */
  probe = 1;
  route: Route | number = { type: 1, interface: 1, source: '192.0.2.1' };
  /** What was asked. */
  tried: number[] = [];
  flags: number[] = [];
  asked: number[] = [];
  probes = 0;
  /** What udpSettle was given, and what it says, in turn; then that it is connected. */
  settled: [fd: number, unlock: boolean][] = [];
  settles: number[] = [];
  /** What udpMoved says, in turn; then that the thread is where it was. */
  moved: number[] = [];
  /** What portsInState says, and how often it was asked. */
  listed: () => Uint16Array | number | Promise<Uint16Array | number> = () => fails('socket', errno.EMFILE);
  looks = 0;
  /** What the looks have cost, in ms. */
  cost = 0;
  /** What portsInStateNow says, and how often it was asked. */
  listedNow: () => Uint16Array | number = () => fails('socket', errno.EMFILE);
  looksNow = 0;
  /** What /proc says of how many sockets there are. */
  sockets: string | number = fails('open', errno.ENOENT);
  sockets6: string | number = fails('open', errno.ENOENT);
  /** Scratch sockets that are open, and what connect(2) says where it is not part of the lock. */
  scratch = 0;
  plainConnect = 0;
  /** What its bind(2) says, in turn; then that it is bound. */
  scratchBinds: number[] = [];

  readonly native = {
    syscalls: SYSCALLS,
    answers: new Int32Array(Object.keys(Answer).length),
    readFile: (path: string) => {
      if (path === '/proc/thread-self/net/sockstat') return this.sockets;
      return path === '/proc/thread-self/net/sockstat6' ? this.sockets6 : this.range;
    },
    udpConnect: (
      _fd: number,
      _family: number,
      _source: string,
      port: number,
      _to: string,
      _port: number,
      flags: number,
    ) => {
      this.tried.push(port);
      this.flags.push(flags);
      const answer = (this.connects.length > 1 ? this.connects.shift() : this.connects[0]) ?? CONNECTED;
      return typeof answer === 'function' ? answer(port, flags) : answer;
    },
    udpSettle: (fd: number, unlock: boolean) => {
      this.settled.push([fd, unlock]);
      return this.settles.shift() ?? ALONE;
    },
    udpOwner: (_family: number, _source: string, port: number) => {
      this.asked.push(port);
      return this.owner(port);
    },
    udpConnectFirst: (
      fd: number,
      family: number,
      source: string,
      ports: Uint16Array,
      ...rest: [string, number, number]
    ) => {
      const connect = (port: number) => this.native.udpConnect(fd, family, source, port, ...rest, null);
      return first(ports, PORT_LOCKED, connect, this.native.answers);
    },
    udpOwners: (
      family: number,
      source: string,
      ports: Uint16Array,
      to: string,
      toPort: number,
      states: Uint8Array,
      extras: TcpExtras | null,
    ) => {
      for (const [place, port] of ports.entries()) {
        const state = this.native.udpOwner(family, source, port, to, toPort, 0, extras);
        if (state < 0) return state;
        states[place] = state;
      }
      return 0;
    },
    portsInState: (protocol: number, state: number, _family: number, source: string, to: string, port: number) => {
      this.looks++;
      expect([protocol, state, source, to, port]).toEqual([17, ESTABLISHED, '192.0.2.1', '192.0.2.2', 53]);
      const listed = this.listed();
      return listed instanceof Promise ? listed.then(asBits) : asBits(listed);
    },
    portsInStateNow: (protocol: number, state: number, _family: number, source: string, to: string, port: number) => {
      this.looksNow++;
      expect([protocol, state, source, to, port]).toEqual([17, ESTABLISHED, '192.0.2.1', '192.0.2.2', 53]);
      return asBits(this.listedNow());
    },
    listingCost: () => this.cost,
    udpMoved: () => this.moved.shift() ?? 0,
    udpProbe: () => {
      this.probes++;
      return this.probe;
    },
    diagLookup: (_protocol: number, _family: number, _local: string, port: number) => this.holder(port),
    routeLookup: () => this.route,
    interfaceIndex: () => 1,
    udpSocket: () => {
      this.scratch++;
      return 1000;
    },
    close: () => {
      this.scratch--;
      return 0;
    },
    setsockopt: () => 0,
    getsockopt: () => fails('socket', errno.ENOPROTOOPT),
    bind: () => this.scratchBinds.shift() ?? 0,
    connect: () => this.plainConnect,
    getsockname: () => ({ family: 'IPv4', address: '192.0.2.1', port: 1 }),
  } as unknown as Native;

  readonly cache = new PortCache(this.native);

  attempt(asked: Asked = {}): UdpAttempt {
    const { port = 0, range, source = '192.0.2.1', host = '192.0.2.2' } = asked;
    const { exclusive = false, extras = null, target = new Adopted() } = asked;
    const request: UdpRequest = {
      destination: { address: host, port: 53, family: host.includes(':') ? 6 : 4 },
      localAddress: source,
      source: { address: undefined, port, range, reuseTimeWait: false, overlap: true, extras },
      exclusive,
    };
    return attemptOf(this.native, this.cache, request, target);
  }
}

interface Ran {
  lease?: Lease;
  localAddress?: string;
  error?: unknown;
  pauses: number[];
}

/** As connectUdpSync does it, without the waiting. */
function run(attempt: UdpAttempt, limit = 10_000): Ran {
  const pauses: number[] = [];
  try {
    const first = tryFirst(attempt);
    if (first !== undefined) return { lease: first, localAddress: attempt.localAddress, pauses };
    const rest = allocate(attempt);
    let seen: unknown;
    for (let n = 0; n < limit; n++) {
      const { done, value } = rest.next(seen);
      seen = undefined;
      if (done === true) return { lease: value, localAddress: attempt.localAddress, pauses };
      if (typeof value === 'number') pauses.push(value);
      else if (typeof value === 'object') seen = value.now();
    }
  } catch (error) {
    return { error, pauses };
  }
  throw new Error('it never ends');
}

/** As connectUdp does it, without the pauses. */
async function runInTurns(attempt: UdpAttempt): Promise<Ran> {
  const pauses: number[] = [];
  try {
    const first = tryFirst(attempt);
    if (first !== undefined) return { lease: first, localAddress: attempt.localAddress, pauses };
    const rest = allocate(attempt);
    let seen: unknown;
    for (;;) {
      const { done, value } = rest.next(seen);
      seen = undefined;
      if (done === true) return { lease: value, localAddress: attempt.localAddress, pauses };
      if (typeof value === 'number') pauses.push(value);
      else if (typeof value === 'object') seen = await value.later();
    }
  } catch (error) {
    return { error, pauses };
  }
}

const PORTS = [50000, 50001, 50002, 50003];
const sorted = (ports: readonly number[]) => [...ports].sort((a, b) => a - b);

describe('any port', () => {
  test.each([CONNECTED, ALONE])('connected at the first try (%i)', (verdict) => {
    const kernel = new Kernel();
    kernel.connects = [verdict];
    const { lease, localAddress, pauses } = run(kernel.attempt());
    expect(PORTS).toContain(lease?.localPort);
    expect(localAddress).toBe('192.0.2.1');
    expect(kernel.tried).toEqual([lease?.localPort]);
    expect(kernel.asked).toEqual([]);
    expect(pauses).toEqual([]);
  });

  test('each port once, then EAGAIN without a wait, having asked again', () => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => 1;
    const { error, pauses } = run(kernel.attempt());
    expect(error).toMatchObject({
      code: 'EAGAIN',
      reason: 'ports-exhausted',
      errno: -errno.EAGAIN,
      syscall: 'connect',
    });
    // Two were bound in vain; then the questions come first. And all are asked for once more at the end.
    expect(kernel.tried).toHaveLength(2);
    expect(sorted([...kernel.tried, ...kernel.asked.slice(0, 2)])).toEqual(PORTS);
    expect(sorted(kernel.asked.slice(2))).toEqual(PORTS);
    expect(pauses).toEqual([]);
  });

  test('what others had and gave back is found, and what we gave back as well', () => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => 1;
    run(kernel.attempt());
    kernel.connects = [CONNECTED];
    kernel.owner = (port) => (port === 50002 ? 0 : 1);
    const { lease } = run(kernel.attempt());
    expect(lease?.localPort).toBe(50002);
    kernel.owner = () => 1;
    expect(run(kernel.attempt()).error).toMatchObject({ reason: 'ports-exhausted' });
    lease?.ports?.release(50002);
    expect(run(kernel.attempt()).lease?.localPort).toBe(50002);
  });

  test('a locked port is tried again for a while, with waits, and then it is EAGAIN', () => {
    const kernel = new Kernel();
    kernel.connects = [PORT_LOCKED];
    const attempt = kernel.attempt({ range: { low: 50001, high: 50001 } });
    expect(tryFirst(attempt)).toBeUndefined();
    const rest = allocate(attempt);
    const until = performance.now() + 5000;
    let waits = 0;
    expect(() => {
      for (;;) {
        const { value } = rest.next();
        if (typeof value === 'number') waits++;
        expect(performance.now()).toBeLessThan(until);
      }
    }).toThrow(expect.objectContaining({ code: 'EAGAIN', reason: 'ports-exhausted' }));
    // And not for a while again, now that it is known to be locked for good.
    expect(waits).toBeGreaterThan(4);
    expect(run(kernel.attempt({ range: { low: 50001, high: 50001 } })).pauses).toEqual([]);
    kernel.connects = [CONNECTED];
    expect(run(kernel.attempt({ range: { low: 50001, high: 50001 } })).lease?.localPort).toBe(50001);
  });

  test('a turn of the event loop after 256 questions at most', async () => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    let questions = 0;
    let most = 0;
    kernel.owner = () => {
      questions++;
      return 1;
    };
    const attempt = kernel.attempt({ range: { low: 10_000, high: 19_999 } });
    expect(tryFirst(attempt)).toBeUndefined();
    const rest = allocate(attempt);
    let turns = 0;
    await expect(async () => {
      for (;;) {
        questions = 0;
        const { value } = rest.next(undefined);
        if (typeof value !== 'object') expect(value).toBe(TURN);
        most = Math.max(most, questions);
        turns++;
        await new Promise(setImmediate);
      }
    }).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(most).toBeLessThanOrEqual(256);
    expect(turns).toBeGreaterThanOrEqual(Math.floor(20_000 / 256));
  });

  test('the sysctl is read again before the range is called exhausted', () => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => 1;
    run(kernel.attempt());
    kernel.range = '50000\t50007\n';
    kernel.connects = [TUPLE_IN_USE, TUPLE_IN_USE, TUPLE_IN_USE, TUPLE_IN_USE, CONNECTED];
    kernel.owner = (port) => (port > 50003 ? 0 : 1);
    expect(run(kernel.attempt()).lease?.localPort).toBeGreaterThan(50003);
  });

  test.each([
    { syscall: 'connect', code: 'ENETUNREACH' },
    { syscall: 'socket', code: 'EMFILE' },
    { syscall: 'netlink', code: 'EBADMSG' },
  ] as const)(
    'an attempt that comes to nothing for another reason uses up no port ($syscall $code)',
    ({ syscall, code }) => {
      const kernel = new Kernel();
      kernel.connects = [fails(syscall, errno[code])];
      for (let n = 0; n < 10; n++) expect(run(kernel.attempt()).error).toMatchObject({ code, syscall });
      kernel.connects = [CONNECTED];
      const ports = PORTS.map(() => run(kernel.attempt()).lease?.localPort ?? 0);
      expect(sorted(ports)).toEqual(PORTS);
    },
  );

  test('nor does one for which there is no descriptor', () => {
    const kernel = new Kernel();
    const target = new Adopted();
    target.adopted = () => {
      throw new Error('EMFILE');
    };
    for (let n = 0; n < 10; n++) expect(run(kernel.attempt({ target })).error).toMatchObject({ message: 'EMFILE' });
    const ports = PORTS.map(() => run(kernel.attempt()).lease?.localPort ?? 0);
    expect(sorted(ports)).toEqual(PORTS);
  });
});

describe('where core can bind', () => {
  test.each([
    { exclusive: false, unlock: true },
    { exclusive: true, unlock: false },
  ])('a port on which nobody is: $exclusive', ({ exclusive, unlock }) => {
    const kernel = new Kernel();
    const target = new Bound();
    const { lease } = run(kernel.attempt({ target, exclusive }));
    expect(target.tried).toEqual([['192.0.2.1', lease?.localPort]]);
    expect(target.connects).toEqual([['192.0.2.2', 53]]);
    expect(kernel.settled).toEqual([[9, unlock]]);
    expect(kernel.tried).toEqual([]);
    expect(target.discarded).toBe(0);
  });

  test('without sock_diag it stays locked, and one that is not to be had is not tried again', () => {
    const kernel = new Kernel();
    kernel.probe = 0;
    vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const target = new Bound();
    target.answers = [IN_USE, 9];
    const { lease } = run(kernel.attempt({ target }));
    expect(target.tried).toHaveLength(2);
    expect(target.tried[1]).toEqual(['192.0.2.1', lease?.localPort]);
    expect(kernel.settled).toEqual([[9, false]]);
    expect(kernel.tried).toEqual([]);
  });

  test('where somebody is on the port, it is shared, and after a few such ports that comes first', () => {
    const kernel = new Kernel();
    const target = new Bound();
    target.answers = [IN_USE];
    for (let n = 0; n < 8; n++) {
      expect(run(kernel.attempt({ target, port: 50_000 })).lease).toMatchObject({ localPort: 50_000 });
    }
    expect(target.tried).toHaveLength(4);
    expect(kernel.flags).toEqual(Array(8).fill(SHARED));
  });

  test('where it does not come to a bind, the addon tries and says why', () => {
    const kernel = new Kernel();
    kernel.connects = [fails('connect', errno.ENETUNREACH)];
    const target = new Bound();
    target.answers = [NOT_BOUND];
    expect(run(kernel.attempt({ target })).error).toMatchObject({ code: 'ENETUNREACH', syscall: 'connect' });
    expect(kernel.flags).toEqual([SHARED | TRY_ALONE | AUTOMATIC]);
  });

  test('not with options, which are to be set before', () => {
    const kernel = new Kernel();
    const target = new Bound();
    run(kernel.attempt({ target, extras: { freeBind: true } }));
    expect(target.tried).toEqual([]);
    expect(kernel.tried).toHaveLength(1);
  });

  test('a failure after the bind: the socket is closed, which unlocks the port', () => {
    const kernel = new Kernel();
    kernel.settles = [fails('recv', errno.ENOMEM)];
    const target = new Bound();
    expect(run(kernel.attempt({ target })).error).toMatchObject({ code: 'ENOMEM', syscall: 'recv' });
    expect(target.discarded).toBe(1);
  });

  test('where core cannot connect, connect(2) says why', () => {
    const kernel = new Kernel();
    kernel.plainConnect = fails('connect', errno.ENETUNREACH);
    const target = new Bound();
    target.isConnected = false;
    expect(run(kernel.attempt({ target })).error).toMatchObject({ code: 'ENETUNREACH', syscall: 'connect' });
    expect(kernel.settled).toEqual([]);
    expect(target.discarded).toBe(1);
  });

  test('where core would not connect, the addon does, and core is left to tell of that', () => {
    const kernel = new Kernel();
    const target = new Bound();
    target.isConnected = false;
    expect(run(kernel.attempt({ target })).lease).toBeDefined();
    expect(kernel.settled).toEqual([[9, true]]);
    expect(target.discarded).toBe(0);
  });

  test('a thread that has moved is not told that ports are exhausted which it had elsewhere', () => {
    const kernel = new Kernel();
    const target = new Bound();
    for (const _ of PORTS) expect(run(kernel.attempt({ target })).lease).toBeDefined();
    kernel.moved = [1];
    expect(run(kernel.attempt({ target })).lease).toBeDefined();
    for (const _ of PORTS.slice(1)) expect(run(kernel.attempt({ target })).lease).toBeDefined();
    expect(run(kernel.attempt({ target })).error).toMatchObject({ reason: 'ports-exhausted' });
  });

  test('a change of the network namespace: begun again', () => {
    const kernel = new Kernel();
    kernel.settles = [MOVED];
    const target = new Bound();
    expect(run(kernel.attempt({ target }))).toMatchObject({ lease: {}, localAddress: '192.0.2.1' });
    expect(target.discarded).toBe(1);
    expect(kernel.settled).toHaveLength(2);
  });
});

describe('more ports that others have than a turn has questions', () => {
  const range = { low: 10_000, high: 10_599 };
  const all = Uint16Array.from({ length: 600 }, (_, n) => range.low + n);

  /** What the kernel has said is believed no more, and it may be asked again: 600 questions take 1.8 ms, a twentieth of this. */
  const later = () => new Promise((resolve) => setTimeout(resolve, 40));

  /** All ports are known to be taken, since a while ago. */
  async function exhausted(): Promise<Kernel> {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => ESTABLISHED;
    expect(run(kernel.attempt({ range })).error).toMatchObject({ reason: 'ports-exhausted' });
    kernel.asked = [];
    kernel.tried = [];
    await later();
    return kernel;
  }

  afterEach(() => {
    clock.frozen = undefined;
  });

  test('what the kernel has said a moment ago is not asked again, whoever calls; a port of our own is had at once', async () => {
    const kernel = await exhausted();
    clock.frozen = performance.now();
    kernel.listed = () => all;
    expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
    for (let n = 0; n < 10; n++) {
      expect(run(kernel.attempt({ range })).error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
      expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
    }
    expect(kernel).toMatchObject({ looks: 1, looksNow: 0, asked: [], tried: [] });
    kernel.cache.portsTowards('192.0.2.1', '192.0.2.2', 53, undefined, range).release(10_123);
    kernel.connects = [CONNECTED];
    expect((await runInTurns(kernel.attempt({ range }))).lease?.localPort).toBe(10_123);
  });

  test('who can wait does so while looks have had their share of the processor, and then has one that is new', async () => {
    const kernel = await exhausted();
    kernel.listed = () => {
      kernel.cost += 20;
      return all;
    };
    const began = performance.now();
    for (let n = 0; n < 4; n++) {
      expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
      await new Promise((resolve) => setTimeout(resolve, 26));
    }
    // 20 ms may be ahead; then a look that takes 20 ms is followed by 380 without one.
    expect(kernel).toMatchObject({ looks: 4, asked: [] });
    expect(performance.now() - began).toBeGreaterThanOrEqual(700);
    // A port that another process gives back is found by the next look.
    kernel.listed = () => all.filter((port) => port !== 10_007);
    kernel.connects = [CONNECTED];
    expect((await runInTurns(kernel.attempt({ range }))).lease?.localPort).toBe(10_007);
  });

  test('who waits for that has a port of our own as soon as it is given back', async () => {
    const kernel = await exhausted();
    kernel.listed = () => {
      kernel.cost += 70;
      return all;
    };
    expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
    await later();
    const waiting = runInTurns(kernel.attempt({ range }));
    kernel.connects = [CONNECTED];
    const released = performance.now();
    kernel.cache.portsTowards('192.0.2.1', '192.0.2.2', 53, undefined, range).release(10_123);
    expect((await waiting).lease?.localPort).toBe(10_123);
    // The next look would be a second away.
    expect(performance.now() - released).toBeLessThan(500);
    expect(kernel.looks).toBe(1);
  });

  test('one look, although a port is locked meanwhile', async () => {
    const kernel = await exhausted();
    kernel.listed = async () => {
      // The processors are busy: longer than what the kernel says is believed.
      await new Promise((resolve) => setTimeout(resolve, 30));
      kernel.cost += 5;
      return all.filter((port) => port !== 10_300);
    };
    kernel.connects = [PORT_LOCKED, PORT_LOCKED, TUPLE_IN_USE];
    expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
    expect(kernel).toMatchObject({ looks: 1, asked: [], tried: [10_300, 10_300, 10_300] });
  });

  test('one look and no question', async () => {
    const kernel = await exhausted();
    kernel.listed = () => all;
    const { error, pauses } = await runInTurns(kernel.attempt({ range }));
    expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
    expect(kernel).toMatchObject({ looks: 1, asked: [], tried: [] });
    expect(pauses).toEqual([]);
  });

  test('fifty callers share a look', async () => {
    const kernel = await exhausted();
    clock.frozen = performance.now();
    kernel.listed = async () => {
      await new Promise(setImmediate);
      return all;
    };
    const ran = await Promise.all(Array.from({ length: 50 }, async () => runInTurns(kernel.attempt({ range }))));
    for (const { error } of ran) expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
    expect(kernel).toMatchObject({ looks: 1, asked: [], tried: [] });
  });

  test('what is not listed is tried, by two who share the look', async () => {
    const kernel = await exhausted();
    clock.frozen = performance.now();
    const free = [10_007, 10_300];
    kernel.connects = [CONNECTED];
    kernel.listed = () => all.filter((port) => !free.includes(port));
    const ran = await Promise.all([0, 1].map(async () => runInTurns(kernel.attempt({ range }))));
    expect(sorted(ran.map(({ lease }) => lease?.localPort ?? 0))).toEqual(free);
    expect(sorted(kernel.tried)).toEqual(free);
    expect(kernel).toMatchObject({ looks: 1, asked: [] });
  });

  test('what the questions would deny in a namespace that the thread has left is tried nevertheless', async () => {
    const kernel = await exhausted();
    kernel.listed = () => all.filter((port) => port !== 10_300);
    kernel.connects = [MOVED, CONNECTED];
    expect((await runInTurns(kernel.attempt({ range }))).lease).toBeDefined();
    expect(kernel.tried[0]).toBe(10_300);
    expect(kernel.asked).toEqual([]);
  });

  test("what is not listed and yet taken is the kernel's to say", async () => {
    const kernel = await exhausted();
    kernel.listed = () => new Uint16Array();
    const { error } = await runInTurns(kernel.attempt({ range }));
    expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
    // None is asked for in vain: each is tried, as far as the kernel's questions do not say that it is taken.
    expect(sorted([...new Set([...kernel.asked, ...kernel.tried])])).toEqual([...all]);
  });

  test.each([
    { what: 'cannot be begun', listed: () => fails('socket', errno.EMFILE) },
    { what: 'is interrupted', listed: async () => Promise.resolve(fails('netlink', errno.EINTR)) },
  ])('a look that $what: each of them is asked for', async ({ listed }) => {
    const kernel = await exhausted();
    kernel.listed = listed;
    expect((await runInTurns(kernel.attempt({ range }))).error).toMatchObject({ reason: 'ports-exhausted' });
    expect(sorted(kernel.asked)).toEqual([...all]);
    kernel.owner = (port) => (port === 10_300 ? 0 : ESTABLISHED);
    kernel.connects = [CONNECTED];
    await later();
    expect((await runInTurns(kernel.attempt({ range }))).lease?.localPort).toBe(10_300);
    expect(kernel.looks).toBe(2);
  });

  const sockstat = (protocol: string, count: number) =>
    `sockets: used 7\nTCP: inuse 9 orphan 0\n${protocol}: inuse ${count} mem 3\n`;

  describe('who cannot wait', () => {
    test.each([
      { v4: sockstat('UDP', 600), v6: fails('open', errno.ENOENT) },
      { v4: sockstat('UDP', 600), v6: sockstat('UDP6', 9000) },
      { v4: sockstat('UDP', 9600), v6: sockstat('UDP6', 0) },
    ])('looks at once, and asks for none, among $v4 $v6', async ({ v4, v6 }) => {
      const kernel = await exhausted();
      Object.assign(kernel, { sockets: v4, sockets6: v6, listedNow: () => all });
      const { error, pauses } = run(kernel.attempt({ range }));
      expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
      expect(kernel).toMatchObject({ looks: 0, looksNow: 1, asked: [], tried: [] });
      expect(pauses).toEqual([]);
      await later();
      kernel.listedNow = () => all.filter((port) => port !== 10_300);
      kernel.connects = [CONNECTED];
      expect(run(kernel.attempt({ range })).lease?.localPort).toBe(10_300);
      expect(kernel).toMatchObject({ looks: 0, looksNow: 2, asked: [], tried: [10_300] });
    });

    test.each([
      { what: 'there are many other sockets', v4: sockstat('UDP', 9601), v6: sockstat('UDP6', 0) },
      { what: 'there are many other sockets of IPv6', v4: sockstat('UDP', 600), v6: sockstat('UDP6', 9001) },
      { what: 'they are not counted', v4: fails('open', errno.ENOENT), v6: sockstat('UDP6', 0) },
      { what: 'the count is not understood', v4: 'UDP: many', v6: sockstat('UDP6', 0) },
    ])('asks for each of them where $what', async ({ v4, v6 }) => {
      const kernel = await exhausted();
      Object.assign(kernel, { sockets: v4, sockets6: v6, listedNow: () => all });
      expect(run(kernel.attempt({ range })).error).toMatchObject({ reason: 'ports-exhausted' });
      expect(sorted(kernel.asked)).toEqual([...all]);
      expect(kernel).toMatchObject({ looks: 0, looksNow: 0 });
    });

    test('asks for each of them where the look fails', async () => {
      const kernel = await exhausted();
      kernel.sockets = sockstat('UDP', 600);
      expect(run(kernel.attempt({ range })).error).toMatchObject({ reason: 'ports-exhausted' });
      expect(sorted(kernel.asked)).toEqual([...all]);
      expect(kernel).toMatchObject({ looks: 0, looksNow: 1 });
    });
  });

  test('no look for as many as a turn has questions', async () => {
    const few = { low: 10_000, high: 10_255 };
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => ESTABLISHED;
    for (let n = 0; n < 2; n++) {
      expect((await runInTurns(kernel.attempt({ range: few }))).error).toMatchObject({ reason: 'ports-exhausted' });
    }
    expect(kernel.looks).toBe(0);
    kernel.listed = () => Uint16Array.from({ length: 257 }, (_, n) => few.low + n);
    kernel.asked = [];
    expect((await runInTurns(kernel.attempt({ range: { ...few, high: 10_256 } }))).error).toBeDefined();
    expect(kernel.looks).toBe(1);
    // Who can wait asks for a few first.
    expect(kernel.asked.length).toBeGreaterThanOrEqual(64);
    expect(kernel.asked.length).toBeLessThan(160);
  });

  test.each<[string, Partial<Asked>]>([
    ['an interface is given', { extras: { interface: 'lo' } }],
    ['the source has a zone', { source: 'fe80::1%lo', host: '2001:db8::2' }],
    ['the destination has a zone', { source: '2001:db8::1', host: 'ff02::1%lo' }],
    ['the destination is link-local', { source: '2001:db8::1', host: 'fe80::2' }],
    ['the addresses are IPv4-mapped', { source: '::ffff:192.0.2.1', host: '::ffff:192.0.2.2' }],
  ])('no look where %s: a list would not say the same', async (_, asked) => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    kernel.owner = () => ESTABLISHED;
    for (let n = 0; n < 2; n++) {
      const { error } = await runInTurns(kernel.attempt({ range, ...asked }));
      expect(error).toMatchObject({ reason: 'ports-exhausted' });
      await later();
    }
    expect(kernel.asked.length).toBeGreaterThan(3 * all.length - 10);
    expect(kernel.looks).toBe(0);
  });

  test('the table is forgotten while somebody waits: they ask what they had asked', async () => {
    const kernel = await exhausted();
    let end = (): void => undefined;
    kernel.listed = () => new Promise((resolve) => (end = () => resolve(all.filter((port) => port !== 10_300))));
    const waiting = runInTurns(kernel.attempt({ range }));
    kernel.cache.forget();
    kernel.connects = [MOVED, CONNECTED];
    kernel.owner = (port) => (port === 10_300 ? 0 : ESTABLISHED);
    end();
    // In the other namespace all ports are new.
    expect((await waiting).lease).toBeDefined();
    expect(kernel.looks).toBe(1);
  });
});

describe('one port', () => {
  test('the very 4-tuple is in use: at once', () => {
    const kernel = new Kernel();
    kernel.connects = [TUPLE_IN_USE];
    const { error, pauses } = run(kernel.attempt({ port: 50001 }));
    expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use', localPort: 50001 });
    expect(pauses).toEqual([]);
  });

  test('locked by a socket that is connected with the very 4-tuple: at once', () => {
    const kernel = new Kernel();
    kernel.connects = [PORT_LOCKED];
    kernel.owner = () => 1;
    const { error, pauses } = run(kernel.attempt({ port: 50001 }));
    expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
    expect(pauses).toEqual([]);
  });

  test.each([
    { what: 'locked', verdict: PORT_LOCKED },
    { what: 'contended', verdict: CONTENDED },
  ])('$what for a moment: tried again', ({ verdict }) => {
    for (let times = 1; times <= 60; times++) {
      const kernel = new Kernel();
      kernel.connects = [...new Array<number>(times).fill(verdict), CONNECTED];
      const { lease, pauses } = run(kernel.attempt({ port: 50001 }));
      expect(lease).toEqual({ ports: undefined, localPort: 50001 });
      // The first try is made twice, without a wait.
      expect(pauses).toHaveLength(times - 1);
      expect(pauses.every((pause) => pause > 0)).toBe(true);
    }
  });

  test.each([
    { what: 'locked', verdict: PORT_LOCKED },
    { what: 'contended', verdict: CONTENDED },
  ])('$what for good: port-locked, after so many tries', ({ verdict }) => {
    const kernel = new Kernel();
    kernel.connects = [verdict];
    kernel.owner = () => 7;
    const { error, pauses } = run(kernel.attempt({ port: 50001 }), Infinity);
    expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked', syscall: 'bind', localPort: 50001 });
    // As long as whoever is about to connect may be without a processor.
    expect(pauses.length).toBeGreaterThanOrEqual(64);
  });

  test('exclusive is passed on', () => {
    const kernel = new Kernel();
    run(kernel.attempt({ port: 50001, exclusive: true }));
    expect((kernel.flags[0] ?? 0) & (SHARED | EXCLUSIVE)).toBe(SHARED | EXCLUSIVE);
  });
});

describe.each([{ port: 0 }, { port: 50001 }])('port $port', ({ port }) => {
  describe('sock_diag does not answer for UDP', () => {
    test.each([
      { what: 'it does not see our own socket', answer: UNSEEN },
      { what: 'netlink is refused', answer: fails('socket', errno.EPERM) },
      { what: 'there is no netlink', answer: fails('socket', errno.EAFNOSUPPORT) },
      { what: 'it says EOPNOTSUPP', answer: fails('netlink', errno.EOPNOTSUPP) },
    ])('$what: nothing is shared from then on, that is said once, and no port is lost', ({ answer }) => {
      const kernel = new Kernel();
      kernel.probe = 0;
      kernel.connects = [(_port, flags) => ((flags & SHARED) === 0 ? ALONE : answer)];
      const said: unknown[] = [];
      const { emitWarning } = process;
      process.emitWarning = (...warning: unknown[]) => void said.push(warning[1]);
      try {
        const ports = PORTS.map(() => run(kernel.attempt({ port })).lease?.localPort ?? 0);
        expect(sorted(ports)).toEqual(port === 0 ? PORTS : PORTS.map(() => port));
      } finally {
        process.emitWarning = emitWarning;
      }
      expect(said).toEqual([{ type: 'ConnectxWarning', code: 'CONNECTX_UDP_EXCLUSIVE' }]);
      expect(kernel.cache.shared).toBe(false);
      // The first call only, which tries an explicit port twice.
      expect(kernel.flags.filter((flags) => (flags & SHARED) !== 0).length).toBeLessThanOrEqual(2);
    });

    test.each([
      { what: 'it does not see our own socket', answer: UNSEEN },
      { what: 'netlink is refused', answer: fails('socket', errno.EPERM) },
    ])('$what, and yet it does: an error, after a few tries, and sharing goes on', ({ answer }) => {
      const kernel = new Kernel();
      kernel.connects = [answer];
      const { error } = run(kernel.attempt({ port }));
      expect(error).toBeInstanceOf(Error);
      expect(kernel.tried.length).toBeLessThan(10);
      expect(kernel.cache.shared).toBe(true);
      // The errno is the kernel's own, where it gave one: the ports are not exhausted.
      if (answer !== UNSEEN) expect(error).toMatchObject({ code: 'EPERM', syscall: 'socket' });
      kernel.connects = [CONNECTED];
      expect(run(kernel.attempt({ port })).lease).toBeDefined();
    });
  });

  test('the thread is in another network namespace: begun again', () => {
    const kernel = new Kernel();
    kernel.connects = [MOVED, CONNECTED];
    expect(run(kernel.attempt({ port })).lease).toBeDefined();
    expect(kernel.tried).toHaveLength(2);
    expect(kernel.probes).toBe(1);
  });

  test.each([
    { syscall: 'netlink', code: 'EBADMSG' },
    { syscall: 'recv', code: 'EAGAIN' },
    { syscall: 'socket', code: 'EMFILE' },
    { syscall: 'connect', code: 'EPERM' },
  ] as const)('$syscall $code is an error, and tells nothing of sharing', ({ syscall, code }) => {
    const kernel = new Kernel();
    kernel.connects = [fails(syscall, errno[code])];
    expect(run(kernel.attempt({ port })).error).toMatchObject({ code, syscall, address: '192.0.2.2', port: 53 });
    expect(kernel.tried).toHaveLength(1);
    expect(kernel.probes).toBe(1);
  });

  test('an error is no answer to the question who has a port: then it is tried', () => {
    const kernel = new Kernel();
    kernel.owner = () => fails('netlink', errno.EPERM);
    kernel.connects = [PORT_LOCKED, PORT_LOCKED, CONNECTED];
    expect(run(kernel.attempt({ port })).lease).toBeDefined();
    expect(kernel.tried).toHaveLength(3);
  });

  describe('rtnetlink is refused', () => {
    test.each(['EPERM', 'EACCES', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'EOPNOTSUPP'] as const)(
      '%s: the source is that of a scratch socket, which is closed',
      (code) => {
        const kernel = new Kernel();
        kernel.route = fails('socket', errno[code]);
        expect(run(kernel.attempt({ port, source: null }))).toMatchObject({ lease: {}, localAddress: '192.0.2.1' });
        expect(kernel.scratch).toBe(0);
      },
    );

    test.each([
      { code: 'ENETUNREACH', reason: undefined, binds: [] },
      { code: 'EAGAIN', reason: 'ports-exhausted', binds: Array<number>(64).fill(fails('bind', errno.EADDRINUSE)) },
    ] as const)('and a scratch socket cannot be connected: $code', ({ code, reason, binds }) => {
      const kernel = new Kernel();
      kernel.route = fails('socket', errno.EPERM);
      kernel.plainConnect = fails('connect', errno.ENETUNREACH);
      kernel.scratchBinds = [...binds];
      const { error } = run(kernel.attempt({ port, source: null }));
      expect(error).toMatchObject({ code, syscall: 'connect' });
      expect((error as { reason?: string }).reason).toBe(reason);
      expect(kernel.scratch).toBe(0);
      expect(kernel.tried).toEqual([]);
    });

    test('control: there is no route, and nothing else is tried', () => {
      const kernel = new Kernel();
      kernel.route = fails('netlink', errno.ENETUNREACH);
      expect(run(kernel.attempt({ port, source: null })).error).toMatchObject({
        code: 'ENETUNREACH',
        syscall: 'connect',
      });
      expect(kernel.tried).toEqual([]);
    });
  });
});
