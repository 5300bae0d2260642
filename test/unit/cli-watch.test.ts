// What `watch` shows and computes, on plain data.
import { describe, expect, test } from 'vitest';
import { duration, type Row } from '../../src/cli/table.js';
import { plain } from '../../src/cli/text.js';
import { Growth } from '../../src/cli/watch_rows.js';
import { screenOf, type View } from '../../src/cli/watch_screen.js';
import type { PortUsage } from '../../src/usage/usage.js';

const usage = (of: Partial<PortUsage> = {}): PortUsage => ({
  protocol: 'tcp',
  family: 'IPv4',
  localAddress: '192.0.2.7',
  remoteAddress: '203.0.113.10',
  remotePort: 443,
  used: 50,
  timeWait: 5,
  capacity: 100,
  ratio: 0.5,
  ...of,
});

const rows = (count: number): Row[] =>
  Array.from({ length: count }, (_, n) => ({
    usage:
      n % 2 === 0
        ? usage({ remoteAddress: `203.0.113.${n + 1}`, used: count - n, ratio: (count - n) / 100 })
        : usage({
            family: 'IPv6',
            localAddress: '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff',
            remoteAddress: `2001:db8:eeee:eeee:eeee:eeee:eeee:${(0x1000 + n).toString(16)}`,
            used: count - n,
            ratio: (count - n) / 100,
          }),
    growth: n,
    fullIn: n * 60,
    process: 'haproxy (812)',
  }));

const view = (of: Partial<View> = {}): View => ({
  rows: rows(60),
  order: 'f',
  top: 0,
  connects: 12.3,
  problem: undefined,
  ...of,
});

describe('a screen', () => {
  const SIZES = [
    { columns: 80, rows: 24 },
    { columns: 40, rows: 12 },
    { columns: 200, rows: 50 },
    { columns: 30, rows: 1 },
    { columns: 1, rows: 3 },
  ];

  test.each(SIZES)('fits in $columns x $rows, filled or not', (size) => {
    for (const count of [0, 1, 60]) {
      const { lines } = screenOf(view({ rows: rows(count) }), size, plain);
      expect(lines).toHaveLength(size.rows);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(size.columns);
    }
  });

  test.each(SIZES.slice(0, 3))(
    'page by page, each of 60 groups is shown once, under its whole name, in $columns x $rows',
    (size) => {
      const seen: string[] = [];
      let text = '';
      for (let top = 0; ;) {
        const screen = screenOf(view({ top }), size, plain);
        const { shown, lines } = screen;
        const isNew = shown.filter(({ usage: one }) => !seen.includes(one.remoteAddress));
        expect(lines[0]).toContain(`${screen.top + 1}-${screen.top + shown.length} of 60`);
        seen.push(...isNew.map(({ usage: one }) => one.remoteAddress));
        text += lines.slice(1).join('').replaceAll(/\s/g, '');
        if (isNew.length === 0) break;
        top += shown.length;
      }
      expect(seen).toHaveLength(60);
      for (const { usage: one } of rows(60)) {
        expect(text).toContain(one.family === 'IPv6' ? `[${one.remoteAddress}]:443` : `${one.remoteAddress}:443`);
      }
    },
  );

  // Two IPv4 groups and one of IPv6, of which a line of 40 columns has no room for the name.
  const three: Row[] = [
    { usage: usage({ used: 81, timeWait: 3, ratio: 0.81 }), growth: 1.5, fullIn: 12.7, process: 'haproxy (812)' },
    {
      usage: usage({ remoteAddress: '203.0.113.11', used: 7, timeWait: 0, ratio: 0.07 }),
      growth: 0,
      process: 'user 33',
    },
    { usage: { ...(rows(2)[1] as Row).usage, used: 1, ratio: 0.01 }, growth: -0.25 },
  ];

  test('in 80 x 8', () => {
    const some = three.slice(0, 2);
    expect(screenOf(view({ rows: some }), { columns: 80, rows: 8 }, plain).lines).toEqual([
      'connectx watch  1-2 of 2, by full, 12 connects/s',
      'PROTO  SOURCE     DESTINATION       USED  FULL   +/S  FULL IN  PROCESS',
      'tcp    192.0.2.7  203.0.113.10:443    81  81 %  +1.5     12 s  haproxy (812)',
      'tcp    192.0.2.7  203.0.113.11:443     7   7 %     0           user 33',
      '',
      '',
      '',
      'q quit  arrows, PgUp, PgDn scroll  sort: f full  u used  g growth  d destination',
    ]);
  });

  test('in 40 x 13', () => {
    expect(screenOf(view({ rows: three }), { columns: 40, rows: 13 }, plain).lines).toEqual([
      '1-3 of 3, by full, 12 connects/s',
      'tcp 192.0.2.7 > 203.0.113.10:443',
      '    81 %, 81 of 100, TIME-WAIT 3, +1.5/s',
      '    full in 12 s, haproxy (812)',
      'tcp 192.0.2.7 > 203.0.113.11:443',
      '    7 %, 7 of 100, TIME-WAIT 0, 0/s',
      '    user 33',
      'tcp',
      '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff',
      '> [2001:db8:eeee:eeee:eeee:eeee:eeee:100',
      '1]:443',
      '    1 %, 1 of 100, TIME-WAIT 5, -0.3/s',
      'q quit, arrows scroll, sort: f u t g d',
    ]);
  });

  test('it never scrolls beyond the last group', () => {
    const { top, shown } = screenOf(view({ top: Infinity }), { columns: 200, rows: 24 }, plain);
    expect(top + shown.length).toBe(60);
    expect(shown).toHaveLength(21);
    expect(screenOf(view({ top: -3 }), { columns: 200, rows: 24 }, plain).top).toBe(0);
  });

  test('what is sorted by is shown, and nothing else is offered', () => {
    for (let columns = 20; columns <= 200; columns++) {
      const size = { columns, rows: 24 };
      const { orders, lines } = screenOf(view(), size, plain);
      const body = lines.slice(1, -1).join('\n');
      expect([columns, orders.includes('t')]).toEqual([columns, /TIME-WAIT/.test(body)]);
      expect([columns, orders.includes('g')]).toEqual([columns, /\+\/S|\+59\/s|\+\d/.test(body)]);
      for (const key of ['f', 'u', 'd']) expect(orders).toContain(key);
      for (const order of ['t', 'g', '?']) {
        if (!orders.includes(order)) expect(screenOf(view({ order }), size, plain).order).toBe('f');
      }
    }
  });

  test.each([
    { order: 'f', first: '203.0.113.1' },
    { order: 'u', first: '203.0.113.1' },
    { order: 'g', first: '2001:db8:eeee:eeee:eeee:eeee:eeee:103b' },
    { order: 'd', first: '203.0.113.1' },
  ])('by $order', ({ order, first }) => {
    const { shown } = screenOf(view({ order, rows: [...rows(60)].reverse() }), { columns: 200, rows: 24 }, plain);
    expect(shown[0]?.usage.remoteAddress).toBe(first);
  });

  test('addresses are in the order of their numbers', () => {
    const some = ['203.0.113.9', '203.0.113.10', '203.0.113.100'].map((remoteAddress) => ({
      usage: usage({ remoteAddress }),
    }));
    const { shown } = screenOf(view({ order: 'd', rows: some.reverse() }), { columns: 200, rows: 24 }, plain);
    expect(shown.map(({ usage: one }) => one.remoteAddress)).toEqual(['203.0.113.9', '203.0.113.10', '203.0.113.100']);
  });

  test('a problem is in the first line, as one line', () => {
    const { lines } = screenOf(view({ problem: 'bind EPERM\n\x1b[2J' }), { columns: 80, rows: 24 }, plain);
    expect(lines[0]).toBe('bind EPERM\\x0a\\x1b[2J');
  });
});

