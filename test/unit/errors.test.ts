// Every error that connectx makes, beside the ones that Node makes.
import { execFileSync } from 'node:child_process';
import * as dns from 'node:dns';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { constants } from 'node:os';
import { getSystemErrorMap, inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { badPort, invalidAddress, invalidType, invalidValue, outOfRange } from '../../src/errors/argument_errors';
import { complete, ConnectxError, errnoName, systemError, unsupported } from '../../src/errors/connectx_error';

const { errno } = constants;

function thrown(act: () => unknown): Error & { code: string } {
  try {
    act();
  } catch (error) {
    return error as Error & { code: string };
  }
  throw new Error('nothing was thrown');
}

describe('ConnectxError', () => {
  test('has what it was given, and nothing else', () => {
    const error = new ConnectxError('words', { code: 'EPERM', errno: -1, syscall: undefined, reason: 'mark' });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ message: 'words', code: 'EPERM', errno: -1, reason: 'mark' });
    expect(Object.keys(error).sort()).toEqual(['code', 'errno', 'reason']);
    expect('syscall' in error).toBe(false);
    expect('cause' in error).toBe(false);
  });

  test('prints as an Error of Node does', () => {
    const error = new ConnectxError('words', { code: 'EPERM' });
    expect(`${error}`).toBe('Error: words');
    expect(error.stack).toMatch(/^Error: words\n {4}at /);
    expect(inspect(error)).toContain("code: 'EPERM'");
  });

  test('keeps its cause as Error does: not enumerable', () => {
    const cause = new Error('deeper');
    const error = new ConnectxError('words', { code: 'EPERM' }, cause);
    expect(error.cause).toBe(cause);
    expect(Object.keys(error)).toEqual(['code']);
  });
});

test('errnoName knows every errno that libuv knows', () => {
  let known = 0;
  for (const [number, [name]] of getSystemErrorMap()) {
    if (number < -4000) continue; // libuv's own
    expect(errnoName(-number)).toBe(name);
    known++;
  }
  expect(known).toBeGreaterThan(50);
  expect(errnoName(errno.EADDRNOTAVAIL)).toBe('EADDRNOTAVAIL');
});

test('systemError has the shape of a system error of Node', () => {
  const error = systemError(errno.EADDRINUSE, 'bind');
  expect(error).toBeInstanceOf(ConnectxError);
  expect(error).toMatchObject({
    message: 'bind EADDRINUSE',
    code: 'EADDRINUSE',
    errno: -errno.EADDRINUSE,
    syscall: 'bind',
  });
  expect(Object.keys(error).sort()).toEqual(['code', 'errno', 'syscall']);
  expect(systemError(errno.EINVAL, '')).not.toHaveProperty('syscall');
});

test('unsupported names the feature', () => {
  const cause = new Error('dlopen');
  const error = unsupported('mark', 'this is no Linux', cause);
  expect(error).toMatchObject({
    code: 'ERR_CONNECTX_UNSUPPORTED',
    reason: 'mark',
    message: 'mark is not supported here: this is no Linux',
    cause,
  });
});

