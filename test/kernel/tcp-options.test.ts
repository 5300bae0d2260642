// The source options that are socket options: are they really set, before bind, and what does the kernel say to those that it
// will not set?
import type * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, shell, sysctl, tcpStates, useNetwork } from '../helpers/netns.js';
import { runUnprivileged } from '../helpers/run.js';
import {
  assertEcho,
  closed,
  connected,
  descriptorCount,
  echoServer,
  failure,
  fdOf,
  track,
  until,
} from '../helpers/sockets.js';

const { constants } = sys;
const { IP_FREEBIND, IP_TRANSPARENT, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPV6_FREEBIND, IPV6_TRANSPARENT } =
  constants;
const { SO_BINDTODEVICE, SO_MARK, SO_REUSEADDR, SOL_SOCKET, TCP_FASTOPEN_CONNECT } = constants;
// Not among the constants of connectx/sys.
const SO_PRIORITY = 12;
const TCP_USER_TIMEOUT = 18;
const TCP_INFO = 11;
const TCP_FASTOPEN = 23;

const device = (socket: net.Socket) =>
  sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_BINDTODEVICE, 16).toString().replace(/\0.*/, '');

describeIsolated('options', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, version, source, remote, remote2 }) => {
    const to = (host: string, options: Partial<ConnectOptions>) => connect({ host, port: SERVER, ...options });
    const level = version === 6 ? IPPROTO_IPV6 : IPPROTO_IP;

    // Pinned and explicit, with a port, with a range that is searched, and none of it.
    const ways: { way: string; options: Partial<ConnectOptions> }[] = [
      { way: 'destination only', options: {} },
      { way: 'source', options: { localAddress: source } },
      { way: 'port in the ephemeral range', options: { localAddress: source, localPort: 20001 } },
      { way: 'port outside of it', options: { localAddress: source, localPort: 30000 } },
      { way: 'range outside of it', options: { localAddress: source, localPortRange: [30000, 30001] } },
    ];

    describe.each(ways)('$way', ({ options }) => {
      test('SO_REUSEADDR is set', async () => {
        await echoServer(SERVER, any);
        const socket = await connected(to(remote, options));
        expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_REUSEADDR)).toBe(1);
      });

      test('socketOptions are set', async () => {
        await echoServer(SERVER, any);
        const bytes = new Uint8Array(new Int32Array([5]).buffer);
        const socket = await connected(
          to(remote, {
            ...options,
            socketOptions: [
              { level: IPPROTO_TCP, name: TCP_USER_TIMEOUT, value: 12_345 },
              { level: SOL_SOCKET, name: SO_PRIORITY, value: bytes },
            ],
          }),
        );
        expect(sys.getsockopt(fdOf(socket), IPPROTO_TCP, TCP_USER_TIMEOUT)).toBe(12_345);
        expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_PRIORITY)).toBe(5);
        const plain = await connected(to(remote2, options));
        expect(sys.getsockopt(fdOf(plain), IPPROTO_TCP, TCP_USER_TIMEOUT)).toBe(0);
        expect(sys.getsockopt(fdOf(plain), SOL_SOCKET, SO_PRIORITY)).toBe(0);
      });

      test('interface, mark, freeBind, transparent and fastOpen are set', async () => {
        await echoServer(SERVER, any);
        const socket = await connected(
          to(remote, {
            ...options,
            interface: 'lo',
            mark: 0xfeedface,
            freeBind: true,
            transparent: true,
            fastOpen: true,
          }),
        );
        await assertEcho(socket);
        const fd = fdOf(socket);
        expect(device(socket)).toBe('lo');
        expect(sys.getsockopt(fd, SOL_SOCKET, SO_MARK) >>> 0).toBe(0xfeedface);
        expect(sys.getsockopt(fd, level, version === 6 ? IPV6_FREEBIND : IP_FREEBIND)).toBe(1);
        expect(sys.getsockopt(fd, level, version === 6 ? IPV6_TRANSPARENT : IP_TRANSPARENT)).toBe(1);
        expect(sys.getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT)).toBe(1);
      });

      test('control: none of them unless asked for', async () => {
        await echoServer(SERVER, any);
        const socket = await connected(to(remote, options));
        const fd = fdOf(socket);
        expect(device(socket)).toBe('');
        expect(sys.getsockopt(fd, SOL_SOCKET, SO_MARK)).toBe(0);
        expect(sys.getsockopt(fd, level, version === 6 ? IPV6_FREEBIND : IP_FREEBIND)).toBe(0);
        expect(sys.getsockopt(fd, level, version === 6 ? IPV6_TRANSPARENT : IP_TRANSPARENT)).toBe(0);
        expect(sys.getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT)).toBe(0);
      });

      test('an interface that does not exist: ENODEV', async () => {
        const before = descriptorCount();
        const socket = to(remote, { ...options, interface: 'nope0' });
        const error = await failure(socket);
        expect(error).toMatchObject({ code: 'ENODEV', syscall: 'setsockopt', address: remote, port: SERVER });
        expect(error.message).toMatch(/there is no interface "nope0"/);
        await closed(socket);
        await until(() => descriptorCount() === before);
      });

      test('a socket option that does not exist: ENOPROTOOPT', async () => {
        const before = descriptorCount();
        const socket = to(remote, { ...options, socketOptions: [{ level: IPPROTO_TCP, name: 9999, value: 1 }] });
        const error = await failure(socket);
        expect(error).toMatchObject({ code: 'ENOPROTOOPT', syscall: 'setsockopt', address: remote, port: SERVER });
        expect(error.message).toMatch(/socket options/);
        await closed(socket);
        await until(() => descriptorCount() === before);
      });
    });

    test('socketOptions come before bind: one of them lets a foreign address be bound', async () => {
      const foreign = version === 6 ? '2001:db8:9::9' : '198.51.100.9';
      shell(`ip route add local ${foreign} dev lo`);
      await echoServer(SERVER, any);
      const options = { localAddress: foreign };
      if (version === 6) {
        const error = await failure(to(remote, options));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'bind', reason: 'address-not-local' });
      }
      const name = version === 6 ? IPV6_FREEBIND : IP_FREEBIND;
      const socket = await connected(to(remote, { ...options, socketOptions: [{ level, name, value: 1 }] }));
      await assertEcho(socket);
      expect(socket.localAddress).toBe(foreign);
    });

    test('interface: the connection goes that way, and no other', async () => {
      // Bound to v0, the socket does not reach what is behind lo: IPv4 sends SYNs that nobody answers, IPv6 says so.
      shell('ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up');
      shell('ip addr add 192.0.2.1/24 dev v0; ip addr add 2001:db8:1::1/64 dev v0 nodad');
      await echoServer(SERVER, any);
      await assertEcho(await connected(to(remote, { interface: 'lo' })));
      const socket = to(remote, { interface: 'v0', localPort: 20001 });
      if (version === 6) {
        expect(await failure(socket)).toMatchObject({ code: 'ENETUNREACH', syscall: 'connect' });
        return;
      }
      track(socket);
      await until(() => tcpStates().some(({ state }) => state === 'SYN-SENT'));
      expect(device(socket)).toBe('v0');
      expect(socket.connecting).toBe(true);
    });

    test('mark: the routing policy sees it', async () => {
      // Marked 7, the destination cannot be reached.
      await echoServer(SERVER, any);
      const ip = version === 6 ? 'ip -6' : 'ip';
      shell(
        `${ip} rule add fwmark 7 unreachable pref 0; ${ip} rule del pref 0 lookup local; ${ip} rule add pref 1 lookup local`,
      );
      await assertEcho(await connected(to(remote, { mark: 8 })));
      for (const localPort of [undefined, 20001, 30000]) {
        const error = await failure(to(remote, { mark: 7, localPort }));
        expect(['EHOSTUNREACH', 'ENETUNREACH']).toContain(error.code);
        expect(error.syscall).toBe('connect');
      }
    });

    test('transparent: any source address at all', async () => {
      shell('ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up');
      shell('ip addr add 192.0.2.1/24 dev v0; ip addr add 2001:db8:1::1/64 dev v0 nodad');
      const [foreign, host] = version === 6 ? ['2001:db8:9::9', '2001:db8:1::99'] : ['198.51.100.9', '192.0.2.77'];
      track(to(host, { localAddress: foreign, localPort: 20001, transparent: true }));
      const bracketed = version === 6 ? `[${foreign}]` : foreign;
      await until(() => tcpStates().length > 0);
      expect(tcpStates()).toMatchObject([{ state: 'SYN-SENT', local: `${bracketed}:20001` }]);
    });

    test.each([
      { asked: 'mark', options: { mark: 7 } },
      { asked: 'transparent', options: { transparent: true } },
    ])('$asked without the privilege: EPERM, and which one is needed', async ({ options }) => {
      await echoServer(SERVER, any);
      const outcome = await runUnprivileged('connect.mjs', { host: remote, port: SERVER, ...options });
      expect(outcome).toMatchObject({ code: 'EPERM', syscall: 'setsockopt' });
      expect(outcome).toHaveProperty('message', expect.stringMatching(/CAP_NET_ADMIN/));
    });

    test('a privileged source port without the privilege: EACCES, not exhausted', async () => {
      sysctl('ipv4.ip_unprivileged_port_start', 1024);
      await echoServer(SERVER, any);
      for (const options of [{ localPort: 100 }, { localPortRange: [100, 101] }]) {
        const outcome = await runUnprivileged('connect.mjs', { host: remote, port: SERVER, ...options });
        expect(outcome).toMatchObject({ code: 'EACCES', syscall: 'bind' });
        expect(outcome).toHaveProperty('message', expect.stringMatching(/CAP_NET_BIND_SERVICE/));
      }
    });

    test('the rest needs no privilege', async () => {
      await echoServer(SERVER, any);
      const options = {
        host: remote,
        port: SERVER,
        localAddress: source,
        localPort: 20001,
        interface: 'lo',
        freeBind: true,
        fastOpen: true,
      };
      const outcome = await runUnprivileged('connect.mjs', options);
      expect(outcome).toEqual({ localAddress: source, localPort: 20001 });
    });

    test('fastOpen: the first bytes travel with the SYN once there is a cookie', async () => {
      sysctl('ipv4.tcp_fastopen', 3);
      const server = await echoServer(SERVER, any);
      sys.setsockopt(fdOf(server as unknown as net.Socket), IPPROTO_TCP, TCP_FASTOPEN, 16);
      const withTheSyn: boolean[] = [];
      for (let n = 0; n < 2; n++) {
        const socket = await connected(to(remote, { localAddress: source, fastOpen: true }));
        await assertEcho(socket);
        // tcpi_options of linux/tcp.h; TCPI_OPT_SYN_DATA: the data in the SYN were acknowledged.
        const info = sys.getsockopt(fdOf(socket), IPPROTO_TCP, TCP_INFO, 8);
        withTheSyn.push(((info[5] ?? 0) & 32) !== 0);
        expect(socket.localAddress).toBe(source);
      }
      expect(withTheSyn).toEqual([false, true]);
    });
  });
});
