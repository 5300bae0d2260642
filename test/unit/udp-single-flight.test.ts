// Looks that are shared by all who wait for one at the same time.
import { describe, expect, test } from 'vitest';
import { SingleFlight } from '../../src/udp/single_flight';

/** Looks that end when they are told to. Each answers with the moment at which it began. */
class Looks {
  moment = 0;
  began: number[] = [];
  #ends: { resolve: (seen: number) => void; reject: (error: Error) => void }[] = [];

  readonly look = async (): Promise<number> => {
    const now = ++this.moment;
    this.began.push(now);
    await new Promise((resolve, reject) => this.#ends.push({ resolve, reject }));
    return now;
  };

  async end(error?: Error): Promise<void> {
    const last = this.#ends.pop();
    if (last === undefined) throw new Error('none is under way');
    if (this.#ends.length > 0) throw new Error('more than one is under way');
    if (error === undefined) last.resolve(0);
    else last.reject(error);
    await new Promise(setImmediate);
  }
}

describe('shared looks', () => {
  test('the first caller begins one at once, all who come while it goes on share the next one', async () => {
    const looks = new Looks();
    const flight = new SingleFlight<number>();
    const first = flight.join(looks.look);
    expect(looks.began).toEqual([1]);
    const others = Array.from({ length: 50 }, () => flight.join(looks.look));
    await new Promise(setImmediate);
    expect(looks.began).toEqual([1]);
    await looks.end();
    expect(await first).toBe(1);
    expect(looks.began).toEqual([1, 2]);
    await looks.end();
    expect(await Promise.all(others)).toEqual(others.map(() => 2));
    expect(looks.began).toEqual([1, 2]);
  });

  test('nobody gets one that began before they came, whenever they come', async () => {
    const looks = new Looks();
    const flight = new SingleFlight<number>();
    let settled = 0;
    const join = async () => {
      const came = ++looks.moment;
      const seen = await flight.join(looks.look);
      expect(seen).toBeGreaterThan(came);
      settled++;
      return seen;
    };
    const callers: Promise<number | undefined>[] = [];
    for (let n = 0; n < 20; n++) {
      callers.push(join(), join());
      // Also just as one ends.
      const ended = looks.end();
      callers.push(join());
      await ended;
    }
    while (settled < callers.length) await looks.end();
    await Promise.all(callers);
    expect(looks.began.length).toBeLessThanOrEqual(22);
  });

  test('when none is under way, the next one is a new one', async () => {
    const looks = new Looks();
    const flight = new SingleFlight<number>();
    for (const n of [1, 2, 3]) {
      const seen = flight.join(looks.look);
      await looks.end();
      expect(await seen).toBe(n);
    }
  });

  test('one that fails is for those who share it; those who wait get theirs', async () => {
    const looks = new Looks();
    const flight = new SingleFlight<number>();
    const first = flight.join(looks.look);
    const second = flight.join(looks.look);
    await Promise.all([expect(first).rejects.toThrow('EMFILE'), looks.end(new Error('EMFILE'))]);
    const third = flight.join(looks.look);
    await looks.end();
    expect(await second).toBe(2);
    await looks.end();
    expect(await third).toBe(3);
  });

  test('one that throws at once does not stay under way', async () => {
    const flight = new SingleFlight<number>();
    const fail = (): Promise<number> => {
      throw new Error('at once');
    };
    await expect(flight.join(fail)).rejects.toThrow('at once');
    expect(await flight.join(async () => Promise.resolve(7))).toBe(7);
  });

  test('whoever gives up begins none', async () => {
    const looks = new Looks();
    const flight = new SingleFlight<number>();
    const controller = new AbortController();
    const { signal } = controller;
    const first = flight.join(looks.look);
    const given = flight.join(looks.look, signal);
    controller.abort();
    await looks.end();
    expect(await first).toBe(1);
    expect(await given).toBeUndefined();
    expect(looks.began).toEqual([1]);
    // And keeps nobody from theirs.
    const second = flight.join(looks.look);
    const again = flight.join(looks.look, signal);
    const third = flight.join(looks.look);
    await looks.end();
    expect(await second).toBe(2);
    expect(await again).toBeUndefined();
    await looks.end();
    expect(await third).toBe(3);
    expect(looks.began).toEqual([1, 2, 3]);
  });
});
