// The soak's own judgement: nothing that it looks for may escape it, and what only looks like it may not be taken for it.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

type Event = [time: number, kind: string, tuple: string, flow: string, from?: string];

interface Ownership {
  begin(client: string, time: number): void;
  tell(client: string, time: number, events: Event[]): void;
  kill(client: string): void;
  end(client: string): void;
  settle(how?: { finally: boolean }): void;
  overshadowed: string[];
  stale: number;
  flows: number;
}

interface Judged {
  growth: number;
  noise: number;
  flat: boolean;
}

const load = async (name: string): Promise<unknown> =>
  import(pathToFileURL(join(import.meta.dirname, '../soak', name)).href);
const { Ownership } = (await load('ownership.mjs')) as { Ownership: new () => Ownership };
const { judge } = (await load('flat.mjs')) as { judge: (points: [number, number][], floor: number) => Judged };
const { Chance } = (await load('random.mjs')) as { Chance: new (seed: number) => { below(limit: number): number } };

/** Two clients that have begun. */
function owned(): Ownership {
  const ownership = new Ownership();
  ownership.begin('a', 0);
  ownership.begin('b', 0);
  return ownership;
}

describe('who has a 4-tuple', () => {
  test('one after the other', () => {
    const ownership = owned();
    // What b tells comes first.
    ownership.tell('b', 20, [[11, 'open', 't', 'b/1']]);
    ownership.settle();
    ownership.tell('a', 20, [
      [1, 'open', 't', 'a/1'],
      [10, 'close', 't', 'a/1'],
    ]);
    ownership.settle({ finally: true });
    expect(ownership).toMatchObject({ overshadowed: [], flows: 2 });
  });

  test('two at the same time, of one client or of two', () => {
    const ownership = owned();
    ownership.tell('a', 20, [
      [1, 'open', 't', 'a/1'],
      [2, 'open', 't', 'a/2'],
      [3, 'open', 'other', 'a/3'],
    ]);
    ownership.tell('b', 20, [[4, 'open', 'other', 'b/1']]);
    ownership.settle();
    expect(ownership.overshadowed).toEqual(['t: a/2 while a/1 had it', 'other: b/1 while a/3 had it']);
  });

  test('what is for a flow that is there; and for one that has ended', () => {
    const ownership = owned();
    ownership.tell('a', 20, [
      [1, 'open', 't', 'a/1'],
      [2, 'close', 't', 'a/1'],
      [3, 'open', 'other', 'a/2'],
    ]);
    ownership.tell('b', 20, [
      [4, 'open', 't', 'b/1'],
      [5, 'heard', 't', 'b/1', 'a/1'],
      [6, 'heard', 't', 'b/1', 'a/2'],
    ]);
    ownership.settle();
    expect(ownership).toMatchObject({ stale: 1, overshadowed: ['t: b/1 heard what was for a/2'] });
  });

  test('nothing is judged before all have told', () => {
    const ownership = owned();
    ownership.tell('a', 20, [[5, 'open', 't', 'a/1']]);
    ownership.settle();
    expect(ownership.flows).toBe(0);
  });

  test('one that was killed has what it had up to when it told last', () => {
    const ownership = owned();
    ownership.tell('a', 10, [[1, 'open', 't', 'a/1']]);
    ownership.tell('b', 5, []);
    ownership.settle();
    ownership.tell('a', 10, [[9, 'open', 'other', 'a/2']]);
    ownership.kill('a');
    ownership.tell('b', 20, [
      [8, 'open', 't', 'b/1'],
      [11, 'open', 'other', 'b/2'],
    ]);
    ownership.settle();
    expect(ownership.overshadowed).toEqual(['t: b/1 while a/1 had it']);
  });
});

describe('flat', () => {
  const chance = new Chance(7);
  const points = (figure: (time: number) => number): [number, number][] =>
    Array.from({ length: 200 }, (_, time) => [time, figure(time)]);

  test('what goes up and down', () => {
    expect(
      judge(
        points(() => 100 + chance.below(10)),
        0,
      ).flat,
    ).toBe(true);
  });

  test('what has grown at the beginning', () => {
    expect(
      judge(
        points((time) => Math.min(time, 90)),
        0,
      ),
    ).toMatchObject({ flat: true, growth: 0 });
  });

  test('a peak at the end', () => {
    expect(
      judge(
        points((time) => (time > 195 ? 500 : chance.below(3))),
        1,
      ).flat,
    ).toBe(true);
  });

  test('what grows is not', () => {
    expect(
      judge(
        points((time) => time + chance.below(10)),
        1,
      ).flat,
    ).toBe(false);
  });

  test('one descriptor in twenty samples is not', () => {
    expect(
      judge(
        points((time) => 20 + Math.floor(time / 20)),
        0.5,
      ).flat,
    ).toBe(false);
  });

  test('too few points', () => {
    expect(() => judge([[0, 1]], 1)).toThrow('too few');
  });
});
