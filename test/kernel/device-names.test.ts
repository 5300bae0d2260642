// Devices by name, by index and by zone: what the kernel would take in silence, or refuse the second time.
import { connectUdpSync } from 'connectx';
import * as sys from 'connectx/sys';
import { expect, test } from 'vitest';
import { describeIsolated, OUTSIDE, useNetwork } from '../helpers/netns.js';
import { runUnprivileged } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';
import { errorOf, keep, RawUdp } from '../helpers/udp.js';

const { AF_INET, AF_INET6, SOCK_DGRAM, SOL_SOCKET } = sys.constants;

function socket(domain: number): number {
  const fd = sys.socket(domain, SOCK_DGRAM);
  track({ close: () => sys.close(fd) });
  return fd;
}

describeIsolated('a device', () => {
  useNetwork({
    range: [20000, 20003],
    addresses: ['2001:db8::1', '2001:db8::2'],
    commands: [...OUTSIDE, 'ip addr add fe80::7/64 dev v0 nodad'],
  });

  // SO_BINDTODEVICE a second time on a descriptor takes CAP_NET_RAW, also to the same device.
  test('without CAP_NET_RAW, locked ports are passed over like with it', async () => {
    for (const port of [20000, 20002]) {
      new RawUdp(4, { reuse: false, bind: { address: '192.0.2.1', port } });
    }
    const options = { host: '192.0.2.9', port: 53, localAddress: '192.0.2.1', interface: 'v0' };
    expect(await runUnprivileged('many-on-device.mjs', options)).toEqual({
      ports: [20001, 20003],
      error: { code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted' },
    });
  });

  test.each(['lo\0x', 'x'.repeat(16), ''])('%j is no name', async (name) => {
    expect(() =>
      sys.udpLookup({ address: '127.0.0.1', port: 1 }, { address: '127.0.0.1', port: 2 }, { interface: name }),
    ).toThrow(expect.objectContaining({ code: 'ENODEV', syscall: 'if_nametoindex' }) as Error);
    expect(await errorOf(() => connectUdpSync({ host: '127.0.0.1', port: 1, interface: name }))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    });
  });

  test('a Proxy of bytes is no bytes, and nothing is set', async () => {
    const fd = socket(AF_INET);
    sys.setsockopt(fd, SOL_SOCKET, sys.constants.SO_REUSEADDR, 1);
    const bytes = new Proxy(new Uint8Array([1, 0, 0, 0]), {});
    expect(await errorOf(() => sys.setsockopt(fd, SOL_SOCKET, sys.constants.SO_REUSEADDR, bytes))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    });
    expect(sys.getsockopt(fd, SOL_SOCKET, sys.constants.SO_REUSEADDR)).toBe(1);
  });

  test('a connected link-local 4-tuple is found', () => {
    const fd = socket(AF_INET6);
    const local = { address: 'fe80::7%v0', port: 20000 };
    const remote = { address: 'fe80::9%v0', port: 53 };
    expect(sys.udpLookup(local, remote)).toBeUndefined();
    sys.bind(fd, local);
    sys.connect(fd, remote);
    expect(sys.udpLookup(local, remote)).toMatchObject({ state: 1 });
  });

  // The kernel ignores it, so it must not narrow the look-up to the device either.
  test('a zone on a global address is ignored', async () => {
    const options = { host: '2001:db8::2', port: 53, localAddress: '2001:db8::1', localPort: 20001 };
    const device = new RawUdp(6, {
      reuse: true,
      device: 'lo',
      bind: { address: '2001:db8::1', port: 20001 },
      connect: { address: '2001:db8::2', port: 53 },
    });
    const zoned = { ...options, host: '2001:db8::2%v0' };
    expect(await errorOf(() => connectUdpSync(zoned))).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
    device.close();
    keep(connectUdpSync(zoned));
  });
});
