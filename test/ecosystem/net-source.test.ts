// Where connectx differs from net.connect on purpose, beside net.connect: sources by family and by function, and errors that
// say more. Whatever else happens is as in core, see net-parity-*.test.ts.
import dns from 'node:dns';
import { type EventEmitter, once } from 'node:events';
import * as net from 'node:net';
import { connect, ConnectxError, type ConnectOptions, Socket } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test, vi } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import {
  CLOSED,
  close,
  DEAD6,
  echo,
  greet,
  names,
  SERVER,
  serve,
  UNREACHABLE4,
  UNREACHABLE6,
  useParityNetwork,
} from '../helpers/parity.js';
import { connected, type ConnectionError, descriptorCount, errorOf, failure, track } from '../helpers/sockets.js';

type LocalAddress = ConnectOptions['localAddress'];

const to = { host: '127.0.0.1', port: SERVER };
const both = { host: 'two.example', port: SERVER, lookup: names('::1', '127.0.0.1') } as net.TcpNetConnectOpts;

/** What happens to the socket until it connects or fails. */
async function story(socket: net.Socket): Promise<unknown[]> {
  track(socket);
  const happened: unknown[] = [];
  const events = [
    'lookup',
    'connectionAttempt',
    'connectionAttemptTimeout',
    'connectionAttemptFailed',
    'connect',
    'error',
  ];
  for (const event of events) {
    (socket as EventEmitter).on(event, (...args: unknown[]) => {
      const [address] = event === 'lookup' ? args.slice(1) : args;
      const shown = event === 'connect' ? socket.localAddress : address;
      happened.push(`${event} ${shown instanceof Error ? (shown as ConnectionError).code : String(shown)}`);
    });
  }
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  socket.destroy();
  return happened;
}

