// The source options: what is accepted, what is refused and in which words, and what a destination gets.
import * as dns from 'node:dns';
import * as net from 'node:net';
import * as os from 'node:os';
import { describe, expect, test } from 'vitest';
import type { Destination } from '../../src/values/address';
import { SourcePool } from '../../src/source/pool';
import { isPool } from '../../src/source/pooled';
import { isPlain, mergeSource, readSource, SOURCE_OPTIONS, type SourceOptions } from '../../src/source/options';
import { int32 } from '../../src/source/socket_options.js';
import { familyOf, lacksZone, resolveSource } from '../../src/source/resolve';
import { connect, Socket } from '../../src/tcp/socket';

interface ArgumentError extends Error {
  code: string;
}

function thrown(act: () => unknown): ArgumentError {
  try {
    act();
  } catch (error) {
    return error as ArgumentError;
  }
  throw new Error('nothing was thrown');
}

/** Wrong on purpose: what JavaScript may pass. */
const wrongly = (options: object) => options as SourceOptions;

/** Node's words for the same mistake in another argument, with the name of that argument replaced. */
function inNodesWords(name: string, provoke: () => unknown): string {
  return thrown(provoke).message.replace(
    /"\w[\w.]*" (argument|property)|'\w[\w.]*'(?= is )|^options\.port|^Port/,
    (found) => {
      if (found.startsWith('"')) return `"${name}" ${name.includes('.') ? 'property' : 'argument'}`;
      return found.startsWith("'") ? `'${name}'` : name;
    },
  );
}

const stringExpected = (value: unknown) => () => new net.SocketAddress({ address: value as string });
const numberExpected = (value: unknown) => () => net.connect({ port: 1, localPort: value as number });
const booleanExpected = (value: unknown) => () => net.connect({ port: 1, autoSelectFamily: value as boolean });
const arrayExpected = (value: unknown) => () => dns.setServers(value as string[]);
const addressExpected = (value: unknown) => () => net.connect({ port: 1, localAddress: value as string });
const portExpected = (value: unknown) => () => new net.SocketAddress({ port: value as number });
const integerExpected = (value: unknown) => () => os.setPriority(value as number, 0);

const notStrings = [5, true, null, {}, [], Symbol('s'), 5n, Object.create(null) as object, URL, () => {}];
const notNumbers = ['5', true, {}, [], Symbol('s'), 5n, new Date(0)];
const notPorts = [-1, 65536, 1.5, NaN, Infinity, -Infinity, 2 ** 32, -0.5];

interface Case {
  options: object;
  code: string;
  /** The whole message, where Node has the same one. */
  message?: string | undefined;
  /** What the message must contain otherwise. */
  says?: RegExp;
}

