// Which port next, towards one UDP destination?
import { describe, expect, test } from 'vitest';
import { DestinationPorts, PortTable } from '../../src/udp/ports';
import { pauseAfter } from '../../src/udp/allocate';
import { seeded } from '../helpers/bytes.js';

const list = (count: number, low = 20_000) => Uint16Array.from({ length: count }, (_, n) => low + n);

/** All that is offered, one after the other. */
function takeAll(ports: DestinationPorts, limit = 100_000): number[] {
  const taken: number[] = [];
  for (let port = ports.take(); port !== undefined; port = ports.take()) {
    taken.push(port);
    if (taken.length > limit) throw new Error('it never ends');
  }
  return taken;
}

const sorted = (ports: readonly number[]) => [...ports].sort((a, b) => a - b);

function increment(counts: number[], index: number): void {
  counts[index] = (counts[index] ?? 0) + 1;
}

describe('each port is offered once', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 12, 16, 30, 97, 210, 1000, 2310, 28_232, 65_535])('of %i', (count) => {
    const all = [...list(count, 1)];
    for (let seed = 0; seed < (count > 1000 ? 3 : 50); seed++) {
      const ports = new DestinationPorts(list(count, 1), seeded(seed));
      expect(sorted(takeAll(ports))).toEqual(all);
      expect(ports.take()).toBeUndefined();
    }
  });

  test('of none', () => {
    expect(new DestinationPorts(new Uint16Array(0), Math.random).take()).toBeUndefined();
  });

  test.each([0, 0.5, 1 - 2 ** -32])('whatever number is drawn: %d', (number) => {
    for (let count = 1; count <= 64; count++) {
      const ports = new DestinationPorts(list(count), () => number);
      expect(sorted(takeAll(ports))).toEqual([...list(count)]);
    }
  });

  test('of a list with gaps', () => {
    const given = Uint16Array.of(5, 9, 20, 21, 65_535);
    expect(sorted(takeAll(new DestinationPorts(given, seeded(1))))).toEqual([...given]);
  });
});

describe('flows spread evenly over the ports', () => {
  // Chi-square of a uniform choice has the mean count - 1 and the standard deviation sqrt(2 * (count - 1)): five of them are a
  // bound that one choice in a million would miss, and these choices are always the same.
  const bound = (count: number) => count - 1 + 5 * Math.sqrt(2 * (count - 1));

  function chiSquare(counts: readonly number[]): number {
    const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  }

  test.each([
    { count: 16, destinations: 10_000, flows: 1 },
    { count: 16, destinations: 10_000, flows: 3 },
    { count: 100, destinations: 10_000, flows: 1 },
    { count: 100, destinations: 10_000, flows: 10 },
    { count: 97, destinations: 10_000, flows: 5 },
  ])('$flows to each of $destinations destinations over $count ports', ({ count, destinations, flows }) => {
    const random = seeded(count * 31 + flows);
    const counts = new Array<number>(count).fill(0);
    const ports = list(count, 0);
    for (let n = 0; n < destinations; n++) {
      const towards = new DestinationPorts(ports, random);
      for (let flow = 0; flow < flows; flow++) increment(counts, towards.take() as number);
    }
    expect(chiSquare(counts)).toBeLessThan(bound(count));
  });

  test('control: starting at the lowest port would not', () => {
    const counts = new Array<number>(16).fill(0);
    for (let n = 0; n < 10_000; n++) increment(counts, n % 3);
    expect(chiSquare(counts)).toBeGreaterThan(bound(16));
  });

  test('destinations do not follow each other: the second port does not follow from the first', () => {
    const random = seeded(7);
    const counts = new Array<number>(97).fill(0);
    const ports = list(97, 0);
    for (let n = 0; n < 10_000; n++) {
      const towards = new DestinationPorts(ports, random);
      const first = towards.take() as number;
      const second = towards.take() as number;
      increment(counts, (second - first + 97) % 97);
    }
    // Any step but none. A step of 0 is drawn as one of 1.
    expect(counts[0]).toBe(0);
    expect(chiSquare(counts.slice(2))).toBeLessThan(bound(95));
  });
});