describeIsolated('sources by family', () => {
  useParityNetwork();

  test('control: with a localAddress, core takes the first address, or fails', async () => {
    await serve(echo);
    expect(await story(net.connect({ ...both, localAddress: '127.0.0.1' }))).toEqual(['lookup ::1', 'error EINVAL']);
  });

  test('the addresses of the other family are left out', async () => {
    await serve(echo);
    expect(await story(connect({ ...both, localAddress: '127.0.0.5' }))).toEqual([
      'lookup 127.0.0.1',
      'connectionAttempt 127.0.0.1',
      'connect 127.0.0.5',
    ]);
    expect(await story(connect({ ...both, localAddress: { ipv6: '::1' } }))).toEqual([
      'lookup ::1',
      'connectionAttempt ::1',
      'connect ::1',
    ]);
  });

  test('Happy Eyeballs goes on among those that are left', async () => {
    await serve(echo);
    const lookup = names(UNREACHABLE6, '127.0.0.1', UNREACHABLE4, '::1', '127.0.0.2') as net.LookupFunction;
    const socket = connect({ ...both, lookup, localAddress: '192.0.2.1' });
    expect(await story(socket)).toEqual([
      'lookup 127.0.0.1',
      `lookup ${UNREACHABLE4}`,
      'lookup 127.0.0.2',
      'connectionAttempt 127.0.0.1',
      'connect 192.0.2.1',
    ]);
    const again = connect({
      ...both,
      lookup: names(UNREACHABLE4, '::1', '127.0.0.2') as net.LookupFunction,
      localAddress: '192.0.2.1',
    });
    expect(await story(again)).toEqual([
      `lookup ${UNREACHABLE4}`,
      'lookup 127.0.0.2',
      `connectionAttempt ${UNREACHABLE4}`,
      `connectionAttemptFailed ${UNREACHABLE4}`,
      'connectionAttempt 127.0.0.2',
      'connect 192.0.2.1',
    ]);
    expect(again.autoSelectFamilyAttemptedAddresses).toEqual([`${UNREACHABLE4}:${SERVER}`, `127.0.0.2:${SERVER}`]);
  });

  test('{ ipv4, ipv6 }: to each attempt the source of its family', async () => {
    await serve(echo);
    const localAddress = { ipv4: '127.0.0.5', ipv6: '2001:db8:1::1' };
    const lookup = names(DEAD6, '127.0.0.1') as net.LookupFunction;
    expect(await story(connect({ ...both, lookup, localAddress, autoSelectFamilyAttemptTimeout: 10 }))).toEqual([
      `lookup ${DEAD6}`,
      'lookup 127.0.0.1',
      `connectionAttempt ${DEAD6}`,
      `connectionAttemptTimeout ${DEAD6}`,
      'connectionAttempt 127.0.0.1',
      'connect 127.0.0.5',
    ]);
    expect(await story(connect({ ...both, localAddress: { ...localAddress, ipv6: '::1' } }))).toContain('connect ::1');
  });

  test.each([true, false])(
    'dns.lookup finds the address of the right family, autoSelectFamily %s',
    async (autoSelectFamily) => {
      await serve(echo);
      const answer = [
        { address: '::1', family: 6 },
        { address: '127.0.0.1', family: 4 },
      ];
      const lookup = (_host: string, { all }: { all?: boolean }, done: (...answer: unknown[]) => void) => {
        if (all) setImmediate(done, null, answer);
        else setImmediate(done, null, answer[0]?.address, answer[0]?.family);
      };
      const spy = vi.spyOn(dns, 'lookup').mockImplementation(lookup as never);
      try {
        for (const localAddress of ['127.0.0.5', '::1']) {
          const socket = connect({ host: 'two.example', port: SERVER, autoSelectFamily, localAddress });
          expect(await story(socket)).toContain(`connect ${localAddress}`);
        }
        expect(spy).toHaveBeenCalledTimes(2);
      } finally {
        spy.mockRestore();
      }
    },
  );

  test.each([true, false])(
    'an IPv4-mapped answer is an IPv4 destination, autoSelectFamily %s',
    async (autoSelectFamily) => {
      await serve(echo);
      const options = { ...both, lookup: names('::ffff:127.0.0.1') as net.LookupFunction, autoSelectFamily };
      expect(await story(connect({ ...options, localAddress: '127.0.0.5' }))).toContain('connect ::ffff:127.0.0.5');
      expect(await story(connect({ ...options, localAddress: '::1' }))).toContain('error EAFNOSUPPORT');
    },
  );

  const wanting = { code: 'EAFNOSUPPORT', errno: -97, syscall: 'connect', port: SERVER, reason: 'family-mismatch' };

  test('none is left: EAFNOSUPPORT, and nothing is attempted', async () => {
    const lookup = names('::1', '::2') as net.LookupFunction;
    const socket = connect({ ...both, lookup, localAddress: '127.0.0.1' });
    const error = failure(socket);
    expect(await story(socket)).toEqual(['lookup undefined', 'error EAFNOSUPPORT']);
    expect(await error).toMatchObject({ ...wanting, address: '::1' });
    expect(await error).toBeInstanceOf(ConnectxError);
    expect((await error).message).toMatch(
      /^connect EAFNOSUPPORT ::1:5353; the destination needs an IPv6 source address/,
    );
  });

  test.each([
    { host: '::1', localAddress: '127.0.0.1' },
    { host: '127.0.0.1', localAddress: { ipv6: '::1' } },
  ])('the address of the destination is of the other family: $host', async ({ host, localAddress }) => {
    expect(await failure(connect({ ...to, host, localAddress }))).toMatchObject({ ...wanting, address: host });
  });

  test('a lookup that cannot be told what to answer', async () => {
    const socket = connect({ ...both, autoSelectFamily: false, localAddress: '127.0.0.1' });
    expect(await failure(socket)).toMatchObject({ ...wanting, address: '::1' });
  });
});

