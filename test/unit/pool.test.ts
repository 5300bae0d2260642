// Source pools as plain data: blocks, shares, and which source comes next.
import { type Destination, SourcePool, type SourcePoolOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { Block, blocksBetween } from '../../src/values/cidr';

const to = (address: string, port = 443): Destination => ({ address, port, family: address.includes(':') ? 6 : 4 });

/** The first source for each of so many connections, none of which fails, and none of which is closed unless `close` says so. */
function draw(pool: SourcePool, times: number, destination: (n: number) => Destination, close = true): string[] {
  return Array.from({ length: times }, (_, n) => {
    const picker = pool.pick(destination(n), destination(n).family);
    const address = picker.next()?.ip ?? '';
    const lease = picker.lease();
    if (close) lease?.release();
    return address;
  });
}

function countOf(drawn: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const one of drawn) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
}

describe('blocks', () => {
  test.each([
    ['192.0.2.7', 1, '192.0.2.7', '192.0.2.7'],
    ['192.0.2.7/32', 1, '192.0.2.7', '192.0.2.7'],
    ['10.0.1.0/28', 16, '10.0.1.0', '10.0.1.15'],
    ['128.0.0.0/1', 2 ** 31, '128.0.0.0', '255.255.255.255'],
    ['2001:db8::/64', 2 ** 64, '2001:db8::', '2001:db8::ffff:ffff:ffff:ffff'],
    ['2001:db8::7/128', 1, '2001:db8::7', '2001:db8::7'],
    ['2001:db8:0:0:0:0:0:4/126', 4, '2001:db8::4', '2001:db8::7'],
    ['::ffff:192.0.2.7', 1, '192.0.2.7', '192.0.2.7'],
  ])('%s has %d addresses, from %s to %s', (text, size, first, last) => {
    const block = Block.parse(text);
    expect(block.size).toBe(size);
    expect([block.at(0n), block.at(-1n)]).toEqual([first, last]);
    for (const [address, offset] of [
      [first, 0n],
      [last, BigInt(size) - 1n],
    ] as const) {
      expect(block.offsetOf(address)).toBe(offset);
    }
    expect(block.offsetOf(block.at(block.anywhere(Math.random)))).toBeDefined();
  });

  test('nothing outside is in it', () => {
    const block = Block.parse('10.0.1.16/28');
    expect(['10.0.1.15', '10.0.1.32', '::1', 'nonsense', ''].map((one) => block.offsetOf(one))).toEqual(
      Array.from({ length: 5 }, () => undefined),
    );
  });

  test('anywhere reaches all of it', () => {
    const block = Block.parse('2001:db8::/124');
    const seen = new Set(Array.from({ length: 1000 }, () => block.anywhere(Math.random)));
    expect(seen.size).toBe(16);
    expect(Block.parse('2001::/16').anywhere(() => 0.999_999_999_9)).toBe(2n ** 112n - 1n);
  });

  test.each([
    ['nonsense', 'ERR_INVALID_IP_ADDRESS'],
    ['', 'ERR_INVALID_IP_ADDRESS'],
    ['10.0.0.0/', 'ERR_INVALID_ARG_VALUE'],
    ['10.0.0.0/33', 'ERR_INVALID_ARG_VALUE'],
    ['10.0.0.0/-1', 'ERR_INVALID_ARG_VALUE'],
    ['10.0.0.0/8.0', 'ERR_INVALID_ARG_VALUE'],
    ['10.0.0.1/8', 'ERR_INVALID_ARG_VALUE'],
    ['2001:db8::/129', 'ERR_INVALID_ARG_VALUE'],
    ['2001:db8::1/64', 'ERR_INVALID_ARG_VALUE'],
    ['fe80::1%lo/128', 'ERR_INVALID_ARG_VALUE'],
    ['0.0.0.0/0', 'ERR_INVALID_ARG_VALUE'],
    ['::/0', 'ERR_INVALID_ARG_VALUE'],
    ['224.0.0.1', 'ERR_INVALID_ARG_VALUE'],
    ['255.255.255.255', 'ERR_INVALID_ARG_VALUE'],
  ])('%s is refused with %s', (text, code) => {
    expect(() => Block.parse(text)).toThrow(expect.objectContaining({ code }));
  });
});

