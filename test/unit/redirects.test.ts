// When is the kernel asked whether a connect has led to where it was asked to?
import { expect, test } from 'vitest';
import { Redirects } from '../../src/connect/redirects';

test('of each destination once', () => {
  const redirects = new Redirects();
  expect(redirects.mustAsk('192.0.2.1', 80)).toBe(true);
  redirects.wasAsAsked('192.0.2.1', 80);
  expect(redirects.mustAsk('192.0.2.1', 80)).toBe(false);
  expect(redirects.mustAsk('192.0.2.1', 81)).toBe(true);
  expect(redirects.mustAsk('192.0.2.2', 80)).toBe(true);
});

test('of all as soon as one was rewritten', () => {
  const redirects = new Redirects();
  redirects.wasAsAsked('192.0.2.1', 80);
  redirects.wasRewritten();
  redirects.wasAsAsked('192.0.2.1', 80);
  expect(redirects.mustAsk('192.0.2.1', 80)).toBe(true);
});

test('of some where there are thousands and none is rewritten', () => {
  const redirects = new Redirects();
  const destinations = Array.from({ length: 10_000 }, (_, n) => [`10.0.${n >> 8}.${n & 255}`, 80] as const);
  let asked = 0;
  for (const [address, port] of destinations) {
    if (!redirects.mustAsk(address, port)) continue;
    asked++;
    redirects.wasAsAsked(address, port);
  }
  expect(asked).toBeGreaterThan(256);
  expect(asked).toBeLessThan(10_000 / 8);
});