describe('complete', () => {
  const attempt = { destination: { address: '192.0.2.9', port: 80 }, localAddress: '192.0.2.1', localPort: 1234 };
  const failure = { syscall: 'bind', reason: 'port-locked', advice: 'do something' };

  // As core writes it: ExceptionWithHostPort of lib/internal/errors.js.
  function fromCore(): NodeJS.ErrnoException {
    const message = 'connect EADDRINUSE 192.0.2.9:80 - Local (0.0.0.0:0)';
    return Object.assign(new Error(message), {
      errno: -errno.EADDRINUSE,
      code: 'EADDRINUSE',
      syscall: 'connect',
      address: '192.0.2.9',
      port: 80,
    });
  }

  test('completes the very object that core made', () => {
    const error = fromCore();
    complete(error, attempt, failure);
    expect(error).toBeInstanceOf(ConnectxError);
    expect(error).toMatchObject({
      name: 'Error',
      message: 'bind EADDRINUSE 192.0.2.9:80 - Local (192.0.2.1:1234); do something',
      code: 'EADDRINUSE',
      errno: -errno.EADDRINUSE,
      syscall: 'bind',
      address: '192.0.2.9',
      port: 80,
      localAddress: '192.0.2.1',
      localPort: 1234,
      reason: 'port-locked',
    });
    expect(error.stack).toMatch(
      /^Error: bind EADDRINUSE 192\.0\.2\.9:80 - Local \(192\.0\.2\.1:1234\); do something\n {4}at /,
    );
  });

  test('names an errno for which libuv, and so core, has no name', () => {
    const code = 'Unknown system error -33';
    const message = `connect ${code} 192.0.2.9:80 - Local (0.0.0.0:0)`;
    const error = Object.assign(fromCore(), { errno: -errno.EDOM, code, message });
    complete(error, attempt, { ...failure, syscall: 'setsockopt' });
    expect(error.code).toBe('EDOM');
    expect(error.message).toMatch(/^setsockopt EDOM 192\.0\.2\.9:80 /);
  });

  test('does it once', () => {
    const error = fromCore();
    complete(error, attempt, failure);
    const { message } = error;
    complete(error, { ...attempt, localPort: 9 }, { ...failure, reason: 'tuple-in-use' });
    expect(error).toMatchObject({ message, localPort: 1234, reason: 'port-locked' });
  });

  test.each([
    // Nothing by the source: then what core could say of the descriptor stands.
    [{ localAddress: null, localPort: 0 }, 'bind EADDRINUSE 192.0.2.9:80 - Local (0.0.0.0:0)'],
    [{ localAddress: null, localPort: 5 }, 'bind EADDRINUSE 192.0.2.9:80 - Local (*:5)'],
    [{ localAddress: '192.0.2.1', localPort: 0 }, 'bind EADDRINUSE 192.0.2.9:80 - Local (192.0.2.1:0)'],
  ])('says of the local end what is known: %o', (local, message) => {
    const error = fromCore();
    complete(error, { ...attempt, ...local }, { ...failure, reason: undefined, advice: '' });
    expect(error.message).toBe(message);
    expect('localAddress' in error).toBe(local.localAddress !== null);
    expect('localPort' in error).toBe(local.localPort !== 0);
    expect('reason' in error).toBe(false);
  });

  test('takes away what core says of a local end that it does not know', () => {
    const error = fromCore();
    error.message = 'connect EADDRINUSE 192.0.2.9:80 - Local (undefined:undefined)';
    complete(error, { ...attempt, localAddress: null, localPort: 0 }, { ...failure, advice: '' });
    expect(error.message).toBe('bind EADDRINUSE 192.0.2.9:80');
  });

  test('leaves $ signs in the words alone', () => {
    const error = fromCore();
    complete(error, attempt, { ...failure, advice: `there is no interface "$&$1$'"` });
    expect(error.stack).toContain(`there is no interface "$&$1$'"`);
    expect(error.stack?.match(/EADDRINUSE/g)).toHaveLength(1);
  });

  test('does without a stack', () => {
    const error = fromCore();
    Reflect.deleteProperty(error, 'stack');
    complete(error, attempt, failure);
    expect(error.message).toContain('do something');
  });
});

