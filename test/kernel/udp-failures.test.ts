// Calls that fail, in whatever way, leave nothing behind; and options that would break the lock are refused.
import type * as dgram from 'node:dgram';
import type { UdpConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount } from '../helpers/sockets.js';
import {
  type Cast,
  closeNow,
  errorOf,
  families,
  fdOf,
  lockedPorts,
  PORTS,
  RawUdp,
  SERVER,
  udpNetwork,
  ways,
} from '../helpers/udp.js';

const { SOL_SOCKET } = sys.constants;

interface Failure {
  name: string;
  /** What must be there before. */
  prepare?: () => unknown;
  options: Partial<UdpConnectOptions>;
  code: string;
}

function failuresOf({ version, source, remote, remote2 }: Cast): Failure[] {
  const connect = { address: remote, port: SERVER };
  const connectedTo = (address: string, reuse: boolean) =>
    PORTS.map(
      (port) => new RawUdp(version, { reuse, bind: { address: source, port }, connect: { ...connect, address } }),
    );
  const port = { localAddress: source, localPort: 20001 };
  const held = () => new RawUdp(version, { bind: { address: source, port: 20001 } });
  return [
    {
      name: 'ports-exhausted',
      prepare: () => connectedTo(remote, true),
      options: { localAddress: source },
      code: 'EAGAIN',
    },
    { name: 'tuple-in-use', prepare: () => connectedTo(remote, true), options: port, code: 'EADDRINUSE' },
    { name: 'tuple-in-use, and locked', prepare: () => connectedTo(remote, false), options: port, code: 'EADDRINUSE' },
    { name: 'port-locked', prepare: held, options: port, code: 'EADDRINUSE' },
    { name: 'port-locked elsewhere', prepare: () => connectedTo(remote2, false), options: port, code: 'EADDRINUSE' },
    {
      name: 'every port locked',
      prepare: () => connectedTo(remote2, false),
      options: { localAddress: source },
      code: 'EAGAIN',
    },
    {
      name: 'address-not-local',
      options: { localAddress: version === 4 ? '192.0.2.1' : '2001:db8:ffff::1', localPort: 20001 },
      code: 'EADDRNOTAVAIL',
    },
    { name: 'no route from this source', options: { ...port, host: unreachable(version) }, code: 'ENETUNREACH' },
    { name: 'no route', options: { localPort: 20001, host: unreachable(version) }, code: 'ENETUNREACH' },
    { name: 'no such interface', options: { ...port, interface: 'nosuch0' }, code: 'ENODEV' },
    {
      name: 'an option that the kernel refuses',
      options: { ...port, socketOptions: [{ level: SOL_SOCKET, name: 9999, value: 1 }] },
      code: 'ENOPROTOOPT',
    },
    ...(version === 4
      ? [{ name: 'broadcast', options: { ...port, host: '127.255.255.255' }, code: 'EACCES' }]
      : [{ name: 'no zone', options: { ...port, host: 'fe80::1' }, code: 'EINVAL' }]),
  ];
}

const unreachable = (version: 4 | 6) => (version === 4 ? '198.51.100.1' : '2001:db8:eeee::1');

/** What is opened once and for all, when a port is shared: the addon's own descriptors. */
async function warmUp(open: (options: UdpConnectOptions) => Promise<dgram.Socket>): Promise<void> {
  for (const { version, source2, remote, remote2 } of families) {
    const bind = { address: source2, port: 30000 };
    const other = new RawUdp(version, { reuse: true, bind, connect: { address: remote2, port: SERVER } });
    await closeNow(await open({ host: remote, port: SERVER, localAddress: source2, localPort: 30000 }));
    await closeNow(await open({ host: remote, port: SERVER, localPort: 30000 }));
    other.close();
  }
}

describeIsolated('a call that fails', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, remote } = cast;
    describe.each(failuresOf(cast))('$name, $code', ({ prepare, options, code }) => {
      test.each(ways)('$way leaves no port locked and no descriptor open', async ({ open }) => {
        const fail = async () => {
          const error = await errorOf(() => open({ host: remote, port: SERVER, ...options }));
          expect(error.code).toBe(code);
        };
        const settled = async () => {
          // libuv closes a handle at the end of a turn.
          for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
          return descriptorCount();
        };
        await prepare?.();
        const locked = lockedPorts(version, source);
        await warmUp(open);
        const before = await settled();
        for (let n = 0; n < 2; n++) await fail();
        expect(await settled()).toBe(before);
        expect(lockedPorts(version, source)).toEqual(locked);
      });
    });
  });
});

describeIsolated('socketOptions', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote }) => {
    describe.each(ways)('$way', ({ open }) => {
      const options = { host: remote, port: SERVER, localAddress: source };

      test.each([
        { option: 'SO_REUSEADDR', name: 2, value: 1 },
        { option: 'SO_REUSEPORT', name: 15, value: 1 },
        { option: 'SO_BINDTODEVICE', name: 25, value: Buffer.from('lo') },
        { option: 'SO_INCOMING_CPU', name: 49, value: 1 },
        { option: 'SO_BINDTOIFINDEX', name: 62, value: 1 },
      ])('$option would break the lock: refused', async ({ name, value }) => {
        const error = await errorOf(() => open({ ...options, socketOptions: [{ level: SOL_SOCKET, name, value }] }));
        expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
      });

      test('others are set, also on the socket that takes the place of one that met a lock', async () => {
        const SO_PRIORITY = 12;
        const theirs = new RawUdp(source.includes(':') ? 6 : 4, { bind: { address: source, port: 20001 } });
        const socketOptions = [{ level: SOL_SOCKET, name: SO_PRIORITY, value: 5 }];
        for (const port of PORTS.filter((port) => port !== 20001)) {
          const socket = await open({ ...options, socketOptions });
          expect(socket.address().port).not.toBe(20001);
          expect(port).toBeGreaterThan(0);
          expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_PRIORITY)).toBe(5);
        }
        theirs.close();
        const socket = await open({ ...options, socketOptions });
        expect(socket.address().port).toBe(20001);
        expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_PRIORITY)).toBe(5);
      });
    });
  });
});
