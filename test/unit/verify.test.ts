// When does the kernel have to be asked where a connection comes from?
import { describe, expect, test } from 'vitest';
import type { Family } from '../../src/values/address';
import { hasKept, mayDiffer } from '../../src/tcp/verify';
import type { Native } from '../../src/kernel/addon';
import type { Technique } from '../../src/tcp/port_plan';
import { readSource, type SourceOptions } from '../../src/source/options';

const ASSIGN: Technique = { kind: 'assign', range: undefined };

let reads = 0;
const native = (range: string | number) =>
  ({
    readFile: () => {
      reads++;
      return range;
    },
  }) as unknown as Native;

interface Case {
  options?: SourceOptions;
  technique?: Technique;
  range?: string | number;
  from?: string | null;
  to?: string;
  port?: number;
}

// Every test has a second of its own, for what is remembered is remembered by the module.
let clock = 0;
function at(time: number, of: Case): boolean {
  const { options = {}, technique = ASSIGN, range = '32768 60999', from = null, to = '192.0.2.1', port = 443 } = of;
  const family: Family = to.includes(':') ? 6 : 4;
  return mayDiffer(native(range), readSource(options), technique, from, { address: to, port, family }, time);
}
function kept(time: number, from: string, options: SourceOptions = {}): void {
  hasKept(readSource(options), from, time);
}
function later(): number {
  clock += 10_000;
  return clock;
}

describe('a source that was kept a moment ago', () => {
  test.each([
    { from: '192.0.2.7', to: '192.0.2.1' },
    { from: '2001:db8::7', to: '2001:db8::1' },
    { from: '2001:db8::17', to: '2001:db8::27' },
    { from: '2001:db8::', to: '2001:db8::1' },
    { from: 'fe80::7%eth0', to: 'fe80::1%eth0' },
    { from: '::ffff:192.0.2.7', to: '::ffff:192.0.2.1' },
  ])('$from, towards $to: certain, for a second', ({ from, to }) => {
    const now = later();
    expect(at(now, { from, to })).toBe(true);
    kept(now, from);
    expect(at(now, { from, to })).toBe(false);
    expect(at(now + 999, { from, to })).toBe(false);
    expect(at(now + 1000, { from, to })).toBe(true);
  });

  test.each([
    { from: '192.0.2.7', to: '192.0.2.7' },
    { from: '2001:db8::7', to: '2001:db8::7' },
    { from: '2001:db8::7', to: '2001:DB8:0:0:0::7' },
    { from: '2001:db8::a', to: '2001:DB8::A' },
    { from: '::ffff:192.0.2.10', to: '::ffff:c000:20a' },
    { from: '2001:db8::', to: '2001:db8:0:0::0' },
    { from: 'fe80::7%1', to: 'fe80::7%eth0' },
    { from: '::ffff:192.0.2.7', to: '::FFFF:c000:207' },
  ])('$from, towards $to, itself: never', ({ from, to }) => {
    const now = later();
    kept(now, from);
    expect(at(now, { from, to })).toBe(true);
  });

  test.each<{ what: string; options: SourceOptions; technique?: Technique }>([
    { what: 'a port', options: { localPort: 5000 } },
    { what: 'a range', options: { localPortRange: [5000, 6000] } },
    { what: 'a device', options: { interface: 'lo' } },
    { what: 'a socket option', options: { socketOptions: [{ level: 1, name: 2, value: 3 }] } },
    { what: 'freeBind', options: { freeBind: true } },
    {
      what: 'a port that was searched',
      options: {},
      technique: { kind: 'search', ranges: [], reserved: () => [], fromOnePort: false },
    },
  ])('with $what: never', ({ options, technique }) => {
    const now = later();
    kept(now, '192.0.2.7');
    kept(now, '192.0.2.8', options);
    expect(at(now, { from: '192.0.2.7', options, ...(technique && { technique }) })).toBe(true);
    // And with options it says nothing about the same source without them.
    if (options.interface !== undefined) expect(at(now, { from: '192.0.2.8' })).toBe(true);
  });
});

describe('no source', () => {
  test('certain outside of the ephemeral range, which is read once a second', () => {
    const now = later();
    reads = 0;
    expect([32767, 32768, 60999, 61000].map((port) => at(now, { port }))).toEqual([false, true, true, false]);
    expect(reads).toBe(1);
    expect(at(now + 999, { port: 500, range: '400 600' })).toBe(false);
    expect(at(now + 1000, { port: 500, range: '400 600' })).toBe(true);
    expect(reads).toBe(2);
  });

  test('never where the range cannot be read', () => {
    const now = later();
    expect(at(now, { port: 80, range: -2 })).toBe(true);
    expect(at(now, { port: 80, range: 'what?' })).toBe(true);
    expect(at(now, { port: 80 })).toBe(false);
  });
});