describe('bad arguments', () => {
  test.each<[unknown[], string]>([
    [[], 'ERR_INVALID_ARG_TYPE'],
    [[null], 'ERR_INVALID_ARG_TYPE'],
    [['192.0.2.7'], 'ERR_INVALID_ARG_TYPE'],
    [[[7]], 'ERR_INVALID_ARG_TYPE'],
    [[[{}]], 'ERR_INVALID_ARG_TYPE'],
    [[[null]], 'ERR_INVALID_ARG_TYPE'],
    [[['nonsense']], 'ERR_INVALID_IP_ADDRESS'],
    [[[{ address: '192.0.2.7', weight: '1' }]], 'ERR_INVALID_ARG_TYPE'],
    [[[{ address: '192.0.2.7', weight: 0 }]], 'ERR_OUT_OF_RANGE'],
    [[[{ address: '192.0.2.7', weight: Number.NaN }]], 'ERR_OUT_OF_RANGE'],
    [[[{ address: '192.0.2.7', weight: Infinity }]], 'ERR_OUT_OF_RANGE'],
    [[[], null], 'ERR_INVALID_ARG_TYPE'],
    [[[], { strategy: 'fastest' }], 'ERR_INVALID_ARG_VALUE'],
    [[[], { strategy: 'toString' }], 'ERR_INVALID_ARG_VALUE'],
    [[[], { strategy: 7 }], 'ERR_INVALID_ARG_TYPE'],
    [[[], { cooldown: '1' }], 'ERR_INVALID_ARG_TYPE'],
    [[[], { cooldown: -1 }], 'ERR_OUT_OF_RANGE'],
    [[[], { cooldown: Number.NaN }], 'ERR_OUT_OF_RANGE'],
  ])('new SourcePool(...%o) throws %s', (args, code) => {
    const make = SourcePool as unknown as new (...args: unknown[]) => SourcePool;
    expect(() => new make(...args)).toThrow(expect.objectContaining({ code }));
  });

  test('delete takes text', () => {
    const pool = new SourcePool(['192.0.2.7']);
    expect(() => pool.delete(7 as unknown as string)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
    expect(() => pool.delete('nonsense')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_IP_ADDRESS' }));
  });
});

describe('shares', () => {
  const weighted = [
    { address: '192.0.2.1', weight: 1 },
    { address: '192.0.2.2', weight: 3 },
    { address: '192.0.2.3', weight: 6 },
  ];
  const expected = { '192.0.2.1': 1, '192.0.2.2': 3, '192.0.2.3': 6 };

  test('round-robin: exact, and spread', () => {
    const drawn = draw(new SourcePool(weighted), 10, () => to('203.0.113.1'));
    expect(countOf(drawn)).toEqual(expected);
    // Never more than twice in a row what comes six times in ten.
    expect(drawn.join(' ')).not.toMatch(/(192\.0\.2\.3 ?){3}/);
  });

  test('round-robin without weights: in order, again and again', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
    const drawn = draw(pool, 6, () => to('203.0.113.1'));
    expect(drawn.slice(0, 3)).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
    expect(drawn.slice(3)).toEqual(drawn.slice(0, 3));
  });

  test('round-robin goes through a block address by address', () => {
    const pool = new SourcePool(['10.0.1.0/28']);
    expect(countOf(draw(pool, 32, () => to('203.0.113.1')))).toEqual(
      Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`10.0.1.${n}`, 2])),
    );
  });

  test('every address counts the same, in a block or not', () => {
    const drawn = countOf(
      draw(new SourcePool(['10.0.1.0/29', '192.0.2.1', '192.0.2.2']), 1000, () => to('203.0.113.1')),
    );
    expect(new Set(Object.values(drawn))).toEqual(new Set([100]));
  });

  // A share of p in n draws is off by 5 standard deviations once in two million.
  function isNear(count: number, share: number, draws: number): void {
    expect(Math.abs(count - draws * share)).toBeLessThan(5 * Math.sqrt(draws * share * (1 - share)));
  }

  test('random: as the weights say', () => {
    const drawn = countOf(draw(new SourcePool(weighted, { strategy: 'random' }), 20_000, () => to('203.0.113.1')));
    for (const [address, weight] of Object.entries(expected)) isNear(drawn[address] ?? 0, weight / 10, 20_000);
  });

  test('random: evenly within a block', () => {
    const drawn = countOf(
      draw(new SourcePool(['10.0.1.0/28'], { strategy: 'random' }), 16_000, () => to('203.0.113.1')),
    );
    for (let n = 0; n < 16; n++) isNear(drawn[`10.0.1.${n}`] ?? 0, 1 / 16, 16_000);
  });

  test('random: a /64 gives another address each time', () => {
    const drawn = draw(new SourcePool(['2001:db8::/64'], { strategy: 'random' }), 1000, () => to('2001:db8:1::1'));
    expect(new Set(drawn).size).toBe(1000);
  });

  test('sticky: the same for each destination, over destinations as the weights say', () => {
    const pool = new SourcePool(weighted, { strategy: 'sticky' });
    const destination = (n: number) => to(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);
    const drawn = draw(pool, 20_000, destination);
    for (const [address, weight] of Object.entries(expected)) isNear(countOf(drawn)[address] ?? 0, weight / 10, 20_000);
    expect(draw(pool, 20_000, destination)).toEqual(drawn);
    // Whatever the order in which they were given.
    expect(draw(new SourcePool([...weighted].reverse(), { strategy: 'sticky' }), 20_000, destination)).toEqual(drawn);
  });

  test('sticky: when a source goes, only its own destinations move', () => {
    const pool = new SourcePool(weighted, { strategy: 'sticky' });
    const destination = (n: number) => to(`10.0.${n >> 8}.${n & 255}`);
    const before = draw(pool, 1000, destination);
    pool.delete('192.0.2.2');
    const after = draw(pool, 1000, destination);
    for (let n = 0; n < 1000; n++) {
      if (before[n] !== '192.0.2.2') expect(after[n]).toBe(before[n]);
      else expect(after[n]).not.toBe('192.0.2.2');
    }
  });

  test('sticky within a block: evenly, and the same again', () => {
    const pool = new SourcePool(['2001:db8::/124'], { strategy: 'sticky' });
    const destination = (n: number) => to(`2001:db8:1::${n.toString(16)}`);
    const drawn = draw(pool, 16_000, destination);
    expect(draw(pool, 16_000, destination)).toEqual(drawn);
    for (const count of Object.values(countOf(drawn))) isNear(count, 1 / 16, 16_000);
  });

  test('least-used: towards the destination first, then in all', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2', '192.0.2.3'], { strategy: 'least-used' });
    const [first = ''] = draw(pool, 1, () => to('203.0.113.1'), false);
    // To another destination its ports are all free, but the others have less to do.
    const next = draw(pool, 2, (n) => to(`203.0.113.${n + 2}`), false);
    expect(new Set([first, ...next]).size).toBe(3);
    const open = countOf(draw(pool, 297, () => to('203.0.113.1'), false));
    expect(Object.values(open).sort()).toEqual([99, 99, 99]);
  });

  test('least-used: by weight', () => {
    const pool = new SourcePool(weighted, { strategy: 'least-used' });
    const open = countOf(draw(pool, 1000, () => to('203.0.113.1'), false));
    expect(open).toEqual({ '192.0.2.1': 100, '192.0.2.2': 300, '192.0.2.3': 600 });
  });

  test('least-used: all of a small block, and some of a large one', () => {
    const small = new SourcePool(['10.0.1.0/28'], { strategy: 'least-used' });
    expect(new Set(Object.values(countOf(draw(small, 160, () => to('203.0.113.1'), false))))).toEqual(new Set([10]));
    const large = new SourcePool(['2001:db8::/64'], { strategy: 'least-used' });
    expect(new Set(draw(large, 500, () => to('2001:db8:1::1'), false)).size).toBe(500);
  });

  test('a function chooses: one of the candidates or an address of a block', () => {
    const asked: unknown[] = [];
    const pool = new SourcePool(['192.0.2.1', '10.0.1.0/28', '2001:db8::1'], {
      strategy: (candidates, destination) => {
        asked.push([candidates, destination]);
        return asked.length === 1 ? '10.0.1.9' : '192.0.2.1';
      },
    });
    expect(draw(pool, 2, () => to('203.0.113.1'))).toEqual(['10.0.1.9', '192.0.2.1']);
    expect(asked[0]).toEqual([['192.0.2.1', '10.0.1.0/28'], to('203.0.113.1')]);
  });

  test.each([
    ['198.51.100.1', 'ERR_INVALID_ARG_VALUE'],
    [7, 'ERR_INVALID_ARG_TYPE'],
  ])('a function that chooses %s is told so', (answer, code) => {
    const strategy = (() => answer) as unknown as NonNullable<SourcePoolOptions['strategy']>;
    const pool = new SourcePool(['192.0.2.1'], { strategy });
    expect(() => pool.pick(to('203.0.113.1'), 4).next()).toThrow(expect.objectContaining({ code }));
  });
});

