// For how long a refusal is believed, by a clock that is set by hand.
import { afterEach, expect, test, vi } from 'vitest';
import type { Failure } from '../../src/connect/failure.js';
import type { Native } from '../../src/kernel/addon.js';
import type { Source } from '../../src/source/options.js';
import type { TcpHandle } from '../../src/tcp/core_handle.js';
import { endOfAll, forgetRefusals, recall, type Refusal, type Refused, remember } from '../../src/tcp/refusals.js';

const handle = Object.create({ close: () => undefined, getsockname: () => -1 }) as TcpHandle;
const native = { tcpNamespace: () => 1 } as Native;
const source = { port: 0, range: undefined, extras: null } as Source;
const failure: Failure = { errno: 99, syscall: 'connect', reason: 'ports-exhausted', advice: '' };
const refused = (n: number): Refused => {
  return { native, source, handle, address: `198.51.100.${n}`, port: 80, family: 4, localAddress: '192.0.2.1' };
};

afterEach(() => {
  forgetRefusals();
  vi.restoreAllMocks();
});

/** Each of so many full destinations is tried once a millisecond: how many ms all searches take, and the longest life. */
function offer(destinations: number, cost: number, ms = 10_000): { searched: number; longest: number } {
  // Later in each test, so that what an earlier one has used up is paid.
  let now = (start += 100_000);
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const since = new Map<number, number>();
  let [searched, longest] = [0, 0];
  for (const end = now + ms; now < end; now++) {
    for (let n = 0; n < destinations; n++) {
      if (recall(refused(n), `${n}`) !== undefined) continue;
      longest = Math.max(longest, now - (since.get(n) ?? now));
      since.set(n, now);
      searched += cost;
      remember(refused(n), `${n}`, failure, cost, 0);
    }
  }
  return { searched, longest };
}
let start = 0;

test('one destination with the default range: 25 ms, a twentieth of a processor', () => {
  const { searched, longest } = offer(1, 1.25);
  expect(longest).toBe(25);
  expect(searched).toBeLessThanOrEqual(501.25);
});

test('what costs next to nothing is asked again soon', () => {
  expect(offer(1, 0.1).longest).toBe(4);
});

test('30 destinations, or one that takes as long: a twentieth, after the first answer of each', () => {
  const many = offer(30, 1.25);
  expect(many.searched).toBeLessThanOrEqual(1.1 * 500 + 30 * 1.25);
  expect(many.longest).toBeLessThanOrEqual(1000);
  expect(offer(1, 2.85).searched).toBeLessThanOrEqual(500 + 2.85);
});

test('beyond that, a second', () => {
  expect(offer(200, 1.25, 2500).longest).toBe(1000);
});

test('the sources of a full pool are one answer: it holds for as long as they took together, 25 ms after the first of them', () => {
  let now = (start += 100_000);
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const pool = (cost: number) => {
    const first = now;
    const refusals = Array.from({ length: 8 }, (_, n) => {
      remember(refused(n), `${n}`, failure, cost, 0);
      now += cost;
      return recall(refused(n), `${n}`) as Refusal;
    });
    return endOfAll(refusals) - first;
  };
  expect(pool(0.1)).toBeCloseTo(25);
  now += 1000;
  expect(pool(0.05)).toBeCloseTo(8 * 0.05 * 40);
  now += 1000;
  // Until it is paid for: a twentieth of a processor.
  expect(pool(0.3)).toBeCloseTo((8 * 0.3) / 0.05);
  // But for no longer than a second after the first of them.
  offer(200, 1.25, 1500);
  now = start + 1500;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  expect(pool(1.25)).toBeCloseTo(1000);
});
