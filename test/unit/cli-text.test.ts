// What the command line shows, on plain data.
import { describe, expect, test } from 'vitest';
import { parseLocal } from '../../src/cli/netcat.js';
import { exposition, prometheusText } from '../../src/cli/prometheus.js';
import { usageTable } from '../../src/cli/table.js';
import { bar, coloured, doctorText, percent, plain, printable } from '../../src/cli/text.js';
import type { PortUsage } from '../../src/usage/usage.js';

const usage = (of: Partial<PortUsage> = {}): PortUsage => ({
  protocol: 'tcp',
  family: 'IPv4',
  localAddress: '192.0.2.7',
  remoteAddress: '203.0.113.10',
  remotePort: 443,
  used: 23000,
  timeWait: 1200,
  capacity: 28232,
  ratio: 23000 / 28232,
  ...of,
});

const few = usage({ remoteAddress: '203.0.113.11', used: 400, timeWait: 0, ratio: 400 / 28232 });
const v6 = usage({ family: 'IPv6', localAddress: '2001:db8::7', remoteAddress: '2001:db8:1::10', used: 1, ratio: 0.1 });

test('the table, as docs/cli.md shows it', () => {
  expect(usageTable([usage(), few], undefined, plain)).toEqual([
    'PROTO  SOURCE     DESTINATION        USED  TIME-WAIT  CAPACITY  FULL',
    'tcp    192.0.2.7  203.0.113.10:443  23000       1200     28232  81 %',
    'tcp    192.0.2.7  203.0.113.11:443    400          0     28232   1 %',
  ]);
  expect(usageTable([], undefined, plain)).toHaveLength(1);
});

test('no line is longer than the terminal is wide, and no group is without its name', () => {
  for (let width = 1; width <= 200; width++) {
    const lines = usageTable([usage(), few, v6], width, plain);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(width);
    const text = lines.join('').replaceAll(/\s/g, '');
    for (const name of ['203.0.113.10:443', '203.0.113.11:443', '[2001:db8:1::10]:443']) expect(text).toContain(name);
  }
  expect(usageTable([v6], 40, plain)).toEqual([
    'tcp 2001:db8::7 > [2001:db8:1::10]:443',
    '    10 %, 1 of 28232, TIME-WAIT 1200',
  ]);
  expect(usageTable([v6], 20, plain).slice(0, 3)).toEqual(['tcp 2001:db8::7', '> [2001:db8:1::10]:4', '43']);
  expect(usageTable([v6], 120, plain)[1]).toMatch(/\[2001:db8:1::10\]:443 .* 10 % {2}#+\.+$/);
});

test('the rest in a line, which fits as well', () => {
  const rest = [{ protocol: 'udp' as const, groups: 1, used: 7, timeWait: 0, ratio: 0.07 }];
  expect(usageTable([usage()], undefined, plain, rest).at(-1)).toBe(
    '1 more udp group: 7 ports in use, 0 in TIME-WAIT, the fullest 7 %',
  );
  for (const line of usageTable([usage()], 30, plain, rest)) expect(line.length).toBeLessThanOrEqual(30);
});

test('bars', () => {
  expect([0, 0.001, 0.5, 0.999, 1].map((ratio) => bar(ratio, 10))).toEqual([
    '..........',
    '#.........',
    '#####.....',
    '#########.',
    '##########',
  ]);
  expect([0, 0.004, 0.996, 1].map(percent)).toEqual(['0 %', '0 %', '99 %', '100 %']);
});

test('colours', () => {
  const [head, full] = usageTable([usage()], undefined, coloured);
  expect(head?.startsWith('\x1b[1m')).toBe(true);
  expect(full?.startsWith('\x1b[31m') && full.endsWith('\x1b[0m')).toBe(true);
});

test('Prometheus', () => {
  const text = prometheusText({ shown: [usage()], rest: [] }, false);
  expect(text.match(/^# TYPE connectx_ports_\w+ gauge$/gm)).toHaveLength(4);
  expect(text).toContain(
    'connectx_ports_used{protocol="tcp",family="IPv4",local_address="192.0.2.7",remote_address="203.0.113.10",remote_port="443"} 23000\n',
  );
  expect(text.endsWith('\n')).toBe(true);
});

test('Prometheus: labels and help in one line each, whatever is in them', () => {
  const metric = {
    name: 'a',
    help: 'x\ny',
    type: 'counter' as const,
    samples: [{ labels: { l: 'a"b\\c\nd' }, value: 1 }],
  };
  expect(exposition([metric])).toBe('# HELP a x\\ny\n# TYPE a counter\na{l="a\\"b\\\\c\\nd"} 1\n');
  expect(exposition([{ ...metric, samples: [{ value: 0.5 }] }])).toContain('\na 0.5\n');
});

test("the doctor's words", () => {
  const text = doctorText(
    [
      { name: 'a', level: 'ok', message: 'fine' },
      { name: 'b', level: 'finding', message: 'bad', remedy: 'do', lasting: 'write' },
    ],
    plain,
  );
  expect(text).toBe('ok       fine\nFINDING  bad\n         -> do\n         for good: write\n');
});

test.each([
  ['192.0.2.7', '192.0.2.7', undefined],
  ['192.0.2.7:40000', '192.0.2.7', 40000],
  ['2001:db8::7', '2001:db8::7', undefined],
  ['[2001:db8::7]:40000', '2001:db8::7', 40000],
  [':40000', undefined, 40000],
])('--local %s', (text, localAddress, localPort) => {
  expect(parseLocal(text)).toEqual({ localAddress, localPort });
});

test.each(['', ':', '192.0.2.7:', '192.0.2.7:65536', '[::1', 'a]:1', 'a', 'a:1', '[a]:1'])(
  '--local %j is none',
  (text) => {
    expect(parseLocal(text)).toBeUndefined();
  },
);

describe('text of others', () => {
  const controls = [
    ...Array.from({ length: 32 }, (_, n) => n),
    0x7f,
    ...Array.from({ length: 32 }, (_, n) => 0x80 + n),
  ];
  const hostile = `\x1b[2Jnginx (1)\r\nok       all is well\x9b31m\u202e${String.fromCodePoint(...controls)}`;
  // What the command line writes itself: the end of a line.
  const isClean = (text: string) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text.replaceAll('\n', ''));

  test('is one line, and gives no orders', () => {
    expect(printable('\x1b[31m\x7f\x9b\n\u202e\u2028 ä 漢 🙂')).toBe('\\x1b[31m\\x7f\\x9b\\x0a\\u202e\\u2028 ä 漢 🙂');
    expect(isClean(printable(hostile))).toBe(true);
    for (const code of controls) expect(printable(String.fromCodePoint(code))).toMatch(/^\\x[\da-f]{2}$/);
  });

  test('in what the doctor finds', () => {
    const text = doctorText([{ name: 'conflicts', level: 'finding', message: hostile, remedy: hostile }], plain);
    expect(text.split('\n')).toHaveLength(3);
    expect(isClean(text)).toBe(true);
  });

  test('in tables, which stay in their columns', () => {
    const lines = usageTable([usage({ localAddress: hostile }), few], undefined, plain);
    expect(isClean(lines.join(''))).toBe(true);
    expect(new Set(lines.map((line) => line.length)).size).toBe(1);
  });
});
