// What a pool is for tenants: one source for each key, sources that rest or are paused, and slices of ports. Plain data.
import { type Destination, portSlice, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';

const to = (address: string, port = 443): Destination => ({ address, port, family: address.includes(':') ? 6 : 4 });
const DESTINATION = to('203.0.113.1');
const KEYS = Array.from({ length: 2000 }, (_, n) => `user-${n}`);
const ADDRESSES = Array.from({ length: 8 }, (_, n) => `192.0.2.${n + 1}`);

/** The sources that are tried for one connection, in this order. */
function tried(source: Pick<SourcePool, 'pick'>, destination = DESTINATION): string[] {
  const picker = source.pick(destination, destination.family);
  const addresses: string[] = [];
  for (let chosen = picker.next(); chosen !== undefined; chosen = picker.next()) addresses.push(chosen.ip);
  return addresses;
}

const first = (source: Pick<SourcePool, 'pick'>, destination = DESTINATION) =>
  source.pick(destination, destination.family).next()?.ip;

const error = (code: string) => expect.objectContaining({ code }) as Error;

describe('sticky', () => {
  test('the same source for the same key, whatever the destination, the strategy and the order of the sources', () => {
    const pool = new SourcePool(ADDRESSES, { strategy: 'random' });
    const other = new SourcePool([...ADDRESSES].reverse());
    for (const key of KEYS.slice(0, 200)) {
      const source = first(pool.sticky(key));
      expect(first(pool.sticky(key), to('198.51.100.9', 1))).toBe(source);
      expect(first(other.sticky(key))).toBe(source);
    }
  });

  test('keys spread as the weights say', () => {
    const pool = new SourcePool([{ address: '192.0.2.1', weight: 3 }, '192.0.2.2']);
    const share = KEYS.filter((key) => first(pool.sticky(key)) === '192.0.2.1').length / KEYS.length;
    // 4 standard deviations of 2,000 draws.
    expect(Math.abs(share - 0.75)).toBeLessThan(0.04);
  });

  test('of the sources that come, each takes its share of the keys, and no other key moves', () => {
    const pool = new SourcePool(ADDRESSES);
    const before = KEYS.map((key) => first(pool.sticky(key)));
    pool.add('192.0.2.100');
    const after = KEYS.map((key) => first(pool.sticky(key)));
    const moved = after.filter((source, n) => source !== before[n]);
    expect(new Set(moved)).toEqual(new Set(['192.0.2.100']));
    expect(moved.length / KEYS.length).toBeLessThan(1.5 / 9);
    pool.delete('192.0.2.100');
    expect(KEYS.map((key) => first(pool.sticky(key)))).toEqual(before);
  });

  test('the next one is the same again, and each has all', () => {
    const pool = new SourcePool([...ADDRESSES, '10.0.0.0/30']);
    const order = tried(pool.sticky('alice'));
    expect(tried(pool.sticky('alice'))).toEqual(order);
    expect([...order].sort()).toEqual([...ADDRESSES, '10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3'].sort());
    const [favourite = ''] = order;
    pool.pause(favourite);
    expect(tried(pool.sticky('alice'))).toEqual(order.slice(1));
    pool.resume(favourite);
    expect(tried(pool.sticky('alice'))).toEqual(order);
  });

  test('one address of a block for each key', () => {
    const pool = new SourcePool(['2001:db8::/64']);
    const sources = KEYS.map((key) => first(pool.sticky(key), to('2001:db8:1::1')));
    expect(new Set(sources).size).toBe(KEYS.length);
    expect(KEYS.map((key) => first(pool.sticky(key), to('2001:db8:1::2')))).toEqual(sources);
  });

  test('a key is text', () => {
    expect(() => new SourcePool([]).sticky(7 as unknown as string)).toThrow(error('ERR_INVALID_ARG_TYPE'));
  });
});

describe('rest, pause, resume', () => {
  test('a source that rests is not used, even where there is no other', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2']);
    expect(pool.rest('192.0.2.1', { ms: 60_000 })).toBe(true);
    expect(tried(pool)).toEqual(['192.0.2.2']);
    expect(pool.stats().coolingDown).toBe(1);
    pool.rest('192.0.2.2', { ms: 60_000 });
    expect(tried(pool)).toEqual([]);
    expect(pool.pick(DESTINATION, 4).isHeldBack).toBe(false);
    const picker = pool.pick(DESTINATION, 4);
    picker.next();
    expect(picker.isHeldBack).toBe(true);
    // 0 ms: not any more.
    pool.rest('192.0.2.1', { ms: 0 });
    expect(tried(pool)).toEqual(['192.0.2.1']);
    pool.resume('192.0.2.2');
    expect(tried(pool).sort()).toEqual(['192.0.2.1', '192.0.2.2']);
    expect(pool.stats().coolingDown).toBe(0);
  });

  test('until its time is over', async () => {
    const pool = new SourcePool(['192.0.2.1']);
    pool.rest('192.0.2.1', { ms: 20 });
    expect(tried(pool)).toEqual([]);
    const begun = performance.now();
    while (tried(pool).length === 0 && performance.now() - begun < 5000) await new Promise(setImmediate);
    expect(tried(pool)).toEqual(['192.0.2.1']);
  });

  test.each([
    { destination: { address: '203.0.113.1', port: 443 }, held: [true, false, false] },
    { destination: { address: '203.0.113.1' }, held: [true, true, false] },
    { destination: { address: '::ffff:203.0.113.1', port: 443 }, held: [true, false, false] },
    { destination: undefined, held: [true, true, true] },
  ])('towards $destination', ({ destination, held }) => {
    const pool = new SourcePool(['192.0.2.1']);
    pool.rest('192.0.2.1', { ms: 60_000, destination });
    const ends = [to('203.0.113.1'), to('203.0.113.1', 80), to('203.0.113.2')];
    expect(ends.map((end) => tried(pool, end).length === 0)).toEqual(held);
    expect(pool.resume('192.0.2.1')).toBe(true);
    expect(ends.map((end) => tried(pool, end).length)).toEqual([1, 1, 1]);
  });

  test('an address of a block, and a block with all of it', () => {
    const pool = new SourcePool(['10.0.0.0/30', '2001:DB8::/126']);
    pool.pause('10.0.0.2');
    pool.rest('2001:db8:0::3', { ms: 60_000 });
    expect(tried(pool).sort()).toEqual(['10.0.0.0', '10.0.0.1', '10.0.0.3']);
    expect(tried(pool, to('2001:db8:1::1')).sort()).toEqual(['2001:db8::', '2001:db8::1', '2001:db8::2']);
    pool.pause('10.0.0.0/30');
    expect(pool.stats().sources[0]).toMatchObject({ address: '10.0.0.0/30', paused: true });
    expect(tried(pool)).toEqual([]);
    // What was said of the block and of each address in it.
    pool.resume('10.0.0.0/30');
    expect(tried(pool)).toHaveLength(4);
    expect(pool.stats().sources[0]).not.toHaveProperty('paused');
  });

  test('what the pool does not have is not remembered, and what is deleted is forgotten', () => {
    const pool = new SourcePool(['192.0.2.1']);
    for (const address of ['192.0.2.2', '10.0.0.0/30', '2001:db8::1']) {
      expect(pool.pause(address)).toBe(false);
      expect(pool.rest(address, { ms: 60_000 })).toBe(false);
      expect(pool.resume(address)).toBe(false);
    }
    pool.add('192.0.2.2').pause('192.0.2.1');
    expect(tried(pool)).toEqual(['192.0.2.2']);
    pool.delete('192.0.2.1');
    pool.add('192.0.2.1');
    expect(tried(pool).sort()).toEqual(['192.0.2.1', '192.0.2.2']);
  });

  test('deleting a block leaves alone what was said of an address that is there by itself', () => {
    const pool = new SourcePool(['10.0.0.0/30', '10.0.0.1']);
    pool.pause('10.0.0.1');
    pool.pause('10.0.0.2');
    pool.delete('10.0.0.0/30');
    expect(tried(pool)).toEqual([]);
    pool.add('10.0.0.0/30');
    expect(tried(pool).sort()).toEqual(['10.0.0.0', '10.0.0.2', '10.0.0.3']);
  });

  test('the weight of a source that is paused counts for nothing, and it comes back without a rush', () => {
    const pool = new SourcePool([{ address: '192.0.2.1', weight: 98 }, '192.0.2.2', '192.0.2.3']);
    pool.pause('192.0.2.1');
    const drawn = Array.from({ length: 100 }, () => first(pool));
    expect(drawn.filter((source) => source === '192.0.2.2')).toHaveLength(50);
    expect(pool.stats().sources[0]).toMatchObject({ weight: 98, paused: true });
    pool.resume('192.0.2.1');
    const after = Array.from({ length: 100 }, () => first(pool));
    expect(after.filter((source) => source === '192.0.2.1')).toHaveLength(98);
  });

  test('a strategy of the user’s is not offered it', () => {
    const offered: (readonly string[])[] = [];
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2'], {
      strategy: (candidates) => {
        offered.push(candidates);
        return candidates[0];
      },
    });
    pool.pause('192.0.2.1');
    tried(pool);
    expect(offered).toEqual([['192.0.2.2']]);
  });

  test('a hundred thousand rests do not stay', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2']);
    for (let n = 0; n < 100_000; n++) {
      pool.rest('192.0.2.1', { ms: 60_000, destination: { address: '203.0.113.1', port: 1 + (n % 65_000) } });
      pool.rest('192.0.2.2', { ms: 60_000, destination: { address: '203.0.113.2', port: 1 + (n % 65_000) } });
    }
    expect(pool.stats().coolingDown).toBe(65_536);
  });

  test.each<[method: 'rest' | 'pause' | 'resume', args: unknown[], code: string]>([
    ['pause', [7], 'ERR_INVALID_ARG_TYPE'],
    ['pause', ['nonsense'], 'ERR_INVALID_IP_ADDRESS'],
    ['resume', [undefined], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1'], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', null], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', {}], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', { ms: -1 }], 'ERR_OUT_OF_RANGE'],
    ['rest', ['192.0.2.1', { ms: Number.NaN }], 'ERR_OUT_OF_RANGE'],
    ['rest', ['192.0.2.1', { ms: Infinity }], 'ERR_OUT_OF_RANGE'],
    ['rest', ['192.0.2.1', { ms: 1, destination: '203.0.113.1' }], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', { ms: 1, destination: { address: 7 } }], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', { ms: 1, destination: { address: 'example.org' } }], 'ERR_INVALID_IP_ADDRESS'],
    ['rest', ['192.0.2.1', { ms: 1, destination: { address: '::1', port: '1' } }], 'ERR_INVALID_ARG_TYPE'],
    ['rest', ['192.0.2.1', { ms: 1, destination: { address: '::1', port: 0 } }], 'ERR_SOCKET_BAD_PORT'],
  ])('%s(...%o) throws %s', (method, args, code) => {
    const pool = new SourcePool(['192.0.2.1']) as unknown as Record<string, (...args: unknown[]) => unknown>;
    expect(() => pool[method]?.(...args)).toThrow(error(code));
  });
});