describe('ports that were given back', () => {
  test('come after those that were never offered, the oldest first', () => {
    const ports = new DestinationPorts(list(4), seeded(1));
    const [first, second] = [ports.take() as number, ports.take() as number];
    ports.release(second);
    ports.release(first);
    const fresh = [ports.take() as number, ports.take() as number];
    expect(sorted([first, second, ...fresh])).toEqual([...list(4)]);
    expect([ports.take(), ports.take(), ports.take()]).toEqual([second, first, undefined]);
  });

  test('for ever: 100,000 times over', () => {
    const ports = new DestinationPorts(list(5000), seeded(1));
    const order = takeAll(ports);
    for (const port of order) ports.release(port);
    for (let n = 0; n < 100_000; n++) {
      const port = ports.take();
      expect(port === order[n % 5000]).toBe(true);
      ports.release(port as number);
    }
    expect(takeAll(ports)).toHaveLength(5000);
  });
});

describe('what was found taken or locked', () => {
  test('is remembered until it is free, once each', () => {
    const ports = new DestinationPorts(list(4), seeded(1));
    ports.markTaken(20_000);
    ports.markTaken(20_001);
    ports.markTaken(20_000);
    ports.markLocked(20_002, 0);
    ports.markLocked(20_002, 1);
    expect(ports.taken()).toEqual([20_000, 20_001]);
    expect(ports.locked()).toEqual([20_002]);
    ports.markFree(20_000);
    ports.markFree(20_002);
    ports.markFree(20_003);
    expect(ports.taken()).toEqual([20_001]);
    expect(ports.locked()).toEqual([]);
  });

  test('is not offered because of that, and what is offered is not forgotten because of it', () => {
    const ports = new DestinationPorts(list(4), seeded(1));
    const first = ports.take() as number;
    ports.markTaken(first);
    expect(takeAll(ports)).toHaveLength(3);
    expect(ports.taken()).toEqual([first]);
  });

  test('a port that was locked and turns out to be taken is locked no more', () => {
    const ports = new DestinationPorts(list(4), seeded(1));
    ports.markLocked(20_000, 0);
    ports.markTaken(20_000);
    expect(ports.locked()).toEqual([]);
    expect(ports.taken()).toEqual([20_000]);
    expect(ports.mayUnlock(0)).toBe(false);
  });

  test('the lists are as they were when they were asked for', () => {
    const ports = new DestinationPorts(list(4), seeded(1));
    ports.markTaken(20_000);
    ports.markLocked(20_001, 0);
    const [taken, locked] = [ports.taken(), ports.locked()];
    ports.markFree(20_000);
    ports.markFree(20_001);
    ports.markTaken(20_002);
    expect(taken).toEqual([20_000]);
    expect(locked).toEqual([20_001]);
  });
});

describe('may a locked port be unlocked soon?', () => {
  const lock = (times: number, from: number, to: number) => {
    const ports = new DestinationPorts(list(4), seeded(1));
    for (let n = 0; n < times; n++)
      ports.markLocked(20_000, times === 1 ? from : from + ((to - from) * n) / (times - 1));
    return ports;
  };

  test('not when none is', () => {
    expect(new DestinationPorts(list(4), seeded(1)).mayUnlock(0)).toBe(false);
  });

  test.each([
    { times: 1, at: 1000, now: 1000, expected: true },
    { times: 1, at: 1000, now: 2000, expected: true },
    { times: 9, at: 1000, now: 2000, expected: true },
    { times: 10, at: 1000, now: 1019.9, expected: true },
    { times: 10, at: 1000, now: 1020, expected: false },
    { times: 100, at: 1000, now: 1019.9, expected: true },
    { times: 100, at: 1000, now: 1020, expected: false },
  ])('found locked $times times since $at, it is $now: $expected', ({ times, at, now, expected }) => {
    expect(lock(times, at, now).mayUnlock(now)).toBe(expected);
  });

  test('one of several is enough', () => {
    const ports = lock(10, 0, 100);
    expect(ports.mayUnlock(100)).toBe(false);
    ports.markLocked(20_001, 100);
    expect(ports.mayUnlock(100)).toBe(true);
    ports.markFree(20_001);
    expect(ports.mayUnlock(100)).toBe(false);
  });

  test('a port that was free in between counts from the beginning', () => {
    const ports = lock(10, 0, 100);
    ports.markFree(20_000);
    ports.markLocked(20_000, 100);
    expect(ports.mayUnlock(100)).toBe(true);
    expect(ports.mayUnlock(200)).toBe(true);
  });
});