describe('one after the other', () => {
  const pool = (options?: SourcePoolOptions) => new SourcePool(['192.0.2.1', '192.0.2.2', '192.0.2.3'], options);
  const all = (picker: { next(): { ip: string } | undefined; failed(fault: 'exhausted'): void }) => {
    const given: string[] = [];
    for (let one = picker.next(); one !== undefined; one = picker.next()) {
      given.push(one.ip);
      picker.failed('exhausted');
    }
    return given;
  };

  test.each(['round-robin', 'random', 'least-used', 'sticky'] as const)('%s: each source once', (strategy) => {
    for (let n = 0; n < 20; n++) {
      const given = all(pool({ strategy }).pick(to('203.0.113.1'), 4));
      expect([...given].sort()).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
    }
  });

  test('each address of a small block, once', () => {
    const given = all(new SourcePool(['10.0.1.0/28', '10.0.1.3']).pick(to('203.0.113.1'), 4));
    expect(new Set(given).size).toBe(16);
    expect(given).toHaveLength(16);
  });

  test('of a huge block there is an end', () => {
    const given = all(new SourcePool(['2001:db8::/64']).pick(to('2001:db8:1::1'), 6));
    expect(given).toHaveLength(1024);
    expect(new Set(given).size).toBe(1024);
  });

  test('what rests comes last, and only towards this destination', () => {
    const three = pool();
    const picker = three.pick(to('203.0.113.1'), 4);
    picker.next();
    picker.failed('exhausted');
    expect(three.stats().coolingDown).toBe(1);
    for (let n = 0; n < 6; n++) {
      const given = all(three.pick(to('203.0.113.2', 1000 + n), 4));
      expect(given).toHaveLength(3);
    }
    const given = [
      three.pick(to('203.0.113.1'), 4),
      three.pick(to('203.0.113.1'), 4),
      three.pick(to('203.0.113.1'), 4),
    ];
    expect(given.map((one) => one.next()?.ip)).not.toContain('192.0.2.1');
    const last = all(three.pick(to('203.0.113.1'), 4));
    expect(last.at(-1)).toBe('192.0.2.1');
  });

  test('an address that is not here rests altogether, until it is used again', () => {
    const three = pool();
    const picker = three.pick(to('203.0.113.1'), 4);
    picker.next();
    picker.failed('not-local');
    expect(all(three.pick(to('203.0.113.9'), 4)).at(-1)).toBe('192.0.2.1');
    const again = three.pick(to('203.0.113.10'), 4);
    while (again.next()?.ip !== '192.0.2.1') again.failed('other');
    again.lease();
    expect(three.stats().sources[0]).toMatchObject({ unusable: 1, connections: 1, inUse: 1 });
    expect(draw(three, 3, () => to('203.0.113.11'))).toContain('192.0.2.1');
  });

  test('no cool-down', () => {
    const three = pool({ cooldown: 0 });
    const picker = three.pick(to('203.0.113.1'), 4);
    picker.next();
    picker.failed('exhausted');
    expect(three.stats().coolingDown).toBe(0);
  });
});