const cases: Record<string, Case[]> = {
  localAddress: [
    ...['x', 'localhost', '1.2.3', '1.2.3.4 ', '256.1.1.1', '[::1]', '::1::', '127.0.0.1/8'].map((value) => ({
      options: { localAddress: value },
      code: 'ERR_INVALID_IP_ADDRESS',
      message: inNodesWords('', addressExpected(value)),
    })),
    ...[5, true, 5n, Symbol('s')].map((value) => ({
      options: { localAddress: value },
      code: 'ERR_INVALID_ARG_TYPE',
      says: /^The "options.localAddress" property must be (one )?of type string .*\. Received type \w+ \(/,
    })),
    ...[{}, [], { ipv5: '1.2.3.4' }, { ipv4: undefined }].map((value) => ({
      options: { localAddress: value },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /^The property 'options.localAddress' must have ipv4, ipv6 or both\. Received /,
    })),
    ...notStrings.map((value) => ({
      options: { localAddress: { ipv4: value } },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.localAddress.ipv4', stringExpected(value)),
    })),
    ...notStrings.map((value) => ({
      options: { localAddress: { ipv4: '127.0.0.1', ipv6: value } },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.localAddress.ipv6', stringExpected(value)),
    })),
    {
      options: { localAddress: { ipv4: '::1' } },
      code: 'ERR_INVALID_ARG_VALUE',
      message: `The property 'options.localAddress.ipv4' must be an IPv4 address. Received '::1'`,
    },
    {
      options: { localAddress: { ipv6: '127.0.0.1' } },
      code: 'ERR_INVALID_ARG_VALUE',
      message: `The property 'options.localAddress.ipv6' must be an IPv6 address. Received '127.0.0.1'`,
    },
    { options: { localAddress: { ipv6: '::ffff:127.0.0.1' } }, code: 'ERR_INVALID_ARG_VALUE', says: /IPv6 address/ },
    { options: { localAddress: { ipv4: 'x' } }, code: 'ERR_INVALID_IP_ADDRESS', message: 'Invalid IP address: x' },
    { options: { localAddress: { ipv4: '' } }, code: 'ERR_INVALID_IP_ADDRESS', message: 'Invalid IP address: ' },
    ...['224.0.0.1', '239.1.2.3', 'ff02::1', '::ffff:224.0.0.1'].map((value) => ({
      options: { localAddress: value },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /must not be a multicast address, which cannot be a source\. Received '/,
    })),
    {
      options: { localAddress: '255.255.255.255' },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /must not be a broadcast address/,
    },
    {
      options: { localAddress: '2001:db8::1%lo', interface: 'lo' },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /has a zone that cannot be used\. Received '2001:db8::1%lo'$/,
    },
  ],
  localPort: [
    ...notNumbers.map((value) => ({
      options: { localPort: value },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.localPort', numberExpected(value)),
    })),
    ...notPorts.map((value) => ({
      options: { localPort: value },
      code: 'ERR_SOCKET_BAD_PORT',
      message: inNodesWords('options.localPort', portExpected(value)),
    })),
  ],
  localPortRange: [
    ...['1-5', 5, { low: 1, high: 5 }, true, new Uint16Array([1, 5])].map((value) => ({
      options: { localPortRange: value },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.localPortRange', arrayExpected(value)),
    })),
    ...[[], [1], [1, 2, 3], ['1', '5'], [1, undefined], [null, 5]].map((value) => ({
      options: { localPortRange: value },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /^The property 'options.localPortRange' must be \[low, high\]\. Received \[/,
    })),
    ...[0, -1, 65536, 1.5, NaN, Infinity].flatMap((value) => [
      {
        options: { localPortRange: [value, 65535] },
        code: 'ERR_OUT_OF_RANGE',
        says: /^The value of "options\.localPortRange" is out of range\. It must be .*\. Received /,
      },
      {
        options: { localPortRange: [1, value] },
        code: 'ERR_OUT_OF_RANGE',
        says: /^The value of "options\.localPortRange" is out of range\. It must be .*\. Received /,
      },
    ]),
    {
      options: { localPortRange: [5, 4] },
      code: 'ERR_INVALID_ARG_VALUE',
      message: `The property 'options.localPortRange' must have low <= high. Received [ 5, 4 ]`,
    },
    {
      options: { localPort: 4, localPortRange: [4, 5] },
      code: 'ERR_INVALID_ARG_VALUE',
      message: `The property 'options.localPortRange' cannot be combined with localPort. Received [ 4, 5 ]`,
    },
  ],
  interface: [
    ...[5, true, {}, [], Symbol('s')].map((value) => ({
      options: { interface: value },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.interface', stringExpected(value)),
    })),
    ...['', '.', '..', 'a b', 'a/b', 'a:b', 'a\0', 'a\n', 'x'.repeat(16), 'é'.repeat(8)].map((value) => ({
      options: { interface: value },
      code: 'ERR_INVALID_ARG_VALUE',
      says: /^The property 'options.interface' must be the name of a network interface\. Received '/,
    })),
  ],
  mark: [
    ...notNumbers.map((value) => ({
      options: { mark: value },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.mark', numberExpected(value)),
    })),
    ...[-1, 2 ** 32, 2 ** 33, 1.5, NaN, Infinity].map((value) => ({
      options: { mark: value },
      code: 'ERR_OUT_OF_RANGE',
      says: /^The value of "options\.mark" is out of range\. It must be .*\. Received /,
    })),
  ],
  ...Object.fromEntries(
    (['freeBind', 'transparent', 'fastOpen', 'reuseTimeWait', 'autoSelectFamilyOverlap'] as const).map((name) => [
      name,
      [0, 1, 'true', {}, []].map((value) => ({
        options: { [name]: value },
        code: 'ERR_INVALID_ARG_TYPE',
        message: inNodesWords(`options.${name}`, booleanExpected(value)),
      })),
    ]),
  ),
  socketOptions: [
    ...[5, 'x', {}, true, new Uint8Array(1)].map((value) => ({
      options: { socketOptions: value },
      code: 'ERR_INVALID_ARG_TYPE',
      message: inNodesWords('options.socketOptions', arrayExpected(value)),
    })),
    ...[5, 'x', null, undefined].map((value) => ({
      options: { socketOptions: [value] },
      code: 'ERR_INVALID_ARG_TYPE',
      says: /^The "options\.socketOptions\[0\]" property must be of type object\. Received /,
    })),
    ...notNumbers.flatMap((value) => [
      {
        options: { socketOptions: [{ level: value, name: 1, value: 1 }] },
        code: 'ERR_INVALID_ARG_TYPE',
        message: inNodesWords('options.socketOptions[0].level', numberExpected(value)),
      },
      {
        options: {
          socketOptions: [
            { level: 1, name: 2, value: 1 },
            { level: 1, name: value, value: new Uint8Array(4) },
          ],
        },
        code: 'ERR_INVALID_ARG_TYPE',
        message: inNodesWords('options.socketOptions[1].name', numberExpected(value)),
      },
    ]),
    ...['1', true, null, undefined, {}, [1], new Uint16Array(1), new ArrayBuffer(4), 5n].map((value) => ({
      options: { socketOptions: [{ level: 1, name: 2, value }] },
      code: 'ERR_INVALID_ARG_TYPE',
      says: /^The "options\.socketOptions\[0\]\.value" property must be of type number or an instance of Uint8Array\. Received /,
    })),
    ...(['level', 'name', 'value'] as const).flatMap((field) =>
      [-(2 ** 31) - 1, 2 ** 32, 1.5, NaN, Infinity].map((value) => ({
        options: { socketOptions: [{ level: 1, name: 2, value: 1, [field]: value }] },
        code: 'ERR_OUT_OF_RANGE',
        says: new RegExp(`^The value of "options\\.socketOptions\\[0\\]\\.${field}" is out of range\\. It must be `),
      })),
    ),
  ],
};

const constructors: Record<string, ErrorConstructor> = {
  ERR_INVALID_ARG_TYPE: TypeError,
  ERR_INVALID_ARG_VALUE: TypeError,
  ERR_INVALID_IP_ADDRESS: TypeError,
  ERR_OUT_OF_RANGE: RangeError,
  ERR_SOCKET_BAD_PORT: RangeError,
};

describe.each(Object.entries(cases))('bad values of %s are thrown', (_, wrong) => {
  test.each([
    {
      how: 'by connect(options)',
      act: (options: object) => connect({ host: '127.0.0.1', port: 1, ...wrongly(options) }),
    },
    { how: 'by new Socket(options)', act: (options: object) => new Socket(wrongly(options)) },
    {
      how: 'by socket.connect(options)',
      act: (options: object) => new Socket().connect({ host: '127.0.0.1', port: 1, ...wrongly(options) }),
    },
  ])('$how', ({ act }) => {
    for (const { options, code, message, says } of wrong) {
      const error = thrown(() => act(options));
      expect.soft(error).toMatchObject({ code, name: constructors[code]?.name });
      expect(error).toBeInstanceOf(constructors[code]);
      if (message !== undefined) expect.soft(error.message).toBe(message);
      if (says !== undefined) expect.soft(error.message).toMatch(says);
      // As with Node's own: the code is seen where an uncaught one is printed.
      expect(error.stack).toContain(`${error.name} [${code}]: `);
    }
  });
});

test('what is out of range is said as Node says it', () => {
  for (const value of [1.5, NaN, 2 ** 33, -(2 ** 33)]) {
    const mine = thrown(() => readSource({ socketOptions: [{ level: value, name: 1, value: 1 }] })).message;
    const nodes = inNodesWords('', integerExpected(value));
    const received = (message: string) => message.slice(message.indexOf('Received'));
    expect.soft(received(mine)).toBe(received(nodes));
  }
});

test('options of the constructor and of connect() that do not go together are thrown by connect()', () => {
  const socket = new Socket({ localPort: 4 });
  expect(thrown(() => socket.connect({ port: 1, host: '127.0.0.1', localPortRange: [4, 5] }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  });
  expect(socket.connecting).toBe(false);
  socket.destroy();
});

describe('good values', () => {
  const plain = readSource(undefined);

  test.each([
    {},
    { localAddress: undefined },
    { localAddress: '' },
    { localAddress: null },
    { localPort: undefined },
    { localPort: null },
    { localPort: 0 },
    { localPort: -0 },
    { localPortRange: undefined },
    { localPortRange: null },
    { interface: undefined },
    { interface: null },
    { mark: undefined },
    { mark: null },
    { freeBind: false, transparent: false, fastOpen: false },
    { freeBind: null, transparent: undefined },
    { socketOptions: undefined },
    { socketOptions: [] },
    { reuseTimeWait: false },
    { reuseTimeWait: null },
    { autoSelectFamilyOverlap: true },
    { autoSelectFamilyOverlap: null },
  ])('nothing is asked of the source with %o', (options) => {
    expect(isPlain(readSource(wrongly(options)))).toBe(true);
    expect(readSource(wrongly(options))).toEqual(plain);
  });

  test.each([
    ['127.0.0.1', { ipv4: '127.0.0.1' }],
    ['0.0.0.0', { ipv4: '0.0.0.0' }],
    ['::', { ipv6: '::' }],
    ['2001:DB8::1', { ipv6: '2001:DB8::1' }],
    ['::ffff:192.0.2.7', { ipv4: '192.0.2.7' }],
    ['fe80::1%eth0', { ipv6: 'fe80::1' }],
    [{ ipv4: '127.0.0.1' }, { ipv4: '127.0.0.1' }],
    [{ ipv4: '::ffff:127.0.0.1' }, { ipv4: '127.0.0.1' }],
    [{ ipv6: '::1' }, { ipv6: '::1' }],
    [
      { ipv4: '127.0.0.1', ipv6: '::1' },
      { ipv4: '127.0.0.1', ipv6: '::1' },
    ],
    [{ ipv4: '127.0.0.1', ipv6: undefined }, { ipv4: '127.0.0.1' }],
  ])('localAddress %o', (localAddress, expected) => {
    const { address } = readSource(wrongly({ localAddress }));
    if (typeof address !== 'object' || isPool(address)) throw new Error('no addresses');
    const { ipv4, ipv6 } = address;
    expect({ ...(ipv4 && { ipv4: ipv4.ip }), ...(ipv6 && { ipv6: ipv6.ip }) }).toEqual(expected);
  });

  test('localAddress may be a function, which is not called yet', () => {
    const choose = () => {
      throw new Error('called');
    };
    expect(readSource({ localAddress: choose }).address).toBe(choose);
  });

  test.each([1, 80, 65535])('localPort %d', (localPort) => {
    expect(readSource({ localPort }).port).toBe(localPort);
  });

  test.each([
    [1, 65535],
    [1, 1],
    [65535, 65535],
    [1024, 2047],
  ] as const)('localPortRange [%d, %d]', (low, high) => {
    expect(readSource({ localPortRange: [low, high] })).toMatchObject({ port: 0, range: { low, high } });
    expect(readSource({ localPort: 0, localPortRange: [low, high] }).range).toEqual({ low, high });
  });

  test.each(['lo', 'eth0', 'br-0.100', 'x'.repeat(15), 'é'.repeat(7), '...', 'a%b', 'veth@1'])(
    'interface %s',
    (name) => {
      expect(readSource({ interface: name }).extras).toMatchObject({ interface: name });
    },
  );

  test.each([0, 1, 0xffffffff])('mark %d', (mark) => {
    expect(readSource({ mark }).extras).toMatchObject({ mark });
  });

  test.each(['freeBind', 'transparent', 'fastOpen'] as const)('%s', (name) => {
    const off = { freeBind: false, transparent: false, fastOpen: false };
    expect(readSource({ [name]: true }).extras).toMatchObject({ ...off, [name]: true });
  });

  test('socketOptions: numbers as a C int, bytes as they were at the call', () => {
    const bytes = Buffer.from([1, 2, 3, 4]);
    const options = [
      { level: 1, name: 2, value: 0xffffffff },
      { level: 0xfffffff0, name: -(2 ** 31), value: -1 },
      { level: 6, name: 13, value: bytes },
      { level: 6, name: 13, value: new Uint8Array(0) },
    ];
    const { extras } = readSource({ socketOptions: options });
    bytes.fill(9);
    expect(
      extras?.socketOptions?.map(({ level, name, value }) => [
        level,
        name,
        typeof value === 'number' ? value : [...value],
      ]),
    ).toEqual([
      [1, 2, -1],
      [-16, -(2 ** 31), -1],
      [6, 13, [1, 2, 3, 4]],
      [6, 13, []],
    ]);
  });

  test('a zone is good on a link-local address, with an interface and without', () => {
    for (const options of [{ localAddress: 'fe80::1%lo' }, { localAddress: 'fe80::1%lo', interface: 'lo' }]) {
      expect(resolveSource(readSource(options), { address: 'fe80::2', port: 1, family: 6 })).toBe('fe80::1%lo');
    }
  });
});

const to4: Destination = { address: '192.0.2.9', port: 80, family: 4 };
const to6: Destination = { address: '2001:db8::9', port: 80, family: 6 };
const toMapped4: Destination = { address: '::ffff:192.0.2.9', port: 80, family: 6 };
const toLink: Destination = { address: 'fe80::9%eth0', port: 80, family: 6 };

describe('resolveSource', () => {
  const both = { ipv4: '10.0.0.1', ipv6: '2001:db8::1' };

  test.each<[string, SourceOptions['localAddress'], Destination, string | null | undefined]>([
    ['nothing was asked', undefined, to4, null],
    ['nothing was asked', undefined, to6, null],
    ['IPv4 to IPv4', '10.0.0.1', to4, '10.0.0.1'],
    ['IPv4 to IPv6: none', '10.0.0.1', to6, undefined],
    ['IPv6 to IPv4: none', '2001:db8::1', to4, undefined],
    ['IPv6 to IPv6', '2001:db8::1', to6, '2001:db8::1'],
    ['both to IPv4', both, to4, '10.0.0.1'],
    ['both to IPv6', both, to6, '2001:db8::1'],
    ['an IPv4-mapped destination is reached from the IPv4 source', both, toMapped4, '::ffff:10.0.0.1'],
    ['an IPv4-mapped destination is not reached from an IPv6 source', '2001:db8::1', toMapped4, undefined],
    ['an IPv4-mapped source is IPv4', '::ffff:10.0.0.1', to4, '10.0.0.1'],
    ['an IPv4-mapped source is IPv4', '::ffff:10.0.0.1', toMapped4, '::ffff:10.0.0.1'],
    ['an IPv4-mapped source is IPv4', '::ffff:10.0.0.1', to6, undefined],
    ['the wildcard pins the family only', '0.0.0.0', to4, null],
    ['the wildcard pins the family only', '0.0.0.0', to6, undefined],
    ['the wildcard pins the family only', '0.0.0.0', toMapped4, null],
    ['the wildcard pins the family only', '::', to6, null],
    ['the wildcard pins the family only', '::', to4, undefined],
    ['the wildcard pins the family only', '::', toMapped4, undefined],
    ['a zone of its own', 'fe80::1%lo', toLink, 'fe80::1%lo'],
    ['the zone of the destination', 'fe80::1', toLink, 'fe80::1%eth0'],
    ['no zone for a source that needs none', '2001:db8::1', toLink, '2001:db8::1'],
    ['no zone at all', 'fe80::1', to6, 'fe80::1'],
    ['a function', () => '10.0.0.1', to4, '10.0.0.1'],
    ['a function', () => '10.0.0.1', to6, undefined],
    ['a function', () => '10.0.0.1', toMapped4, '::ffff:10.0.0.1'],
    ['a function that has none', () => undefined, to4, undefined],
    ['a function and the wildcard', () => '0.0.0.0', to4, null],
    ['a function and a zone', () => 'fe80::1', toLink, 'fe80::1%eth0'],
  ])('%s: from %o to %o', (_, localAddress, destination, expected) => {
    const resolved = resolveSource(readSource({ localAddress }), destination);
    expect(resolved).toBe(expected);
  });

  test('a function gets the destination, once', () => {
    const asked: Destination[] = [];
    const source = readSource({
      localAddress: (destination) => {
        asked.push(destination);
        return '10.0.0.1';
      },
    });
    resolveSource(source, to4);
    expect(asked).toEqual([to4]);
  });

  test('what a function throws comes through as it is', () => {
    const error = new Error('mine');
    const source = readSource({
      localAddress: () => {
        throw error;
      },
    });
    expect(thrown(() => resolveSource(source, to4))).toBe(error);
  });

  test.each([
    ['x', 'ERR_INVALID_IP_ADDRESS'],
    ['', 'ERR_INVALID_IP_ADDRESS'],
    ['224.0.0.1', 'ERR_INVALID_ARG_VALUE'],
    [5, 'ERR_INVALID_ARG_TYPE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [Promise.resolve('10.0.0.1'), 'ERR_INVALID_ARG_TYPE'],
  ])('a function that answers %o: %s', (answer, code) => {
    const source = readSource({ localAddress: () => answer as string });
    expect(thrown(() => resolveSource(source, to4)).code).toBe(code);
  });
});

test.each([
  ['127.0.0.1', 4],
  ['::1', 6],
  ['::ffff:127.0.0.1', 4],
  [{ ipv4: '127.0.0.1' }, 4],
  [{ ipv6: '::1' }, 6],
  [{ ipv4: '127.0.0.1', ipv6: '::1' }, undefined],
  [undefined, undefined],
  [() => '127.0.0.1', undefined],
] as const)('the family of %o is %s', (localAddress, family) => {
  expect(familyOf(readSource({ localAddress }))).toBe(family);
});

test.each<[SourceOptions, string, boolean]>([
  [{}, 'fe80::1', true],
  [{}, 'fe80::1%lo', false],
  [{}, '2001:db8::1', false],
  [{}, '169.254.0.1', false],
  [{}, '::ffff:169.254.0.1', false],
  [{ interface: 'lo' }, 'fe80::1', false],
])('with %o, %s lacks its zone: %s', (options, address, lacks) => {
  expect(lacksZone(readSource(options), address)).toBe(lacks);
});

test('int32 takes unsigned values by their bits', () => {
  expect([0, -0, 1, -1, 0x7fffffff, 0x80000000, 0xffffffff, -0x80000000].map((value) => int32('x', value))).toEqual([
    0, 0, 1, -1, 0x7fffffff, -0x80000000, -1, -0x80000000,
  ]);
});

test('each option is read once, and a getter that answers differently each time does not change what others get', () => {
  const reads: Record<string, number> = {};
  const answers: Record<string, readonly unknown[]> = {
    localAddress: ['192.0.2.1', '192.0.2.2', '192.0.2.3'],
    reuseTimeWait: [false, true],
  };
  const options = {};
  for (const name of SOURCE_OPTIONS) {
    const get = () => {
      reads[name] = (reads[name] ?? 0) + 1;
      return answers[name]?.[(reads[name] - 1) % answers[name].length];
    };
    Object.defineProperty(options, name, { get, enumerable: true });
  }
  const { address } = readSource(options);
  expect(address).toMatchObject({ ipv4: { ip: '192.0.2.1' } });
  expect(reads).toEqual(Object.fromEntries(SOURCE_OPTIONS.map((name) => [name, 1])));
  for (const ip of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) {
    expect(readSource({ localAddress: ip }).address).toMatchObject({ ipv4: { ip } });
  }
});

test('a pool of another copy of connectx is a pool, unless it is too different', () => {
  const own = new SourcePool(['192.0.2.1']);
  const brand = Symbol.for('connectx.SourcePool');
  class Other {
    serves(family: number) {
      return own.serves(family as 4 | 6);
    }
  }
  Object.defineProperty(Other.prototype, brand, { value: (own as unknown as Record<symbol, unknown>)[brand] });
  const pool = new Other();
  const source = readSource({ localAddress: pool as unknown as SourcePool });
  expect(source.address).toBe(pool);
  expect(familyOf(source)).toBe(4);
  Object.defineProperty(pool, brand, { value: 'another' });
  expect(() => readSource({ localAddress: pool as unknown as SourcePool })).toThrow(/another version of connectx/);
});

describe('prototype pollution', () => {
  const gadgets = {
    localPortRange: [40000, 40001],
    interface: 'lo',
    mark: 1,
    freeBind: true,
    transparent: true,
    fastOpen: true,
    reuseTimeWait: true,
    autoSelectFamilyOverlap: false,
    socketOptions: [{ level: 1, name: 2, value: 3 }],
  };

  /** Calls `act` while `Object.prototype` has this property. */
  function polluted<T>(name: string, value: unknown, act: () => T): T {
    Object.defineProperty(Object.prototype, name, { value, configurable: true, writable: true });
    try {
      return act();
    } finally {
      Reflect.deleteProperty(Object.prototype, name);
    }
  }

  test('the list has every option that core lacks', () => {
    const core = ['localAddress', 'localPort'];
    expect(Object.keys(gadgets).sort()).toEqual(SOURCE_OPTIONS.filter((name) => !core.includes(name)).sort());
  });

  test.each(Object.entries(gadgets))('%s of Object.prototype is nobody’s option', (name, value) => {
    const [alone, merged] = polluted(name, value, () => [readSource({}), readSource(mergeSource({}, {}))]);
    expect([isPlain(alone), isPlain(merged)]).toEqual([true, true]);
    expect([alone, merged]).toEqual([readSource(undefined), readSource(undefined)]);
  });

  test.each(Object.entries(gadgets))(
    '%s counts where it was given, also by a class or Object.create',
    (name, value) => {
      class Options {
        get [name]() {
          return value;
        }
      }
      for (const options of [{ [name]: value }, new Options(), Object.create({ [name]: value }) as object]) {
        const expected = readSource({ [name]: value });
        expect(readSource(options)).toEqual(expected);
        expect(readSource(mergeSource(options, {}))).toEqual(expected);
        const [alone, merged] = polluted(name, 'wrong', () => [
          readSource(options),
          readSource(mergeSource({}, options)),
        ]);
        expect([alone, merged]).toEqual([expected, expected]);
      }
    },
  );

  test('what core has it reads from anywhere, and so it is here', () => {
    expect(polluted('localPort', 40000, () => readSource({})).port).toBe(40000);
  });
});
