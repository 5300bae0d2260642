// What was true a moment ago.
import { expect, test } from 'vitest';
import { ExpiringMap } from '../../src/values/expiring_map';

test('for less than its lifetime from when it was said', () => {
  const map = new ExpiringMap<number>(1000, 256);
  expect(map.get('a', 0)).toBeUndefined();
  map.set('a', 1, 500);
  map.set('b', 2, 900);
  expect([map.get('a', 500), map.get('a', 1499)]).toEqual([1, 1]);
  expect([map.get('a', 1500), map.get('b', 1500)]).toEqual([undefined, 2]);
  map.set('a', 3, 1600);
  expect(map.get('a', 2000)).toBe(3);
  expect(map.has('a', 2600)).toBe(false);
  expect(map.has('b', 2600)).toBe(false);
  expect(map.isEmpty).toBe(true);
});

test('what is said again lives as long again', () => {
  const map = new ExpiringMap<true>(100, 256);
  map.set('a', true, 1000);
  map.set('b', true, 1010);
  map.set('a', true, 1050);
  expect([map.has('a', 1120), map.has('b', 1120), map.count(1120)]).toEqual([true, false, 1]);
});

test('it does not grow beyond its limit, and forgets the oldest', () => {
  const map = new ExpiringMap<number>(1_000_000, 16_384);
  for (let n = 0; n < 50_000; n++) map.set(`${n}`, n, n);
  expect(map.count(50_000)).toBe(16_384);
  expect([map.has('0', 50_000), map.get('49999', 50_000)]).toEqual([false, 49_999]);
});

test('what is said again at the limit takes nothing from the others', () => {
  const map = new ExpiringMap<number>(1000, 256);
  for (let n = 0; n < 256; n++) map.set(`${n}`, n, 0);
  map.set('255', 0, 0);
  expect(map.get('0', 0)).toBe(0);
});

test('a lifetime of 0 keeps nothing', () => {
  const map = new ExpiringMap<number>(0, 256);
  map.set('a', 1, 0);
  expect(map.isEmpty).toBe(true);
});