describe('the destinations that are remembered', () => {
  test('the same one each time', () => {
    const table = new PortTable(seeded(1));
    const one = table.get('one', list(4));
    const other = table.get('other', list(4));
    expect(other).not.toBe(one);
    expect(table.get('other', list(4))).toBe(other);
    expect(table.get('one', list(4))).toBe(one);
    // The list is that of the first time: a key names its range.
    expect(sorted(takeAll(table.get('one', list(9))))).toEqual([...list(4)]);
  });

  test('are 256; the one that was not used for longest goes', () => {
    const table = new PortTable(seeded(1));
    const ports = list(4);
    const first = Array.from({ length: 256 }, (_, n) => table.get(`${n}`, ports));
    // 1 is the oldest then.
    expect(table.get('0', ports)).toBe(first[0]);
    table.get('256', ports);
    expect(table.get('0', ports)).toBe(first[0]);
    expect(table.get('2', ports)).toBe(first[2]);
    expect(table.get('255', ports)).toBe(first[255]);
    expect(table.get('1', ports)).not.toBe(first[1]);
    // Which took the place of 3.
    expect(table.get('3', ports)).not.toBe(first[3]);
  });

  test('a destination that is asked for again and again stays, whatever comes between', () => {
    const table = new PortTable(seeded(1));
    const ports = list(4);
    const often = table.get('often', ports);
    for (let n = 0; n < 1000; n++) {
      table.get(`${n}`, ports);
      if (n % 200 === 0) expect(table.get('often', ports)).toBe(often);
    }
    expect(table.get('often', ports)).toBe(often);
    for (let n = 0; n < 255; n++) table.get(`again ${n}`, ports);
    expect(table.get('often', ports)).toBe(often);
  });

  test('nothing is kept when it is cleared', () => {
    const table = new PortTable(seeded(1));
    const one = table.get('one', list(4));
    const last = table.get('last', list(4));
    table.clear();
    expect(table.get('last', list(4))).not.toBe(last);
    expect(table.get('one', list(4))).not.toBe(one);
  });
});

describe('what was taken, and is not among what is still taken', () => {
  test('in the order in which it was found taken', () => {
    const ports = new DestinationPorts(list(10), seeded(1));
    for (const port of [20_007, 20_001, 20_009, 20_004]) ports.markTaken(port);
    expect(ports.takenCount).toBe(4);
    expect([...ports.takenExcept(new Uint16Array())]).toEqual([20_007, 20_001, 20_009, 20_004]);
    // What we have ourselves is listed as well.
    expect([...ports.takenExcept(Uint16Array.of(20_001, 20_002, 20_004, 65_535))]).toEqual([20_007, 20_009]);
    expect(ports.isTaken(20_007)).toBe(true);
    ports.markFree(20_007);
    expect(ports.isTaken(20_007)).toBe(false);
    expect([...ports.takenExcept(Uint16Array.of(20_001, 20_004))]).toEqual([20_009]);
    expect(ports.takenCount).toBe(3);
  });
});

describe('how long to wait before the next try, in ms', () => {
  test.each([0, 1 - 2 ** -32])('the number drawn is %d', (number) => {
    for (let tries = 1; tries <= 64; tries++) {
      const pause = pauseAfter(tries, () => number);
      // 0 would be a turn of the event loop.
      expect(pause).toBeGreaterThan(0);
      expect(pause).toBeLessThan(8.2);
      // A lock is held for some 10 microseconds: the first waits are of that order.
      if (tries <= 4) expect(pause).toBeLessThanOrEqual(0.01 + 0.05 * tries);
      else expect(pause).toBeGreaterThanOrEqual(0.1);
    }
  });

  test('those who wait do not wait for the same time', () => {
    for (let tries = 1; tries <= 64; tries++) {
      const [low, high] = [pauseAfter(tries, () => 0), pauseAfter(tries, () => 0.999)];
      expect(high / low).toBeGreaterThan(2);
    }
  });

  test('64 tries last at most half a second, and the first 20 milliseconds', () => {
    let total = 0;
    for (let tries = 1; tries <= 64; tries++) total += pauseAfter(tries, () => 1);
    expect(total).toBeLessThan(500);
  });
});
