// A socket that is bound to a device and one that is not can both connect one TCP 4-tuple, and the first dies in silence.
import { connect } from 'connectx';
import * as sys from 'connectx/sys';
import { afterEach, describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { assertEcho, connected, echoServer, failure } from '../helpers/sockets.js';

const { AF_INET, AF_INET6, SOCK_STREAM, SOL_SOCKET, SO_BINDTODEVICE, SO_REUSEADDR } = sys.constants;
const families = [
  { family: 'IPv4', domain: AF_INET, any: '0.0.0.0', source: '127.0.0.1', other: '127.0.0.2', third: '127.0.0.3' },
  { family: 'IPv6', domain: AF_INET6, any: '::', source: '2001:db8::1', other: '2001:db8::2', third: '2001:db8::3' },
];
const SERVER = 5353;
const PORT = 20001;

const opened: number[] = [];
afterEach(() => {
  for (const fd of opened.splice(0)) sys.close(fd);
});

/** Another program's socket: explicitly bound, and to a device where one is given. */
function rawConnect(domain: number, source: string, destination: string, device?: string): void {
  const fd = sys.socket(domain, SOCK_STREAM);
  opened.push(fd);
  sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (device !== undefined) sys.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(device));
  sys.bind(fd, { address: source, port: PORT });
  expect(() => {
    sys.connect(fd, { address: destination, port: SERVER });
  }).toThrow('EINPROGRESS');
}

describeIsolated('a TCP 4-tuple and a device', () => {
  useNetwork({ range: [20000, 20003], addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3'] });

  describe.each(families)('$family', ({ domain, any, source, other, third }) => {
    test('control: the kernel connects the 4-tuple a second time', async () => {
      await echoServer(SERVER, any);
      rawConnect(domain, source, other, 'lo');
      rawConnect(domain, source, other);
    });

    // (lhost, lport, remote) on lo --> # 1
    // (lhost, lport, remote)       --> # ERR
    // (lhost, lport, remote2)      --> # 1
    test.each([
      { given: 'the source address and port', options: { localAddress: source, localPort: PORT } },
      { given: 'the source port', options: { localPort: PORT } },
    ])('held by a socket that is bound to a device, given $given', async ({ options }) => {
      await echoServer(SERVER, any);
      // What the kernel takes when it routes towards an address of this machine.
      const routed = domain === AF_INET ? '127.0.0.1' : other;
      const from = 'localAddress' in options ? source : routed;
      rawConnect(domain, from, other, 'lo');
      const error = await failure(connect({ host: other, port: SERVER, ...options }));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use', localPort: PORT });
      await assertEcho(await connected(connect({ host: third, port: SERVER, ...options })));
    });

    // (lhost, lport, remote)       --> # 1
    // (lhost, lport, remote) on lo --> # ERR
    test('held by a socket that is bound to none, when ours is to be bound to one', async () => {
      await echoServer(SERVER, any);
      const options = { host: other, port: SERVER, localAddress: source, localPort: PORT };
      const first = await connected(connect(options));
      const error = await failure(connect({ ...options, interface: 'lo' }));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' });
      await assertEcho(first);
    });

    test('a listener with a device holds no 4-tuple', async () => {
      await echoServer(SERVER, any);
      const listener = await echoServer(PORT + 1000, source);
      await assertEcho(await connected(connect({ host: other, port: SERVER, localAddress: source, localPort: PORT })));
      listener.close();
    });
  });
});

describeIsolated('a TCP 4-tuple that the kernel chooses, and a device', () => {
  useNetwork({ range: [20000, 20000], addresses: ['2001:db8::1', '2001:db8::2'] });

  // docs/tcp.md says so: there is no port to look for before connect(2), and after it the first one is overshadowed already.
  test.each(families)('$family: connectx cannot tell, as the kernel cannot', async ({ any, source, other }) => {
    await echoServer(SERVER, any);
    const options = { host: other, port: SERVER, localAddress: source };
    const first = await connected(connect({ ...options, interface: 'lo' }));
    const second = await connected(connect(options));
    expect(second.localPort).toBe(first.localPort);
    await assertEcho(second);
    // Where the port is given, it can.
    expect(await failure(connect({ ...options, localPort: 20000 }))).toMatchObject({ reason: 'tuple-in-use' });
  });
});