test('add, delete, size, stats', () => {
  const pool = new SourcePool(['192.0.2.1', '192.0.2.2']);
  expect(pool.add({ address: '10.0.1.0/28', weight: 2 }).size).toBe(3);
  expect(pool.add({ address: '192.0.2.1', weight: 5 }).size).toBe(3);
  expect(pool.delete('192.0.2.2')).toBe(true);
  expect(pool.delete('192.0.2.2')).toBe(false);
  expect(pool.delete('10.0.1.4')).toBe(false);
  expect(pool.stats()).toEqual({
    inUse: 0,
    coolingDown: 0,
    sources: [
      { address: '192.0.2.1', family: 'IPv4', weight: 5, inUse: 0, connections: 0, exhausted: 0, unusable: 0 },
      { address: '10.0.1.0/28', family: 'IPv4', weight: 2, inUse: 0, connections: 0, exhausted: 0, unusable: 0 },
    ],
  });
  expect(pool.serves(4)).toBe(true);
  expect(pool.serves(6)).toBe(false);
});

test('a lease is given back once', () => {
  const pool = new SourcePool(['192.0.2.1']);
  const picker = pool.pick(to('203.0.113.1'), 4);
  picker.next();
  const lease = picker.lease();
  expect(pool.stats().inUse).toBe(1);
  lease?.release();
  lease?.release();
  expect(pool.stats()).toMatchObject({ inUse: 0, sources: [{ inUse: 0, connections: 1 }] });
});

