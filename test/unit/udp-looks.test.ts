// How often the kernel is asked again for ports that others have, and who shares the answer.
import { describe, expect, test } from 'vitest';
import { Looks } from '../../src/udp/looks';

/** A clock that is set by hand, and reads that end when they are told to. */
class Table {
  now = 1000;
  reads = 0;
  end: (isWhole: boolean) => void = () => undefined;
  fail: (error: Error) => void = () => undefined;

  cost = 0;
  readonly costs = () => this.cost;
  readonly read = (): Promise<boolean> => {
    this.reads++;
    return new Promise((resolve, reject) => {
      this.end = resolve;
      this.fail = reject;
    });
  };
}

const settle = () => new Promise(setImmediate);

describe('what the kernel has said', () => {
  test('is not believed before it was asked', () => {
    expect(new Looks().isBelieved(10_000, 0)).toBe(false);
    expect(new Looks().isSince(0)).toBe(false);
    expect(new Looks().pause(0)).toBe(0);
  });

  test.each([
    // Next to nothing: asked each time.
    { count: 16, life: 0 },
    { count: 17, life: 1.02 },
    { count: 100, life: 6 },
    { count: 400, life: 24 },
    { count: 60_000, life: 25 },
  ])('of $count ports is believed for $life ms, in proportion to what it cost', ({ count, life }) => {
    const looks = new Looks();
    looks.asked(count, 1000);
    expect(looks.isBelieved(count, 1000.01 + life)).toBe(false);
    if (life > 0) expect(looks.isBelieved(count, 1000 + life - 0.01)).toBe(true);
  });

  test('questions take a twentieth of the time at most', () => {
    const looks = new Looks();
    looks.asked(10_000, 1000);
    // 30 ms, of which 20 may be ahead.
    expect(looks.pause(1000)).toBe(200);
    expect(looks.pause(1199)).toBe(1);
    expect(looks.pause(1200)).toBe(0);
    looks.asked(16, 2000);
    expect(looks.pause(2000)).toBe(0);
  });

  test('so do reads, whole or not; one that is not whole is not believed', () => {
    const looks = new Looks();
    looks.read(true, 1000, 25);
    expect(looks.pause(1005)).toBe(95);
    expect(looks.isBelieved(1000, 1024)).toBe(true);
    expect(looks.isSince(1000)).toBe(true);
    expect(looks.isSince(1000.1)).toBe(false);
    looks.read(false, 2000, 30);
    expect(looks.pause(2010)).toBe(190);
    expect(looks.isBelieved(1000, 2011)).toBe(false);
  });

  test('three looks of 8 ms may follow one another; in the long run they have their share', () => {
    const looks = new Looks();
    const starts: number[] = [];
    for (let now = 1000; now < 61_000;) {
      const pause = looks.pause(now);
      if (pause > 0) {
        now += pause;
        continue;
      }
      starts.push(now);
      looks.read(true, now, 8);
      now += 8;
    }
    expect(starts.slice(0, 4)).toEqual([1000, 1008, 1016, 1080]);
    // A twentieth of a minute, and what was ahead.
    expect(starts.length * 8).toBeGreaterThan(2950);
    expect(starts.length * 8).toBeLessThanOrEqual(3000 + 20 + 8);
  });

  test('nobody rests longer than a second, whatever those have taken who do not rest', () => {
    const looks = new Looks();
    for (let now = 1000; now < 11_000; now += 25) looks.read(true, now, 22);
    expect(looks.pause(10_975)).toBe(1000);
    expect(looks.pause(11_975)).toBe(0);
  });
});

describe('who rests', () => {
  test('does so until the pause is over', async () => {
    const looks = new Looks();
    const began = performance.now();
    await Promise.all([looks.rest(30), looks.rest(30_000)]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(29);
  });

  test('or until a port is given back: one for each port, the first one first', async () => {
    const looks = new Looks();
    const woken: number[] = [];
    const resting = [1, 2, 3].map(async (n) => {
      await looks.rest(2000);
      woken.push(n);
    });
    looks.wakeOne();
    await settle();
    expect(woken).toEqual([1]);
    looks.wakeOne();
    await settle();
    expect(woken).toEqual([1, 2]);
    looks.wakeOne();
    await Promise.all(resting);
    expect(woken).toEqual([1, 2, 3]);
    looks.wakeOne();
  });
});

describe('who comes while the table is read', () => {
  test('shares it if it began a moment ago, and it is believed from its beginning on, but not before its end', async () => {
    const table = new Table();
    const looks = new Looks();
    const first = looks.join(table.read, table.now, table.costs);
    table.now = 1024;
    expect(looks.pause(1024)).toBe(0);
    const others = Array.from({ length: 50 }, () => looks.join(table.read, table.now, table.costs));
    expect(looks.isBelieved(1000, 1024)).toBe(false);
    table.end(true);
    expect(await Promise.all([first, ...others])).toEqual(Array(51).fill(true));
    expect(table.reads).toBe(1);
    expect(looks.isBelieved(1000, 1024)).toBe(true);
    expect(looks.isBelieved(1000, 1025)).toBe(false);
  });

  test('later than that rests until its end, and may believe it then, or rests on', async () => {
    const table = new Table();
    const looks = new Looks();
    const first = looks.join(table.read, table.now, table.costs);
    table.now = 1030;
    expect(looks.pause(1030)).toBeGreaterThan(0);
    const resting = Array.from({ length: 50 }, async () => looks.rest(60_000));
    table.cost = 30;
    table.end(true);
    expect(await first).toBe(true);
    await Promise.all(resting);
    expect(looks.isBelieved(1000, 1030)).toBe(false);
    // It took 30 ms.
    expect(looks.pause(1030)).toBe(170);
    expect(table.reads).toBe(1);
  });

  test('does not wait for one that does not come to its end, nor begins another one', async () => {
    const table = new Table();
    const looks = new Looks();
    const first = looks.join(table.read, 1000, table.costs);
    expect(looks.isStuck(1499)).toBe(false);
    expect(looks.pause(1499)).toBeGreaterThan(0);
    expect(looks.isStuck(1500)).toBe(true);
    expect(looks.pause(1500)).toBe(0);
    // The questions in its place have their share of the processor as well.
    looks.asked(10_000, 1500);
    expect(looks.pause(1500)).toBe(200);
    table.end(true);
    await first;
    expect(looks.isStuck(1600)).toBe(false);
  });

  test('hears of its failure; the next one is not hurt by it', async () => {
    const table = new Table();
    const looks = new Looks();
    const both = Promise.allSettled([
      looks.join(table.read, table.now, table.costs),
      looks.join(table.read, table.now, table.costs),
    ]);
    table.fail(new Error('broken'));
    for (const one of await both) expect(one).toMatchObject({ status: 'rejected', reason: { message: 'broken' } });
    expect(looks.isBelieved(1000, 1001)).toBe(false);
    const next = looks.join(table.read, table.now, table.costs);
    table.end(false);
    expect(await next).toBe(false);
  });

  test('an exception of the read itself is a rejection', async () => {
    const broken = (): Promise<boolean> => {
      throw new Error('at once');
    };
    const looks = new Looks();
    await expect(looks.join(broken, 0, () => 0)).rejects.toThrow('at once');
  });
});
