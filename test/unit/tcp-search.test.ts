// The search among ports that are nearly all taken, with a kernel that counts what it is asked.
import { constants } from 'node:os';
import { beforeEach, describe, expect, test } from 'vitest';
import { runNow, TURN, type Work } from '../../src/connect/steps';
import type { Native } from '../../src/kernel/addon';
import { Answer, Verdict } from '../../src/kernel/constants';
import type { Attempt } from '../../src/tcp/attempt';
import type { ConnectRequest } from '../../src/tcp/core_handle';
import type { NoPort } from '../../src/tcp/refuse';
import { search } from '../../src/tcp/search';
import type { PortRange } from '../../src/values/port_range';
import { bitsOf } from '../helpers/port_bits.js';

const { errno } = constants;
const SOURCE = '127.0.0.1';

/** Ports that nobody else may bind. */
let locked: Set<number>;
/** Ports whose 4-tuple is in use. */
let inUse: Set<number>;
let privileged: number;
let asked: { binds: number; connects: number; dumps: number };
/** So that no test shares a circle with another one. */
let destination = 1000;

beforeEach(() => {
  locked = new Set();
  inUse = new Set();
  privileged = 0;
  slow = 0;
  asked = { binds: 0, connects: 0, dumps: 0 };
  destination++;
});

/** How long a call of the addon takes, in ms. */
let slow: number;

const answers = new Int32Array(Object.keys(Answer).length);

/** As `native/tcp/search.cc`. */
function bindFirst(ports: Uint16Array, start: number, count: number): number {
  answers[Answer.denied] = 0;
  for (const until = performance.now() + slow; performance.now() < until;);
  for (let passed = 0; passed < count; passed++) {
    const port = ports[(start + passed) % ports.length] ?? 0;
    asked.binds++;
    if (port < privileged) answers[Answer.denied] = 1;
    else if (!locked.has(port)) return passed;
  }
  return count;
}

function attemptToConnect(range: PortRange): Attempt {
  const attempt = {
    source: { address: undefined, port: 0, range, reuseTimeWait: false, extras: null },
    handle: { open: () => 0 },
    address: '127.0.0.2',
    port: destination,
    family: 4,
    localAddress: SOURCE,
    localPort: 0,
    fd: -1,
    failure: undefined,
    native: {
      tcpPrepare: () => 7,
      tcpBindFirst: (_fd: number, _family: number, _local: string, ports: Uint16Array, start: number, count: number) =>
        bindFirst(ports, start, count),
      tcpFeatures: () => 7,
      answers,
      tcpCheck: () => {
        answers[Answer.port] = attempt.localPort;
        return Verdict.asAsked;
      },
      portsInStateNow: () => {
        asked.dumps++;
        return bitsOf(inUse);
      },
    } as unknown as Native,
    callCore: () => {
      asked.connects++;
      if (inUse.has(attempt.localPort)) return -errno.EADDRNOTAVAIL;
      inUse.add(attempt.localPort);
      return 0;
    },
  };
  return attempt as unknown as Attempt;
}

const request = {} as ConnectRequest;

function searchIn(range: PortRange, reserved: PortRange[] = [], fromOnePort = false) {
  const attempt = attemptToConnect(range);
  const work = search(
    attempt,
    request,
    { kind: 'search', ranges: [range], reserved: () => reserved, fromOnePort },
    SOURCE,
  );
  return { attempt, work };
}

/** The port that was found, or what there was instead. */
function found(range: PortRange, reserved?: PortRange[], fromOnePort?: boolean): number | NoPort {
  const { attempt, work } = searchIn(range, reserved, fromOnePort);
  const status = runNow(work);
  return status === 0 ? attempt.localPort : status;
}

