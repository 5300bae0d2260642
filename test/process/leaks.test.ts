// 10,000 failing calls of every kind leave the process as it was: descriptors, handles, listeners.
import { closeSync, openSync } from 'node:fs';
import * as net from 'node:net';
import { constants as os } from 'node:os';
import { connect, Socket, type ConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { CALLS, type Expected, fails, leavesNothing } from '../helpers/leaks.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { rawBind } from '../helpers/raw.js';
import { connected, echoServer, track } from '../helpers/sockets.js';

const [v4, v6] = families as [(typeof families)[0], (typeof families)[0]];
const CLOSED_PORT = 9;

interface Kind {
  name: string;
  /** What must be there before the first call. */
  prepare?: () => unknown;
  options: () => ConnectOptions;
  expected: Expected;
}

const fill = (options: (port: number) => ConnectOptions) => async () => {
  await echoServer(SERVER, v4.any);
  for (const port of PORTS) await connected(connect(options(port)));
};

const lookup = (...addresses: string[]) =>
  ((_host, _options, callback) => {
    process.nextTick(() =>
      callback(
        null,
        addresses.map((address) => ({ address, family: net.isIP(address) })),
      ),
    );
  }) as net.LookupFunction;

const kinds: Kind[] = [
  ...families.flatMap(({ family, source, remote, any }): Kind[] => [
    {
      name: `${family}: refused`,
      options: () => ({ host: remote, port: CLOSED_PORT, localAddress: source }),
      expected: { code: 'ECONNREFUSED' },
    },
    {
      name: `${family}: every port is taken`,
      prepare: async () => {
        await echoServer(SERVER, any);
        for (const _ of PORTS) await connected(connect({ host: remote, port: SERVER, localAddress: source }));
      },
      options: () => ({ host: remote, port: SERVER, localAddress: source }),
      expected: { code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' },
    },
    {
      name: `${family}: the tuple is in use`,
      prepare: async () => {
        await echoServer(SERVER, any);
        await connected(connect({ host: remote, port: SERVER, localAddress: source, localPort: 20001 }));
      },
      options: () => ({ host: remote, port: SERVER, localAddress: source, localPort: 20001 }),
      expected: { code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' },
    },
    {
      name: `${family}: the port is locked`,
      prepare: () => rawBind({ address: source, port: 20001 }),
      options: () => ({ host: remote, port: CLOSED_PORT, localAddress: source, localPort: 20001 }),
      expected: { code: 'EADDRINUSE', reason: 'port-locked', syscall: 'bind' },
    },
  ]),
  {
    name: 'every port is taken, destination only',
    prepare: fill(() => ({ host: v4.remote, port: SERVER })),
    options: () => ({ host: v4.remote, port: SERVER }),
    expected: { code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' },
  },
  {
    name: 'the tuple is in use, source port only',
    prepare: fill((localPort) => ({ host: v4.remote, port: SERVER, localPort })),
    options: () => ({ host: v4.remote, port: SERVER, localPort: 20002 }),
    expected: { code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' },
  },
  {
    name: 'every port of a range beside the ephemeral one is taken: searched one by one',
    prepare: fill((port) => ({ host: v4.remote, port: SERVER, localAddress: v4.source, localPort: port + 1000 })),
    options: () => ({
      host: v4.remote,
      port: SERVER,
      localAddress: v4.source,
      localPortRange: [RANGE[0] + 1000, RANGE[1] + 1000],
    }),
    expected: { code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' },
  },
  {
    name: 'a source that is not on this machine',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, localAddress: '192.0.2.1' }),
    expected: { code: 'EADDRNOTAVAIL', reason: 'address-not-local', syscall: 'bind' },
  },
  {
    name: 'a source of the other family',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, localAddress: v6.source }),
    expected: { code: 'EAFNOSUPPORT', reason: 'family-mismatch' },
  },
  {
    name: 'a name that has only addresses of the other family',
    options: () => ({
      host: 'name',
      port: CLOSED_PORT,
      localAddress: v6.source,
      lookup: lookup(v4.remote, v4.remote2),
    }),
    expected: { code: 'EAFNOSUPPORT', reason: 'family-mismatch' },
  },
  {
    name: 'a source function that throws',
    options: () => ({
      host: v4.remote,
      port: CLOSED_PORT,
      localAddress: () => {
        throw Object.assign(new Error('mine'), { code: 'MINE' });
      },
    }),
    expected: { code: 'MINE' },
  },
  {
    name: 'a source function that has none',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, localAddress: () => undefined }),
    expected: { code: 'EAFNOSUPPORT', reason: 'family-mismatch' },
  },
  {
    name: 'a source function that answers nonsense',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, localAddress: () => 'nonsense' }),
    expected: { code: 'ERR_INVALID_IP_ADDRESS' },
  },
  {
    name: 'an interface that is not there',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, interface: 'nosuch0' }),
    expected: { code: 'ENODEV', syscall: 'setsockopt' },
  },
  {
    name: 'a zone that is not there',
    options: () => ({ host: v6.remote, port: CLOSED_PORT, localAddress: 'fe80::1%nosuch0' }),
    expected: { code: 'ENODEV' },
  },
  {
    name: 'a socket option that is not there',
    options: () => ({ host: v4.remote, port: CLOSED_PORT, socketOptions: [{ level: 1, name: 9999, value: 1 }] }),
    expected: { code: 'ENOPROTOOPT', syscall: 'setsockopt' },
  },
  {
    name: 'a loopback source towards another machine',
    options: () => ({ host: '2001:db9::2', port: CLOSED_PORT, localAddress: '::1' }),
    expected: { code: 'EINVAL' },
  },
  {
    name: 'a destination without a route',
    options: () => ({ host: '192.0.2.1', port: CLOSED_PORT }),
    expected: { code: 'ENETUNREACH' },
  },
  {
    name: 'connected to itself',
    options: () => ({ host: v4.remote, port: 20001, localAddress: v4.remote, localPortRange: [20001, 20001] }),
    expected: { code: 'ECONNREFUSED' },
  },
  {
    name: 'several addresses, all of which refuse',
    options: () => ({ host: 'name', port: CLOSED_PORT, lookup: lookup(v6.remote, v4.remote), autoSelectFamily: true }),
    expected: { code: 'ECONNREFUSED' },
  },
  {
    name: 'a lookup that fails',
    options: () => ({
      host: 'name',
      port: CLOSED_PORT,
      localAddress: v4.source,
      lookup: (_host, _options, callback) => {
        process.nextTick(() => callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), []));
      },
    }),
    expected: { code: 'ENOTFOUND' },
  },
];

