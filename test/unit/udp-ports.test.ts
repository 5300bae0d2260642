// Which port next, towards one UDP destination?
import { describe, expect, test } from 'vitest';
import { isUsable, type PortSpace, reservedBits } from '../../src/udp/port_space';
import { PortSet } from '../../src/udp/port_set';
import { PortTable } from '../../src/udp/port_table';
import { DestinationPorts } from '../../src/udp/ports';
import { RefusedPorts } from '../../src/udp/refused_ports';
import { pauseAfter } from '../../src/udp/allocate';
import { seeded } from '../helpers/bytes.js';
import { bitsOf } from '../helpers/port_bits.js';

const list = (count: number, low = 20_000) => Uint16Array.from({ length: count }, (_, n) => low + n);

const space = (count: number, low = 20_000): PortSpace => ({
  low,
  high: low + count - 1,
  reserved: undefined,
  except: 0,
});

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
      const ports = new DestinationPorts(space(count, 1), seeded(seed));
      expect(sorted(takeAll(ports))).toEqual(all);
      expect(ports.take()).toBeUndefined();
    }
  });

  test('of none', () => {
    expect(new DestinationPorts(space(0), Math.random).take()).toBeUndefined();
  });

  test.each([0, 0.5, 1 - 2 ** -32])('whatever number is drawn: %d', (number) => {
    for (let count = 1; count <= 64; count++) {
      const ports = new DestinationPorts(space(count), () => number);
      expect(sorted(takeAll(ports))).toEqual([...list(count)]);
    }
  });

  test('without those that are reserved, and without one', () => {
    const reserved = reservedBits('1-4,6-8,10-19,31-65534\n');
    const given = { low: 1, high: 65_535, reserved, except: 21 };
    const usable = [5, 9, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 65_535];
    for (let seed = 0; seed < 50; seed++) {
      const ports = new DestinationPorts(given, seeded(seed));
      expect(ports.hasOffer()).toBe(true);
      expect(sorted(takeAll(ports))).toEqual(usable);
      expect(ports.hasOffer()).toBe(false);
    }
    expect(reservedBits('\n')).toBeUndefined();
    const all = { low: 1, high: 65_535, reserved: reservedBits('1-65535\n'), except: 0 };
    expect(new DestinationPorts(all, seeded(1)).hasOffer()).toBe(false);
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
    const ports = { ...space(count, 0), except: -1 };
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
    const ports = { ...space(97, 0), except: -1 };
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
    const ports = new DestinationPorts(space(4), seeded(1));
    const [first, second] = [ports.take() as number, ports.take() as number];
    ports.release(second);
    ports.release(first);
    const fresh = [ports.take() as number, ports.take() as number];
    expect(sorted([first, second, ...fresh])).toEqual([...list(4)]);
    expect([ports.take(), ports.take(), ports.take()]).toEqual([second, first, undefined]);
  });

  test('for ever: 100,000 times over', () => {
    const ports = new DestinationPorts(space(5000), seeded(1));
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
    const ports = new DestinationPorts(space(4), seeded(1));
    ports.markTaken(20_000);
    ports.markTaken(20_001);
    ports.markTaken(20_000);
    ports.refused.markLocked(20_002, 0);
    ports.refused.markLocked(20_002, 1);
    expect([...ports.taken()]).toEqual([20_000, 20_001]);
    expect(ports.takenCount).toBe(2);
    expect(ports.refused.locked()).toEqual([20_002]);
    ports.markFree(20_000);
    ports.markFree(20_002);
    ports.markFree(20_003);
    expect([...ports.taken()]).toEqual([20_001]);
    expect(ports.refused.locked()).toEqual([]);
  });

  test('is not offered because of that, and what is offered is not forgotten because of it', () => {
    const ports = new DestinationPorts(space(4), seeded(1));
    const first = ports.take() as number;
    ports.markTaken(first);
    expect(takeAll(ports)).toHaveLength(3);
    expect([...ports.taken()]).toEqual([first]);
  });

  test('a port that was locked and turns out to be taken is locked no more', () => {
    const ports = new DestinationPorts(space(4), seeded(1));
    ports.refused.markLocked(20_000, 0);
    ports.markTaken(20_000);
    expect(ports.refused.locked()).toEqual([]);
    expect([...ports.taken()]).toEqual([20_000]);
    expect(ports.refused.mayUnlock(0)).toBe(false);
  });

  test('what nobody has comes first, and is taken no more', () => {
    const ports = new DestinationPorts(space(4), seeded(1));
    ports.markTaken(20_003);
    expect(ports.hasFound()).toBe(false);
    ports.markFound(20_003);
    expect(ports.hasFound()).toBe(true);
    expect(ports.takenCount).toBe(0);
    expect(ports.take()).toBe(20_003);
  });

  test('those of which it is not known who has them are taken together, the released ones last', () => {
    const ports = new DestinationPorts(space(4), seeded(1));
    const first = ports.take() as number;
    ports.release(first);
    expect(ports.unknownCount).toBe(4);
    const some = [...ports.takeUnknown(3)];
    expect(sorted([first, ...some])).toEqual([...list(4)]);
    expect([...ports.takeUnknown(3)]).toEqual([first]);
    expect([...ports.takeUnknown(3)]).toEqual([]);
    expect(ports.hasOffer()).toBe(false);
  });
});