describe('growth', () => {
  test('from sample to sample, and the time until full', () => {
    const growth = new Growth();
    expect(growth.rowsOf([usage()], 0)).toEqual([{ usage: usage(), growth: undefined, fullIn: undefined }]);
    const [first] = growth.rowsOf([usage({ used: 60, ratio: 0.6 })], 1000);
    expect(first).toMatchObject({ growth: 10, fullIn: 4 });
    // It goes on like this for ever: 10 a second.
    const [second] = growth.rowsOf([usage({ used: 70, ratio: 0.7 })], 2000);
    expect(second).toMatchObject({ growth: 10, fullIn: 3 });
    // It has stopped: the average comes down, and in the end nothing is said to be full.
    let last;
    for (let n = 3; n < 60; n++) [last] = growth.rowsOf([usage({ used: 70, ratio: 0.7 })], n * 1000);
    expect(last?.growth).toBeLessThan(0.05);
    expect(last?.fullIn).toBeUndefined();
  });

  test('a new group has grown from nothing, and a full one is not going to be full', () => {
    const growth = new Growth();
    growth.rowsOf([], 0);
    expect(growth.rowsOf([usage({ used: 20 })], 2000)).toMatchObject([{ growth: 10, fullIn: 8 }]);
    expect(growth.rowsOf([usage({ used: 100, ratio: 1 })], 3000)[0]?.fullIn).toBeUndefined();
  });
});

test('durations', () => {
  expect([0, 0.9, 99.9, 100, 5999, 6000, 359_999, 360_000, 1e12].map(duration)).toEqual([
    '0 s',
    '0 s',
    '99 s',
    '1 min',
    '99 min',
    '1 h',
    '99 h',
    '4 d',
    '999 d',
  ]);
});
