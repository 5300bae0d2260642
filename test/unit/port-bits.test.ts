// Ports as bits, beside a Set of them.
import { expect, test } from 'vitest';
import { clearBit, countBits, hasBit, noPorts, portsIn, rangeBits, setBit } from '../../src/values/port_bits.js';
import { seeded } from '../helpers/bytes.js';

test('bits are set, cleared, told and counted as a Set has them', () => {
  const random = seeded(1);
  const bits = noPorts();
  const ports = new Set<number>();
  for (const port of [0, 31, 32, 65_535]) {
    setBit(bits, port);
    ports.add(port);
  }
  for (let n = 0; n < 2000; n++) {
    const port = Math.floor(random() * 65_536);
    if (random() < 0.7) {
      setBit(bits, port);
      ports.add(port);
    } else {
      clearBit(bits, port);
      ports.delete(port);
    }
    expect(hasBit(bits, port)).toBe(ports.has(port));
  }
  expect(portsIn(bits)).toEqual([...ports].sort((a, b) => a - b));
  expect(bits.reduce((sum, word) => sum + countBits(word), 0)).toBe(ports.size);
  expect([0, 1, 0x8000_0000, 0xffff_ffff].map(countBits)).toEqual([0, 1, 1, 32]);
});

test.each([
  [1, 65_535],
  [1, 1],
  [65_535, 65_535],
  [31, 32],
  [32, 63],
  [33, 62],
  [31, 64],
  [20_000, 29_999],
  [32_768, 60_999],
])('the range %i to %i has each of its ports, and no other', (low, high) => {
  expect(portsIn(rangeBits(low, high))).toEqual(Array.from({ length: high - low + 1 }, (_, n) => low + n));
});
