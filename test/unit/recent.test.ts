// What was true a moment ago.
import { expect, test } from 'vitest';
import { Recent } from '../../src/values/recent';

test('for less than a second from when it was said', () => {
  const recent = new Recent<number>();
  expect(recent.get('a', 0)).toBeUndefined();
  recent.set('a', 1, 500);
  recent.set('b', 2, 900);
  expect([recent.get('a', 500), recent.get('a', 1499)]).toEqual([1, 1]);
  expect([recent.get('a', 1500), recent.get('b', 1500)]).toEqual([undefined, 2]);
  recent.set('a', 3, 1600);
  expect(recent.get('a', 2000)).toBe(3);
});

test('it does not grow', () => {
  const recent = new Recent<number>();
  let known = 0;
  for (let n = 0; n < 10_000; n++) recent.set(`${n}`, n, 0);
  for (let n = 0; n < 10_000; n++) if (recent.get(`${n}`, 0) !== undefined) known++;
  expect(known).toBeGreaterThan(0);
  expect(known).toBeLessThanOrEqual(256);
  expect(recent.get('9999', 0)).toBe(9999);
});

test('what is said again takes nothing from the others', () => {
  const recent = new Recent<number>();
  for (let n = 0; n < 256; n++) recent.set(`${n}`, n, 0);
  recent.set('255', 0, 0);
  expect(recent.get('0', 0)).toBe(0);
});