describe('may a locked port be unlocked soon?', () => {
  const lock = (times: number, from: number, to: number) => {
    const ports = new RefusedPorts();
    for (let n = 0; n < times; n++)
      ports.markLocked(20_000, times === 1 ? from : from + ((to - from) * n) / (times - 1));
    return ports;
  };

  test('not when none is', () => {
    expect(new RefusedPorts().mayUnlock(0)).toBe(false);
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
    ports.unlock(20_001);
    expect(ports.mayUnlock(100)).toBe(false);
  });

  test('a port that was free in between counts from the beginning', () => {
    const ports = lock(10, 0, 100);
    ports.unlock(20_000);
    ports.markLocked(20_000, 100);
    expect(ports.mayUnlock(100)).toBe(true);
    expect(ports.mayUnlock(200)).toBe(true);
  });
});

describe('the destinations that are remembered', () => {
  const towards = (table: PortTable, key: string, ports = space(4)) => table.get(key) ?? table.add(key, ports);

  test('the same one each time', () => {
    const table = new PortTable(seeded(1));
    expect(table.get('one')).toBeUndefined();
    const one = towards(table, 'one');
    const other = towards(table, 'other');
    expect(other).not.toBe(one);
    expect(table.get('other')).toBe(other);
    expect(table.get('one')).toBe(one);
  });

  test('are 256; the one that was not used for longest goes', () => {
    const table = new PortTable(seeded(1));
    const first = Array.from({ length: 256 }, (_, n) => towards(table, `${n}`));
    // 1 is the oldest then.
    expect(table.get('0')).toBe(first[0]);
    towards(table, '256');
    expect(table.get('0')).toBe(first[0]);
    expect(table.get('2')).toBe(first[2]);
    expect(table.get('255')).toBe(first[255]);
    expect(table.get('1')).toBeUndefined();
    towards(table, '1');
    // Which took the place of 3.
    expect(table.get('3')).toBeUndefined();
    expect(table.size).toBe(256);
  });

  test('a destination that is asked for again and again stays, whatever comes between', () => {
    const table = new PortTable(seeded(1));
    const often = towards(table, 'often');
    for (let n = 0; n < 1000; n++) {
      towards(table, `${n}`);
      if (n % 200 === 0) expect(table.get('often')).toBe(often);
    }
    expect(table.get('often')).toBe(often);
    for (let n = 0; n < 255; n++) towards(table, `again ${n}`);
    expect(table.get('often')).toBe(often);
  });

  test('one that sockets of ours are connected to stays until the last of them is closed', () => {
    const table = new PortTable(seeded(1));
    const held = Array.from({ length: 1000 }, (_, n) => {
      const ports = towards(table, `held ${n}`);
      ports.lease();
      return ports;
    });
    for (let n = 0; n < 10_000; n++) towards(table, `once ${n}`);
    for (const [n, ports] of held.entries()) expect(table.get(`held ${n}`)).toBe(ports);
    // What was seen once does not stay, however much there is of it.
    expect(table.size).toBeLessThan(2 * 1000 + 256);
    for (const ports of held) ports.giveBack(20_000);
    for (let n = 0; n < 2000; n++) towards(table, `later ${n}`);
    expect(table.size).toBe(256);
    expect(held.every((_, n) => table.get(`held ${n}`) === undefined)).toBe(true);
  });

  test('nothing is kept when it is cleared', () => {
    const table = new PortTable(seeded(1));
    towards(table, 'one');
    towards(table, 'last');
    table.clear();
    expect(table.get('last')).toBeUndefined();
    expect(table.get('one')).toBeUndefined();
  });
});