describeIsolated('localAddress as a function', () => {
  useParityNetwork();

  test('is asked once for each attempt, when it is made', async () => {
    await serve(echo);
    const asked: unknown[] = [];
    const localAddress = (...args: unknown[]) => {
      asked.push(args, happened());
      return (args[0] as { family: number }).family === 4 ? '127.0.0.5' : '2001:db8:1::1';
    };
    let attempts = 0;
    const happened = () => attempts;
    const lookup = names(DEAD6, '127.0.0.1', '127.0.0.2') as net.LookupFunction;
    const socket = connect({ ...both, lookup, localAddress, autoSelectFamilyAttemptTimeout: 10 });
    socket.on('connectionAttempt', () => attempts++);
    expect(await story(socket)).toContain('connect 127.0.0.5');
    expect(asked).toEqual([
      [{ address: DEAD6, port: SERVER, family: 6 }],
      1,
      [{ address: '127.0.0.1', port: SERVER, family: 4 }],
      2,
    ]);
  });

  test('is asked again when the same socket connects again', async () => {
    await serve(echo);
    let asked = 0;
    const socket = new Socket({ localAddress: () => `127.0.0.${++asked}` });
    for (const source of ['127.0.0.1', '127.0.0.2']) {
      await connected(socket.connect(to));
      expect(socket.localAddress).toBe(source);
      socket.destroy();
      await close(socket);
    }
    expect(asked).toBe(2);
  });

  test('is not asked for an attempt that is not made', async () => {
    await serve(echo);
    const localAddress = vi.fn(() => '127.0.0.1');
    const gone = track(connect({ ...to, localAddress }));
    gone.destroy();
    await close(gone);
    const blockList = new net.BlockList();
    blockList.addAddress('127.0.0.1');
    const blocked = track(connect({ ...to, localAddress, blockList } as ConnectOptions));
    const knows = Object.hasOwn(blocked, 'blockList');
    if (knows) expect(await failure(blocked)).toMatchObject({ code: 'ERR_IP_BLOCKED' });
    else await connected(blocked);
    expect(localAddress).toHaveBeenCalledTimes(knows ? 0 : 1);
  });

  const failing: { what: string; localAddress: () => unknown; error: object; message: RegExp }[] = [
    {
      what: 'throws',
      localAddress: () => raise(new RangeError('mine')),
      error: { name: 'RangeError' },
      message: /^mine$/,
    },
    {
      what: 'throws what is no error',
      localAddress: () => raise('text'),
      error: { name: 'Error', cause: 'text' },
      message: /^localAddress\(\) threw$/,
    },
    {
      what: 'answers no address',
      localAddress: () => 'x',
      error: { code: 'ERR_INVALID_IP_ADDRESS' },
      message: /^Invalid IP address: x$/,
    },
    {
      what: 'answers the empty string',
      localAddress: () => '',
      error: { code: 'ERR_INVALID_IP_ADDRESS' },
      message: /^Invalid IP address: $/,
    },
    {
      what: 'answers null',
      localAddress: () => null,
      error: { code: 'ERR_INVALID_ARG_TYPE' },
      message: /"localAddress\(\)" .* Received null$/,
    },
    {
      what: 'answers a number',
      localAddress: () => 5,
      error: { code: 'ERR_INVALID_ARG_TYPE' },
      message: /"localAddress\(\)" .* Received type number \(5\)$/,
    },
    {
      what: 'is asynchronous',
      localAddress: () => Promise.resolve('127.0.0.1'),
      error: { code: 'ERR_INVALID_ARG_TYPE' },
      message: /"localAddress\(\)" .* Received an instance of Promise$/,
    },
    {
      what: 'answers a multicast address',
      localAddress: () => '224.0.0.1',
      error: { code: 'ERR_INVALID_ARG_VALUE' },
      message: /multicast/,
    },
    {
      what: 'answers nothing',
      localAddress: () => undefined,
      error: { code: 'EAFNOSUPPORT', reason: 'family-mismatch', address: '127.0.0.1', port: SERVER },
      message: /localAddress\(\) gave none/,
    },
    {
      what: 'answers an address of the other family',
      localAddress: () => '::1',
      error: { code: 'EAFNOSUPPORT', reason: 'family-mismatch', address: '127.0.0.1', port: SERVER },
      message: /localAddress\(\) gave none/,
    },
  ];
  test.each(failing)('$what: the socket ends with an error', async ({ localAddress, error, message }) => {
    const before = descriptorCount();
    const socket = connect({ ...to, localAddress: localAddress as LocalAddress });
    const events: unknown[] = [];
    socket.on('close', (hadError) => events.push(hadError));
    const heard = await failure(socket);
    expect(heard).toMatchObject(error);
    expect(heard.message).toMatch(message);
    expect(socket.errored).toBe(heard);
    await close(socket);
    expect(events).toEqual([true]);
    expect(descriptorCount()).toBe(before);
  });

  test.each(failing)(
    '$what: nothing is thrown anywhere else, also among several attempts',
    async ({ localAddress, error }) => {
      const socket = connect({
        ...both,
        lookup: names('127.0.0.1', '127.0.0.2') as net.LookupFunction,
        localAddress: localAddress as LocalAddress,
      });
      const heard = await failure(socket);
      if (heard instanceof AggregateError)
        expect(heard.errors).toEqual([expect.objectContaining(error), expect.anything()]);
      else expect(heard).toMatchObject(error);
      expect(socket.errored).toBe(heard);
    },
  );

  test('a throw fails its attempt, and another one may succeed', async () => {
    await serve(echo);
    const failed: unknown[] = [];
    const socket = connect({
      ...both,
      localAddress: ({ family }) => (family === 6 ? raise(new Error('mine')) : '127.0.0.1'),
    });
    socket.on('connectionAttemptFailed', (...args: unknown[]) => failed.push(...args));
    await connected(socket);
    expect(failed).toEqual([
      '::1',
      SERVER,
      6,
      expect.objectContaining({ code: 'EINVAL', address: '::1', port: SERVER }),
    ]);
    expect((failed[3] as Error).message).toMatch(/; localAddress\(\) threw$/);
  });

  test('an error of somebody else is not mistaken for that of the function', async () => {
    const socket = connect({ ...both, localAddress: () => raise(new Error('from the function')) });
    const error = failure(socket);
    socket.once('connectionAttemptFailed', () => process.nextTick(() => socket.destroy(new Error('mine'))));
    await once(socket, 'lookup');
    expect((await error).message).toMatch(/^(mine|from the function)$/);
    expect(socket.errored).toBe(await error);
  });
});