describeIsolated(`${CALLS} failing calls leave nothing behind`, () => {
  useNetwork({
    ...smallNetwork,
    commands: [
      'ip link add veth0 type veth peer name veth1',
      'ip link set veth0 up',
      'ip link set veth1 up',
      'ip addr add 2001:db9::1/64 dev veth0 nodad',
    ],
  });

  test.each(kinds)('$name', async ({ prepare, options, expected }) => {
    await prepare?.();
    await leavesNothing(() => fails(connect(options()), expected));
  });

  test('bad arguments', async () => {
    const wrong: object[] = [
      { localAddress: 'nonsense' },
      { localAddress: {} },
      { localPort: 65536 },
      { localPortRange: [2, 1] },
      { interface: 'much too long a name' },
      { mark: -1 },
      { fastOpen: 1 },
      { socketOptions: [{}] },
    ];
    await leavesNothing((index) => {
      const options = { host: v4.remote, port: CLOSED_PORT, ...wrong[index % wrong.length] } as ConnectOptions;
      expect(() => connect(options)).toThrow();
      expect(() => new Socket().connect(options)).toThrow();
    });
  });

  test('connectx/sys', async () => {
    const { AF_INET, SOCK_STREAM, SOL_SOCKET } = sys.constants;
    const fd = sys.socket(AF_INET, SOCK_STREAM);
    track({ close: () => sys.close(fd) });
    const file = openSync('/dev/null', 'r');
    track({ close: () => closeSync(file) });
    const nowhere = { address: '192.0.2.1', port: 1 };
    const failing: [code: number, call: () => unknown][] = [
      [os.errno.EAFNOSUPPORT, () => sys.socket(9999, SOCK_STREAM)],
      [os.errno.EPROTONOSUPPORT, () => sys.socket(AF_INET, SOCK_STREAM, 17)],
      [os.errno.ENOTSOCK, () => sys.close(file)],
      [os.errno.EBADF, () => sys.close(0x7fffffff)],
      [os.errno.ENOPROTOOPT, () => sys.setsockopt(fd, SOL_SOCKET, 9999, 1)],
      [os.errno.ENOPROTOOPT, () => sys.getsockopt(fd, SOL_SOCKET, 9999)],
      [os.errno.EADDRNOTAVAIL, () => sys.bind(fd, nowhere)],
      [os.errno.ENODEV, () => sys.bind(fd, { address: 'fe80::1%nosuch0', port: 1 })],
      [os.errno.ENETUNREACH, () => sys.connect(fd, nowhere)],
      [os.errno.ENOTCONN, () => sys.getpeername(fd)],
    ];
    await leavesNothing((index) => {
      const [code, call] = failing[index % failing.length] as (typeof failing)[0];
      let error: unknown;
      try {
        call();
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ errno: -code });
    });
  });
});