describe('all ports have been asked for at once', () => {
  test('what is not listed comes first, what is listed is taken, also of what was never offered and of what was given back', () => {
    const ports = new DestinationPorts(space(10), seeded(1));
    const [ours, taken, unlisted, released, lost] = Array.from({ length: 5 }, () => ports.take() as number);
    if (taken === undefined || unlisted === undefined || released === undefined || lost === undefined)
      throw new Error();
    ports.markTaken(taken);
    ports.markTaken(unlisted);
    ports.release(released);
    ports.release(lost);
    const fresh = [...list(10)].filter((port) => ![ours, taken, unlisted, released, lost].includes(port));
    const [foreign = 0, ...free] = fresh;
    ports.resolve([bitsOf([ours ?? 0, taken]), bitsOf([lost, foreign, 65_535])], ports.released);
    expect(sorted([...ports.taken()])).toEqual(sorted([taken, lost, foreign]));
    expect(ports.unknownCount).toBe(1);
    const offered = takeAll(ports);
    // What was ours is offered last.
    expect(offered.at(-1)).toBe(released);
    expect(sorted(offered)).toEqual(sorted([unlisted, ...free, released]));
  });

  test('a port that was given back meanwhile is free although it is listed', () => {
    const ports = new DestinationPorts(space(2), seeded(1));
    const [one = 0, other = 0] = takeAll(ports);
    ports.release(one);
    const { released } = ports;
    ports.release(other);
    ports.resolve([bitsOf([one, other])], released);
    expect(takeAll(ports)).toEqual([other]);
    expect([...ports.taken()]).toEqual([one]);
  });

  test.each([0, 1, 40, 50, 51, 99, 100])(
    'after %i ports were offered: all that are left are known by it, and no other',
    (count) => {
      for (const low of [1, 31, 32, 33, 20_000, 65_436]) {
        const reserved = reservedBits(`${low + 7}-${low + 9}\n`);
        const given = { low, high: low + 99, reserved, except: low + 50 };
        const ports = new DestinationPorts(given, seeded(low + count));
        const offered = new Set(Array.from({ length: count }, () => ports.take()));
        const isLeft = (port: number) => !offered.has(port) && isUsable(given, port);
        const all = Array.from({ length: 100 }, (_, n) => low + n);
        ports.resolve([bitsOf(all.filter((port) => port % 2 === 0))], 0);
        expect(sorted([...ports.taken()])).toEqual(all.filter((port) => isLeft(port) && port % 2 === 0));
        expect(sorted(takeAll(ports))).toEqual(all.filter((port) => isLeft(port) && port % 2 === 1));
      }
    },
  );

  test('each destination has an order of its own: processes do not go for the same ports', () => {
    const firsts = [1, 2, 3, 4].map((seed) => {
      const ports = new DestinationPorts(space(1000), seeded(seed));
      ports.resolve([], 0);
      return ports.take();
    });
    expect(new Set(firsts).size).toBe(4);
  });
});

describe('a set of ports', () => {
  test.each([10, 128, 129, 5000])('of %i is as a Set', (count) => {
    const random = seeded(count);
    const ports = new PortSet();
    const control = new Set<number>();
    for (let n = 0; n < 4 * count; n++) {
      const port = n === 0 ? 65_535 : n === 1 ? 0 : Math.floor(random() * 65_536);
      ports.add(port);
      control.add(port);
      if (n % 3 === 0) {
        const gone = [...control][Math.floor(random() * Math.min(control.size, 50))] as number;
        ports.delete(gone);
        control.delete(gone);
        ports.delete(gone);
        expect(ports.has(gone)).toBe(false);
      }
      if (control.size >= count) break;
    }
    expect(ports.size).toBe(control.size);
    expect(sorted([...ports.values()])).toEqual(sorted([...control]));
    for (const port of control) expect(ports.has(port)).toBe(true);
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