describeIsolated('where the source is given', () => {
  useParityNetwork();

  const source = { localAddress: '127.0.0.5' };

  test('new Socket(options) has it for every connect()', async () => {
    await serve(echo);
    for (const args of [
      [to],
      [SERVER, '127.0.0.1'],
      [{ ...to, localAddress: undefined }],
      [{ ...to, localAddress: null }],
    ]) {
      const socket = new Socket(source);
      Reflect.apply(socket.connect, socket, args);
      expect(await connected(socket)).toMatchObject(source);
    }
  });

  test('connect(options) goes before new Socket(options)', async () => {
    await serve(echo);
    const socket = new Socket({ localAddress: '127.0.0.6', localPort: 19001 });
    expect(await connected(socket.connect({ ...to, ...source }))).toMatchObject({ ...source, localPort: 19001 });
  });

  test('on the prototype of the options', async () => {
    await serve(echo);
    const options = Object.create({ ...to, ...source, localPort: 19002 }) as ConnectOptions;
    for (const make of [
      () => connect(options),
      () => new Socket().connect(options),
      () => new Socket({ localPort: 19003 }).connect(options),
    ]) {
      const socket = await connected(make());
      expect(socket).toMatchObject({ ...source, localPort: 19002 });
      socket.resetAndDestroy();
      await close(socket);
    }
    const made = new Socket(options);
    expect(await connected(made.connect(SERVER, '127.0.0.1'))).toMatchObject({ ...source, localPort: 19002 });
  });

  test('is checked at once: by connect(), and by new Socket() already', () => {
    for (const options of [{ localAddress: 'x' }, { localAddress: '127.0.0.256' }]) {
      const error = expect.objectContaining({ code: 'ERR_INVALID_IP_ADDRESS' });
      expect(() => net.connect({ ...to, ...options })).toThrow(error);
      expect(() => connect({ ...to, ...options })).toThrow(error);
      expect(() => new Socket(options)).toThrow(error);
      expect(() => new Socket().connect({ ...to, ...options })).toThrow(error);
    }
    expect(() => connect({ ...to, localPort: '1' as never })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
    expect(() => connect({ ...to, localPort: 65536 })).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKET_BAD_PORT' }),
    );
  });

  test('an object that has got its source after the constructor has seen it', async () => {
    await serve(echo);
    const options: ConnectOptions = { ...to };
    const socket = track(new Socket(options));
    options.localAddress = source.localAddress;
    await connected(socket.connect(options));
    expect(socket.localAddress).toBe(source.localAddress);
  });

  test('a second connect() that throws leaves the first one its source', async () => {
    await serve(echo);
    const socket = track(new Socket());
    socket.connect({ ...to, ...source });
    expect(() => socket.connect({ ...to, localAddress: 'nowhere' })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_IP_ADDRESS' }),
    );
    await connected(socket);
    expect(socket.localAddress).toBe(source.localAddress);
  });

  test('not beside a descriptor, whose source it would not be', async () => {
    const fd = sys.socket(sys.constants.AF_INET, sys.constants.SOCK_STREAM);
    const socket = track(new Socket({ fd, ...source }));
    const error = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' });
    expect(() => socket.connect(to)).toThrow(error);
    const other = track(new Socket({ fd: sys.socket(sys.constants.AF_INET, sys.constants.SOCK_STREAM) }));
    expect(() => other.connect({ ...to, ...source })).toThrow(error);
  });
});