const all = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe('one search', () => {
  test('finds every port once, and then none', () => {
    const range = { low: 5000, high: 5063 };
    const ports = all(1, 64).map(() => found(range));
    expect(new Set(ports)).toEqual(new Set(all(5000, 5063)));
    expect(found(range)).toMatchObject({ denied: false });
  });

  test('finds the last port of 64,512', () => {
    const range = { low: 1024, high: 65_535 };
    for (const last of [1024, 30_000, 65_535]) {
      locked = new Set(all(1024, 65_535).filter((port) => port !== last));
      expect(found(range)).toBe(last);
      inUse.clear();
    }
  });

  test('does not walk through thousands in a row that are somebody else’s', () => {
    locked = new Set(all(10_000, 18_999));
    for (let n = 0; n < 20; n++) found({ low: 10_000, high: 19_999 });
    // 10 each, on average.
    expect(asked.binds).toBeLessThan(20 * 100);
  });

  // A port that is bound explicitly is lost to the kernel's own choice, whatever its destination.
  test('from one port on: as few ports as there are connections to one destination, and what was closed first', () => {
    const range = { low: 20_000, high: 29_999 };
    const ports = new Set<number | NoPort>();
    for (let n = 0; n < 20; n++) {
      destination++;
      inUse.clear();
      for (let held = 0; held < 3; held++) ports.add(found(range, [], true));
    }
    expect(ports.size).toBe(3);
    const [first] = ports as Set<number>;
    inUse.delete(first as number);
    expect(found(range, [], true)).toBe(first);
  });

  test('gives the event loop its turns', () => {
    slow = 5;
    locked = new Set(all(5001, 10_000));
    const { work } = searchIn({ low: 5001, high: 10_000 });
    let turns = 0;
    for (let step = work.next(); step.done !== true; step = work.next()) {
      expect(step.value).toBe(TURN);
      turns++;
    }
    // One for each call of the addon but the last.
    expect(turns).toBeGreaterThanOrEqual(5000 / 512 - 1);
  });

  test('leaves reserved ports alone', () => {
    const reserved = [{ low: 5000, high: 5061 }];
    const range = { low: 5000, high: 5063 };
    expect([found(range, reserved), found(range, reserved)].sort()).toEqual([5062, 5063]);
    expect(found(range, reserved)).toMatchObject({ denied: false });
  });

  test('says when a port was denied, and goes on', () => {
    privileged = 5002;
    const range = { low: 5000, high: 5002 };
    expect(found(range)).toBe(5002);
    locked = new Set([5002]);
    expect(found(range)).toMatchObject({ denied: true });
  });

  test('asks once which 4-tuples are in use, where they are many', () => {
    inUse = new Set(all(5000, 5299));
    locked = new Set();
    const range = { low: 5000, high: 5300 };
    expect(found(range)).toBe(5300);
    expect(found(range)).toMatchObject({ denied: false });
    expect(asked.dumps).toBeLessThanOrEqual(2);
    expect(asked.connects).toBeLessThan(100);
  });
});

describe('a hundred at once share what each has found', () => {
  /** In turns, as connect/steps has them. */
  function inTurns(works: Work<number | NoPort>[]): (number | NoPort)[] {
    const results: (number | NoPort)[] = [];
    const waiting = works.map((work, index) => ({ work, index }));
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
      const step = one.work.next();
      if (step.done === true) results[one.index] = step.value;
      else {
        expect(step.value).toBe(TURN);
        waiting.push(one);
      }
    }
    return results;
  }

  test('where no port is left', () => {
    slow = 5;
    locked = new Set(all(5001, 10_000));
    const results = inTurns(all(1, 100).map(() => searchIn({ low: 5001, high: 10_000 }).work));
    for (const result of results) expect(result).toMatchObject({ denied: false });
    // Once round, for all that were there when the first one had come round.
    expect(asked.binds).toBeLessThanOrEqual(2 * 5000);
  });

  test('where there are some: each is found', () => {
    locked = new Set(all(5001, 9990));
    const results = inTurns(all(1, 100).map(() => searchIn({ low: 5001, high: 10_000 }).work));
    expect(results.filter((result) => result === 0)).toHaveLength(10);
    expect([...inUse].sort((a, b) => a - b)).toEqual(all(9991, 10_000));
  });
});