describe('addresses are compared by value', () => {
  test.each([
    ['2001:DB8:0::7', '2001:db8::7'],
    ['2001:0db8::/64', '2001:db8::/064'],
    ['10.0.0.0/8', '10.0.0.0/08'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['192.0.2.7/32', '192.0.2.7'],
  ])('%s is %s', (one, other) => {
    const pool = new SourcePool([one]).add({ address: other, weight: 3 });
    expect(pool.stats().sources).toMatchObject([{ weight: 3 }]);
    expect(pool.delete(one)).toBe(true);
    expect(pool.size).toBe(0);
  });

  test("the statistics have the kernel's spelling", () => {
    expect(new SourcePool(['2001:DB8:0:0::/64', '2001:0DB8::1']).stats().sources.map(({ address }) => address)).toEqual(
      ['2001:db8::/64', '2001:db8::1'],
    );
  });

  test('a destination, too: it rests, is counted and is stuck to under every spelling', () => {
    const pool = new SourcePool(['2001:db8::1', '2001:db8::2'], { strategy: 'least-used' });
    draw(pool, 1, () => to('2001:DB8:1::1'), false);
    draw(pool, 1, () => to('2001:db8:1:0::1'), false);
    expect(pool.stats().sources.map(({ inUse }) => inUse)).toEqual([1, 1]);
    const sticky = new SourcePool(['2001:db8::/64'], { strategy: 'sticky' });
    expect(draw(sticky, 1, () => to('2001:DB8:1:0::1'))).toEqual(draw(sticky, 1, () => to('2001:db8:1::1')));
  });
});

describe('a source from which there is no route to the destination', () => {
  test('is passed over towards this destination, and nothing is counted against it', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2'], { strategy: 'least-used' });
    const picker = pool.pick(to('203.0.113.1'), 4);
    const failed = picker.next()?.ip;
    picker.failed('unreachable');
    expect(new Set(draw(pool, 20, () => to('203.0.113.1'))).has(failed ?? '')).toBe(false);
    expect(new Set(draw(pool, 20, () => to('203.0.113.2'))).has(failed ?? '')).toBe(true);
    expect(pool.stats().sources).toMatchObject([
      { unusable: 0, exhausted: 0 },
      { unusable: 0, exhausted: 0 },
    ]);
    expect(pool.stats().coolingDown).toBe(1);
  });

  test('destinations that nobody can reach do not make the pool forget which sources are exhausted', () => {
    const pool = new SourcePool(['192.0.2.1', '192.0.2.2'], { cooldown: 60_000 });
    const picker = pool.pick(to('203.0.113.1'), 4);
    const exhausted = picker.next()?.ip;
    picker.failed('exhausted');
    for (let n = 0; n < 20_000; n++) {
      const other = pool.pick(to(`10.0.${n >> 8}.${n & 255}`), 4);
      other.next();
      other.failed('unreachable');
    }
    expect(new Set(draw(pool, 20, () => to('203.0.113.1'))).has(exhausted ?? '')).toBe(false);
  });
});

describe('blocksBetween', () => {
  test.each([
    ['127.0.0.2', '127.0.0.9', ['127.0.0.2/31', '127.0.0.4/30', '127.0.0.8/31']],
    ['192.0.2.7', '192.0.2.7', ['192.0.2.7/32']],
    ['0.0.0.1', '0.0.0.2', ['0.0.0.1/32', '0.0.0.2/32']],
    ['10.0.0.0', '10.0.255.255', ['10.0.0.0/16']],
    ['2001:db8::ffff', '2001:db8::1:0', ['2001:db8::ffff/128', '2001:db8::1:0/128']],
  ])('%s to %s', (first, last, expected) => {
    const blocks = blocksBetween(Block.parse(first), Block.parse(last));
    expect(blocks).toEqual(expected);
    // Every one of them is a block of a pool.
    expect(new SourcePool(blocks).size).toBe(expected.length);
  });
});