describeIsolated('errors', () => {
  describe('of connections with a source', () => {
    useParityNetwork();

    test('refused: core names the local end only where it has bound its port, connectx always', async () => {
      const theirs = await failure(net.connect({ ...to, port: CLOSED }));
      expect(theirs.message).toBe(`connect ECONNREFUSED 127.0.0.1:${CLOSED}`);
      const ours = await failure(connect({ ...to, port: CLOSED, localAddress: '127.0.0.5' }));
      expect(ours).toMatchObject({ ...theirs, localAddress: '127.0.0.5', localPort: expect.any(Number) });
      expect(ours.message).toBe(`${theirs.message} - Local (127.0.0.5:${String(ours.localPort)})`);
      // Within a second the kernel is not asked again whether it keeps to this source.
      const again = await failure(connect({ ...to, port: CLOSED, localAddress: '127.0.0.5' }));
      expect({ ...again }).toEqual({ ...ours, localPort: expect.any(Number) });
      expect(Object.keys(again)).toEqual(Object.keys(ours));
      expect(again.localPort).toBeGreaterThan(1023);
      expect(again.message).toBe(`${theirs.message} - Local (127.0.0.5:${String(again.localPort)})`);
      expect(again.stack?.split('\n')[0]).toBe(`Error: ${again.message}`);
      const pinned = { localAddress: '127.0.0.5', localPort: 19004 };
      const [left, right] = [
        await failure(net.connect({ ...to, port: CLOSED, ...pinned })),
        await failure(connect({ ...to, port: CLOSED, ...pinned })),
      ];
      expect({ ...right }).toEqual({ ...left });
      expect(right.message).toBe(left.message);
    });

    test('several attempts: every error is complete, and the whole has code and reason of the first', async () => {
      const lookup = names('127.0.0.1', '127.0.0.2') as net.LookupFunction;
      const error = await failure(connect({ ...both, lookup, localAddress: '203.0.113.9' }));
      expect(error).toBeInstanceOf(AggregateError);
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local' });
      const { errors } = error as unknown as AggregateError;
      const each = { code: 'EADDRNOTAVAIL', syscall: 'bind', reason: 'address-not-local', localAddress: '203.0.113.9' };
      expect(errors).toMatchObject([
        { ...each, address: '127.0.0.1', port: SERVER },
        { ...each, address: '127.0.0.2', port: SERVER },
      ]);
    });

    test('the error of connectionAttemptFailed is complete when it is heard', async () => {
      const heard: unknown[] = [];
      const lookup = names('127.0.0.1', '127.0.0.2') as net.LookupFunction;
      const socket = connect({ ...both, lookup, localAddress: '203.0.113.9' });
      socket.on('connectionAttemptFailed', (_address, _port, _family, error: ConnectionError) =>
        heard.push(error.reason),
      );
      await failure(socket);
      expect(heard).toEqual(['address-not-local', 'address-not-local']);
    });
  });

  describe('of exhaustion', () => {
    useNetwork({ range: [20000, 20001] });

    test('core’s message, and then the reason and what to do', async () => {
      await serve(greet);
      for (let made = 0; made < 2; made++) await connected(net.connect(to));
      const theirs = await failure(net.connect(to));
      expect(theirs.message).toMatch(/^connect EADDRNOTAVAIL 127\.0\.0\.1:5353 - Local \(0\.0\.0\.0:0\)$/);
      const ours = await failure(connect(to));
      expect({ ...ours }).toEqual({ ...theirs, reason: 'ports-exhausted' });
      expect(ours.message.split('; ')[0]).toBe(theirs.message);
      expect(ours.message.split('; ')[1]).toMatch(/20000-20001/);
      expect(ours.stack).toContain(`Error: ${ours.message}\n`);
      expect(ours.name).toBe('Error');
      expect(ours).toBeInstanceOf(ConnectxError);
    });

    test('control: bad arguments throw, and leave no socket behind', async () => {
      const before = descriptorCount();
      expect(await errorOf(() => connect({ ...to, localAddress: 'x' }))).toMatchObject({
        code: 'ERR_INVALID_IP_ADDRESS',
      });
      expect(descriptorCount()).toBe(before);
    });
  });
});

function raise(error: unknown): never {
  throw error;
}
