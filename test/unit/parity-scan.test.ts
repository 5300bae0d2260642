// When is connect(2) told not to search for a port by parity?
import { expect, test } from 'vitest';
import { ParityScan } from '../../src/kernel/parity_scan';

const LOW = 32768;
const [FEW_TAKEN, HALF_TAKEN] = [LOW + 100, LOW + 101];

/** So many connects; `port` is what the kernel assigns while it searches by parity. How many were told not to, and how many were asked. */
function connects(scan: ParityScan, times: number, port: (n: number) => number): { told: number; asked: number } {
  let told = 0;
  let asked = 0;
  for (let n = 0; n < times; n++) {
    if (scan.take()) told++;
    else if (scan.wantsPort()) {
      asked++;
      scan.saw(port(n), LOW);
    }
  }
  return { told, asked };
}

test('not while ports of the parity of the low end are left, and few connects are asked', () => {
  const { told, asked } = connects(new ParityScan(), 80_000, () => FEW_TAKEN);
  expect(told).toBe(0);
  expect(asked).toBeGreaterThan(4_000);
  expect(asked).toBeLessThan(6_500);
});

test('nearly always as soon as they are all taken', () => {
  expect(connects(new ParityScan(), 100_000, () => HALF_TAKEN).told).toBeGreaterThan(99_900);
});

test('soon, where every eighth connect leads to a destination that has few ports left', () => {
  const { told } = connects(new ParityScan(), 100_000, (n) => (n % 8 === 0 ? HALF_TAKEN : FEW_TAKEN));
  expect(told).toBeGreaterThan(90_000);
});

test('not for long when there are ports again', () => {
  const scan = new ParityScan();
  connects(scan, 100, () => HALF_TAKEN);
  expect(connects(scan, 10_000, () => FEW_TAKEN).told).toBeLessThan(2_100);
  expect(connects(scan, 10_000, () => FEW_TAKEN).told).toBe(0);
});

test('whatever the parity of the low end is', () => {
  const scan = new ParityScan();
  scan.saw(32769, 32769);
  expect(scan.take()).toBe(false);
  scan.saw(32770, 32769);
  expect(scan.take()).toBe(true);
});