describe("argument errors are in Node's words", () => {
  const strange: [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['minus zero', -0],
    ['NaN', NaN],
    ['a large number', 1e39],
    ['a bigint', 5n],
    ['a boolean', true],
    ['a symbol', Symbol('s')],
    ['an object', {}],
    ['an array', []],
    ['a date', new Date(0)],
    ['an object without a prototype', Object.create(null)],
    ['a function', function named() {}],
    ['a class', URL],
  ];

  test.each(strange)('ERR_INVALID_ARG_TYPE, given %s', (_, value) => {
    const nodes = thrown(() => new net.SocketAddress({ address: (value ?? Symbol('s')) as string }));
    const mine = invalidType('options.address', 'of type string', value ?? Symbol('s'));
    expect(mine.message).toBe(nodes.message);
    expect(mine).toMatchObject({ name: nodes.name, code: nodes.code });
    expect(mine).toBeInstanceOf(TypeError);
  });

  test('ERR_INVALID_ARG_TYPE of an argument, which is no property', () => {
    const nodes = thrown(() => dns.setServers(5 as unknown as string[]));
    expect(invalidType('servers', 'an instance of Array', 5).message).toBe(nodes.message);
    const absent = thrown(() => dns.setServers(undefined as unknown as string[]));
    expect(invalidType('servers', 'an instance of Array', undefined).message).toBe(absent.message);
    const none = thrown(() => dns.setServers(null as unknown as string[]));
    expect(invalidType('servers', 'an instance of Array', null).message).toBe(none.message);
  });

  test.each(['x', `it's`, 'y'.repeat(200)])('ERR_INVALID_ARG_VALUE, given %s', (value) => {
    const nodes = thrown(() => new net.SocketAddress({ family: value as 'ipv4' }));
    const mine = invalidValue('options.family', value, 'is invalid');
    expect(mine.message).toBe(nodes.message);
    expect(mine).toMatchObject({ name: nodes.name, code: nodes.code });
  });

  test('ERR_INVALID_ARG_VALUE of an argument, which is no property', () => {
    expect(invalidValue('x', 5, 'is wrong').message).toBe(`The argument 'x' is wrong. Received 5`);
  });

  test.each([-1, 2147483648, 2 ** 32, 2 ** 33])('ERR_OUT_OF_RANGE, given %d', (value) => {
    const nodes = thrown(() => new net.Socket({ fd: value }));
    const mine = outOfRange('fd', '>= 0 && <= 2147483647', value);
    expect(mine.message).toBe(nodes.message);
    expect(mine).toMatchObject({ name: nodes.name, code: nodes.code });
    expect(mine).toBeInstanceOf(RangeError);
  });

  test.each([-1, 65536, 1.5, NaN])('ERR_SOCKET_BAD_PORT, given %d', (value) => {
    const nodes = thrown(() => new net.SocketAddress({ port: value }));
    const mine = badPort('options.port', value);
    expect(mine.message).toBe(nodes.message);
    expect(mine).toMatchObject({ name: nodes.name, code: nodes.code });
    expect(mine).toBeInstanceOf(RangeError);
  });

  test('ERR_INVALID_IP_ADDRESS', () => {
    const nodes = thrown(() => net.connect({ port: 1, localAddress: 'nowhere' }));
    const mine = invalidAddress('nowhere');
    expect(mine.message).toBe(nodes.message);
    expect(mine).toMatchObject({ name: nodes.name, code: nodes.code });
  });

  // In a process of its own: the test runner changes how Node's own errors print.
  test('print as Node prints its own', () => {
    const script = `
      const net = require('node:net');
      const { connect, connectUdpSync } = require(process.argv[1]);
      const thrown = (act) => { try { act(); } catch (error) { return error; } };
      const parts = ({ name, code, message, stack }) => [stack.split('\\n')[0], name, code, message];
      console.log(JSON.stringify([
        [() => connect({ port: 1, localAddress: 5 }), () => new net.SocketAddress({ address: 5 })],
        [() => connectUdpSync({ host: '127.0.0.1', port: 65536 }), () => new net.SocketAddress({ port: 65536 })],
      ].map((pair) => pair.map((act) => parts(thrown(act))))));`;
    const built = createRequire(import.meta.url).resolve('connectx');
    const printed = execFileSync(process.execPath, ['-e', script, built], { encoding: 'utf8' });
    const pairs = JSON.parse(printed) as [string, string, string, string][][];
    expect(pairs).toHaveLength(2);
    for (const [line, name, code, message] of pairs.flat()) expect(line).toBe(`${name} [${code}]: ${message}`);
    for (const [mine, nodes] of pairs) expect(mine?.slice(1, 3)).toEqual(nodes?.slice(1, 3));
  });
});
