// When is the kernel told not to search by parity?
import { expect, test } from 'vitest';
import { Crowding } from '../../src/kernel/crowding';

const QUICK = 0.02;
const SLOW = 0.3;

/** Connects that take as long as given, without the option and with it; how many of them had it. */
function connects(crowding: Crowding, times: number, without: number, with_: number): number {
  let told = 0;
  for (let n = 0; n < times; n++) {
    const isTold = crowding.take();
    if (isTold) told++;
    if (crowding.watches(isTold)) crowding.took(isTold ? with_ : without);
  }
  return told;
}

test('nothing is said where connect(2) is quick', () => {
  expect(connects(new Crowding(), 10_000, QUICK, QUICK)).toBe(0);
});

test('where it is slow, fewer than one of a thousand is', () => {
  const told = connects(new Crowding(), 100_000, SLOW, QUICK);
  expect(100_000 - told).toBeGreaterThan(1);
  expect(100_000 - told).toBeLessThan(100);
});

test('also where most destinations have room', () => {
  const crowding = new Crowding();
  let slow = 0;
  for (let n = 0; n < 100_000; n++) {
    // Every fifth connect is to one that has none.
    const isTold = crowding.take();
    if (n % 5 === 0 && !isTold) slow++;
    if (crowding.watches(isTold)) crowding.took(n % 5 === 0 && !isTold ? SLOW : QUICK);
  }
  expect(slow).toBeLessThan(200);
});

test('one that is slow by accident now and then says nothing', () => {
  const crowding = new Crowding();
  let told = 0;
  for (let n = 0; n < 100_000; n++) {
    const isTold = crowding.take();
    if (isTold) told++;
    if (crowding.watches(isTold)) crowding.took(n % 50 === 0 ? SLOW : QUICK);
  }
  expect(told).toBe(0);
});

test('when it is quick again, nothing is said any more', () => {
  const crowding = new Crowding();
  connects(crowding, 100, SLOW, QUICK);
  expect(connects(crowding, 10_000, QUICK, QUICK)).toBeGreaterThan(0);
  expect(connects(crowding, 10_000, QUICK, QUICK)).toBe(0);
});

test('where it is slow either way, hardly ever', () => {
  const told = connects(new Crowding(), 10_000, SLOW, SLOW);
  expect(told).toBeGreaterThan(1);
  expect(told).toBeLessThan(200);
});

test('where it was slow either way, and then helps', () => {
  const crowding = new Crowding();
  connects(crowding, 1000, SLOW, SLOW);
  expect(connects(crowding, 10_000, SLOW, QUICK)).toBeGreaterThan(9700);
});

test('while nothing is suspected, hardly any is timed', () => {
  const crowding = new Crowding();
  let watched = 0;
  for (let n = 0; n < 80_000; n++) {
    if (!crowding.watches(crowding.take())) continue;
    watched++;
    crowding.took(QUICK);
  }
  expect(watched).toBeGreaterThan(9000);
  expect(watched).toBeLessThan(11_000);
});

test('where it is slow, that is found out within a few connects', () => {
  for (let round = 0; round < 100; round++) {
    const crowding = new Crowding();
    expect(connects(crowding, 20, SLOW, QUICK)).toBeGreaterThan(0);
  }
});