describe('slices', () => {
  test('31 of 2,048 ports, next to each other', () => {
    const slices = Array.from({ length: 31 }, (_, index) => portSlice({ index, of: 31, range: [2048, 65535] }));
    for (const [n, [low, high]] of slices.entries()) {
      expect(high - low + 1).toBe(2048);
      expect(low).toBe(n === 0 ? 2048 : (slices[n - 1]?.[1] ?? 0) + 1);
    }
    expect(slices.at(-1)).toEqual([63488, 65535]);
  });

  test('equal ones: what is left over belongs to none', () => {
    expect([0, 1, 2].map((index) => portSlice({ index, of: 3, range: [1, 11] }))).toEqual([
      [1, 3],
      [4, 6],
      [7, 9],
    ]);
    expect(portSlice({ index: 0, of: 1, range: [7, 7] })).toEqual([7, 7]);
  });

  test.each<[unknown, string]>([
    [undefined, 'ERR_INVALID_ARG_TYPE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [{ of: 2 }, 'ERR_INVALID_ARG_TYPE'],
    [{ index: '0', of: 2 }, 'ERR_INVALID_ARG_TYPE'],
    [{ index: 0, of: '2' }, 'ERR_INVALID_ARG_TYPE'],
    [{ index: 2, of: 2, range: [1, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: -1, of: 2, range: [1, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: 0.5, of: 2, range: [1, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: 0, of: 0, range: [1, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: 0, of: 11, range: [1, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: 0, of: 1, range: [0, 10] }, 'ERR_OUT_OF_RANGE'],
    [{ index: 0, of: 1, range: [2, 1] }, 'ERR_INVALID_ARG_VALUE'],
    [{ index: 0, of: 1, range: 7 }, 'ERR_INVALID_ARG_TYPE'],
  ])('portSlice(%o) throws %s', (options, code) => {
    expect(() => portSlice(options as Parameters<typeof portSlice>[0])).toThrow(error(code));
  });

  test('a member has its slice, until it is added with another one', () => {
    const pool = new SourcePool([{ address: '192.0.2.1', ports: [2048, 4095] }, '192.0.2.2']);
    const picker = pool.pick(DESTINATION, 4);
    expect([picker.next()?.ip, picker.ports]).toEqual(['192.0.2.1', { low: 2048, high: 4095 }]);
    expect([picker.next()?.ip, picker.ports]).toEqual(['192.0.2.2', undefined]);
    expect(pool.stats().sources.map(({ ports }) => ports)).toEqual([[2048, 4095], undefined]);
    pool.add({ address: '192.0.2.1', ports: [4096, 4096], weight: 2 });
    expect(pool.stats().sources[0]).toMatchObject({ ports: [4096, 4096], weight: 2 });
    pool.add('192.0.2.1');
    expect(pool.stats().sources[0]).toEqual(pool.stats().sources[0]);
    expect(pool.stats().sources[0]).not.toHaveProperty('ports');
  });

  test('with other ports a source that was exhausted is as good as any', () => {
    const pool = new SourcePool([{ address: '192.0.2.1', ports: [1, 2] }, '192.0.2.2'], {
      strategy: (candidates) => candidates[0],
    });
    const picker = pool.pick(DESTINATION, 4);
    picker.next();
    picker.failed('exhausted');
    expect(first(pool)).toBe('192.0.2.2');
    pool.add({ address: '192.0.2.1', ports: [1, 2] });
    expect(first(pool)).toBe('192.0.2.2');
    pool.add({ address: '192.0.2.1', ports: [3, 4] });
    expect(first(pool)).toBe('192.0.2.1');
  });

  test.each<[unknown, string]>([
    [7, 'ERR_INVALID_ARG_TYPE'],
    [[1], 'ERR_INVALID_ARG_VALUE'],
    [[2, 1], 'ERR_INVALID_ARG_VALUE'],
    [[0, 1], 'ERR_OUT_OF_RANGE'],
    [[1, 65536], 'ERR_OUT_OF_RANGE'],
  ])('ports: %o throws %s', (ports, code) => {
    const source = { address: '192.0.2.1', ports: ports as [number, number] };
    expect(() => new SourcePool([source])).toThrow(error(code));
  });
});
