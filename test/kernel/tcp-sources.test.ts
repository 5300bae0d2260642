// Source addresses of which the kernel makes something else than was meant, or nothing, or an errno without a reason.
import * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { SERVER } from '../helpers/families.js';
import { describeIsolated, OUTSIDE, shell, sysctl, tcpStates, useNetwork } from '../helpers/netns.js';
import { rawConnect } from '../helpers/raw.js';
import {
  assertEcho,
  closed,
  connected,
  descriptorCount,
  echoServer,
  errorOf,
  exhaust,
  failure,
  track,
  until,
} from '../helpers/sockets.js';

const LINK_LOCAL = 'fe80::1:1';
const PORTS = [20000, 20001, 20002, 20003];
const notLocal = { code: 'EADDRNOTAVAIL', reason: 'address-not-local' };

describeIsolated('source addresses', () => {
  useNetwork({
    range: [20000, 20003],
    addresses: ['2001:db8::1', '2001:db8::2'],
    commands: [...OUTSIDE, `ip addr add ${LINK_LOCAL}/64 dev v0 nodad`],
  });

  const to = (host: string, options: Partial<ConnectOptions> = {}) => connect({ host, port: SERVER, ...options });

  describe('that cannot be a source', () => {
    test.each(['224.0.0.1', '239.255.255.255', '255.255.255.255', 'ff02::1', 'ff0e::1:2'])(
      '%s: thrown as an argument error',
      (localAddress) => {
        const before = descriptorCount();
        const error = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
        expect(() => connect({ host: '127.0.0.2', port: SERVER, localAddress })).toThrow(
          expect.objectContaining(error),
        );
        const message = /options\.localAddress.*must not be a (multicast|broadcast) address/;
        expect(() => connect({ host: '127.0.0.2', port: SERVER, localAddress })).toThrow(message);
        expect(descriptorCount()).toBe(before);
      },
    );

    test.each(['224.0.0.1', '255.255.255.255', '192.0.2.255'])(
      'control: for %s the kernel takes another source in silence',
      async (address) => {
        await echoServer(SERVER);
        const socket = rawConnect({ address: '192.0.2.1', port: SERVER }, { bind: { address, port: 0 } });
        await assertEcho(socket);
        expect(socket.localAddress).toBe('192.0.2.1');
      },
    );

    test.each([
      { given: 'alone', options: {} },
      { given: 'with a port in the ephemeral range', options: { localPort: 20001 } },
      { given: 'with a port outside of it', options: { localPort: 30000 } },
      { given: 'with a range outside of it', options: { localPortRange: [30000, 30001] as const } },
    ])('the broadcast address of a subnet, $given: address-not-local', async ({ options }) => {
      await echoServer(SERVER);
      const error = await failure(to('192.0.2.1', { localAddress: '192.0.2.255', ...options }));
      expect(error).toMatchObject({ ...notLocal, syscall: 'connect', localAddress: '192.0.2.255' });
      expect(error.message).toMatch(/another address/);
      // The connection from the other address is gone, and never was in TIME-WAIT.
      await until(() => tcpStates().length === 0);
    });
  });

  describe('loopback', () => {
    test('::1 towards an address that is not on this machine: EINVAL at once', async () => {
      const error = await failure(to('2001:db8:1::99', { localAddress: '::1' }));
      expect(error).toMatchObject({ code: 'EINVAL', syscall: 'connect', localAddress: '::1' });
      expect(error.message).toMatch(/loopback source address reaches only this machine/);
      expect(tcpStates()).toEqual([]);
    });

    test('control: the kernel sends SYNs that nobody answers', () => {
      rawConnect({ address: '2001:db8:1::99', port: SERVER }, { bind: { address: '::1', port: 20000 } });
      const state = { state: 'SYN-SENT', local: '[::1]:20000', remote: `[2001:db8:1::99]:${SERVER}` };
      expect(tcpStates()).toEqual([state]);
    });

    test.each(['::1', '2001:db8::2', '2001:db8:1::1'])('::1 towards %s works', async (host) => {
      await echoServer(SERVER);
      const socket = await connected(to(host, { localAddress: '::1' }));
      await assertEcho(socket);
      expect(socket.localAddress).toBe('::1');
    });

    test('127.0.0.1 towards an address that is not on this machine: EINVAL, as the kernel says it', async () => {
      const error = await failure(to('192.0.2.77', { localAddress: '127.0.0.1' }));
      expect(error).toMatchObject({ code: 'EINVAL', syscall: 'connect', localAddress: '127.0.0.1' });
      expect(error.message).toMatch(/loopback source address reaches only this machine/);
      const plain = await errorOf(() =>
        rawConnect({ address: '192.0.2.77', port: SERVER }, { bind: { address: '127.0.0.1', port: 0 } }),
      );
      expect(plain).toMatchObject({ code: 'EINVAL', syscall: 'connect' });
    });
  });

  describe('link-local', () => {
    test('without a zone towards a global address: EINVAL, and what to do', async () => {
      const error = await failure(to('2001:db8::2', { localAddress: LINK_LOCAL }));
      expect(error).toMatchObject({ code: 'EINVAL', syscall: 'bind', localAddress: LINK_LOCAL });
      expect(error.message).toMatch(/address%interface/);
      expect(error.message).toMatch(/options\.interface/);
    });

    test('control: net.connect says EINVAL, and no more', async () => {
      const error = await failure(net.connect({ host: '2001:db8::2', port: SERVER, localAddress: LINK_LOCAL }));
      expect(error).toMatchObject({ code: 'EINVAL' });
      expect(error.message).not.toMatch(/interface/);
    });

    test.each([
      { given: 'the zone of the destination', localAddress: LINK_LOCAL },
      { given: 'its zone', localAddress: `${LINK_LOCAL}%v0` },
      { given: 'an interface instead', localAddress: LINK_LOCAL, interface: 'v0' },
    ])('$given: 4 ports, 4 connections', async ({ localAddress, interface: name }) => {
      // (link-local, *, link-local%v0) --> # 4
      await echoServer(SERVER);
      const { made, error } = await exhaust(100, async () => {
        const socket = await connected(to(`${LINK_LOCAL}%v0`, { localAddress, interface: name }));
        await assertEcho(socket);
        return socket;
      });
      expect(made.map((socket) => socket.localPort).sort()).toEqual(PORTS);
      expect(made[0]?.localAddress).toMatch(LINK_LOCAL);
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
    });

    test('with the index of the interface as the zone', async () => {
      await echoServer(SERVER);
      const index = shell('ip -o link show v0 | cut -d: -f1').trim();
      expect(index).toMatch(/^\d+$/);
      const socket = await connected(to(`${LINK_LOCAL}%v0`, { localAddress: `${LINK_LOCAL}%${index}` }));
      await assertEcho(socket);
    });

    test.each([20001, 30000])('with the source port %d', async (localPort) => {
      await echoServer(SERVER);
      const socket = await connected(to(`${LINK_LOCAL}%v0`, { localAddress: LINK_LOCAL, localPort }));
      await assertEcho(socket);
      expect(socket.localPort).toBe(localPort);
    });

    test.each([20001, 30000])('the source address left to the kernel, with the source port %d', async (localPort) => {
      await echoServer(SERVER);
      const socket = await connected(to(`${LINK_LOCAL}%v0`, { localPort }));
      await assertEcho(socket);
      expect(socket).toMatchObject({ localAddress: `${LINK_LOCAL}%v0`, localPort });
    });

    test.each(['nope', '4711'])('with the zone of an interface that does not exist, %s: ENODEV', async (zone) => {
      const error = await failure(to(`${LINK_LOCAL}%v0`, { localAddress: `${LINK_LOCAL}%${zone}` }));
      expect(error).toMatchObject({ code: 'ENODEV' });
      expect(error.message).toMatch(/there is no interface/);
    });

    test('with the zone of another interface: address-not-local', async () => {
      const error = await failure(to(`${LINK_LOCAL}%v0`, { localAddress: `${LINK_LOCAL}%v1` }));
      expect(error).toMatchObject({ ...notLocal, syscall: 'bind' });
    });
  });

  describe.each([
    { family: 'IPv4', host: '127.0.0.2', localAddress: '192.0.2.99' },
    { family: 'IPv6', host: '2001:db8::2', localAddress: '2001:db8:1::99' },
    { family: 'IPv4-mapped', host: '::ffff:127.0.0.2', localAddress: '192.0.2.99' },
  ])('not on this machine, $family', ({ host, localAddress }) => {
    test.each([
      { given: 'alone', options: {} },
      { given: 'with a port in the ephemeral range', options: { localPort: 20001 } },
      { given: 'with a port outside of it', options: { localPort: 30000 } },
      { given: 'with a range in it', options: { localPortRange: [20001, 20002] as const } },
      { given: 'with a range outside of it', options: { localPortRange: [30000, 30001] as const } },
    ])('$given: address-not-local', async ({ options }) => {
      await echoServer(SERVER);
      const attempt = async () => {
        const socket = to(host, { localAddress, ...options });
        const error = await failure(socket);
        expect(error).toMatchObject({ ...notLocal, syscall: 'bind', address: host, port: SERVER });
        expect(error.localAddress).toMatch(localAddress);
        expect(error.message).toMatch(/it is not an address of this machine/);
        await closed(socket);
      };
      // What the kernel is asked with is opened at the first one.
      await attempt();
      const before = descriptorCount();
      await attempt();
      await until(() => descriptorCount() === before);
    });
  });

  describe('not on this machine, freeBind', () => {
    test('IPv6: the SYN goes out with it', async () => {
      track(to('2001:db8:1::99', { localAddress: '2001:db8:9::9', freeBind: true, localPort: 20001 }));
      const state = { state: 'SYN-SENT', local: '[2001:db8:9::9]:20001', remote: `[2001:db8:1::99]:${SERVER}` };
      await until(() => tcpStates().length > 0);
      expect(tcpStates()).toEqual([state]);
    });

    test('IPv4: bound, and refused by the routing, which wants IP_TRANSPARENT or a local route', async () => {
      const error = await failure(to('192.0.2.77', { localAddress: '198.51.100.9', freeBind: true }));
      const plain = await errorOf(() =>
        rawConnect(
          { address: '192.0.2.77', port: SERVER },
          { freeBind: true, bind: { address: '198.51.100.9', port: 0 } },
        ),
      );
      expect(error).toMatchObject({ code: plain.code, syscall: 'connect', localAddress: '198.51.100.9' });
      expect(error.reason).toBeUndefined();
    });

    test.each([
      { family: 'IPv4', subnet: '198.51.100.0/24', source: '198.51.100.9', host: '192.0.2.1' },
      { family: 'IPv6', subnet: '2001:db8:9::/64', source: '2001:db8:9::9', host: '2001:db8:1::1' },
    ])('any address of a local subnet, $family', async ({ subnet, source, host }) => {
      // (source, *, remote) --> # 4
      shell(`ip route add local ${subnet} dev lo`);
      await echoServer(SERVER);
      const { made } = await exhaust(100, async () => {
        const socket = await connected(to(host, { localAddress: source, freeBind: true }));
        await assertEcho(socket);
        return socket;
      });
      expect(made).toHaveLength(PORTS.length);
      for (const socket of made) expect(socket.localAddress).toBe(source);
    });
  });

  test('an IPv6 address that is still tentative: address-not-local, until it is usable', async () => {
    await echoServer(SERVER);
    // So that the search for duplicates goes on for as long as the test.
    sysctl('ipv6.conf.v1.dad_transmits', 60);
    shell('ip addr add 2001:db8:2::7/64 dev v1');
    expect(shell('ip -6 addr show dev v1')).toMatch(/2001:db8:2::7\/64 scope global tentative/);
    const options = { localAddress: '2001:db8:2::7' };
    expect(await failure(to('2001:db8::2', options))).toMatchObject({ ...notLocal, syscall: 'bind' });
    const pinned = await failure(to('2001:db8::2', { ...options, localPort: 20001 }));
    expect(pinned).toMatchObject({ ...notLocal, syscall: 'bind' });
    expect(pinned.message).toMatch(/tentative/);
    shell('ip addr del 2001:db8:2::7/64 dev v1; ip addr add 2001:db8:2::7/64 dev v1 nodad');
    await assertEcho(await connected(to('2001:db8::2', options)));
  });

  test('no usable IPv6 source at all: address-not-local, not ports-exhausted', async () => {
    // Without an address of its own beside ::1, and with a route, IPv6's connect(2) says EADDRNOTAVAIL.
    shell('ip addr flush dev lo; ip addr flush dev v0; ip addr flush dev v1; ip -6 route add 2001:db8:7::/64 dev v0');
    const plain = await errorOf(() => rawConnect({ address: '2001:db8:7::1', port: SERVER }));
    expect(plain).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect' });
    const error = await failure(to('2001:db8:7::1'));
    expect(error).toMatchObject({ ...notLocal, syscall: 'connect', address: '2001:db8:7::1' });
    expect(error.message).toMatch(/no usable source address/);
  });

  describe('family', () => {
    test.each([
      { host: '127.0.0.2', localAddress: '2001:db8::1', needs: 'IPv4' },
      { host: '2001:db8::2', localAddress: '127.0.0.1', needs: 'IPv6' },
      { host: '::ffff:127.0.0.2', localAddress: '2001:db8::1', needs: 'IPv4' },
    ])('$localAddress towards $host: family-mismatch', async ({ host, localAddress, needs }) => {
      const error = await failure(to(host, { localAddress }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch', address: host, port: SERVER });
      expect(error.message).toMatch(`the destination needs an ${needs} source address`);
    });

    test('one source for each', async () => {
      await echoServer(SERVER);
      const localAddress = { ipv4: '127.0.0.14', ipv6: '2001:db8::1' };
      expect(await connected(to('127.0.0.2', { localAddress }))).toMatchObject({ localAddress: '127.0.0.14' });
      expect(await connected(to('2001:db8::2', { localAddress }))).toMatchObject({ localAddress: '2001:db8::1' });
      const mapped = await connected(to('::ffff:127.0.0.2', { localAddress }));
      expect(mapped).toMatchObject({ localAddress: '::ffff:127.0.0.14' });
    });

    test('a function is asked for each destination', async () => {
      await echoServer(SERVER);
      const asked: unknown[] = [];
      const localAddress: ConnectOptions['localAddress'] = (destination) => {
        asked.push({ ...destination });
        return destination.family === 4 ? '127.0.0.14' : undefined;
      };
      expect(await connected(to('127.0.0.2', { localAddress }))).toMatchObject({ localAddress: '127.0.0.14' });
      const error = await failure(to('2001:db8::2', { localAddress }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
      expect(asked).toEqual([
        { address: '127.0.0.2', port: SERVER, family: 4 },
        { address: '2001:db8::2', port: SERVER, family: 6 },
      ]);
    });
  });

  describe('an IPv4-mapped destination', () => {
    test('is reached from an IPv4 source, whose ports are shared over destinations', async () => {
      // (source, *, remote)  --> # 4
      // (source, *, remote2) --> # 4
      await echoServer(SERVER);
      for (const host of ['::ffff:127.0.0.2', '::ffff:127.0.0.3']) {
        const { made, error } = await exhaust(100, async () => {
          const socket = await connected(to(host, { localAddress: '127.0.0.14' }));
          await assertEcho(socket);
          return socket;
        });
        expect(made.map((socket) => socket.localPort).sort()).toEqual(PORTS);
        expect(made[0]).toMatchObject({ localAddress: '::ffff:127.0.0.14', remoteAddress: host });
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
      }
    });

    test.each([20001, 30000])('shares its 4-tuples with the IPv4 destination, source port %d', async (localPort) => {
      // (source, port, ::ffff:remote)  --> # 1
      // (source, port, remote)         --> # ERR
      // (-, port, ::ffff:remote2)      --> # 1
      await echoServer(SERVER);
      await assertEcho(await connected(to('::ffff:127.0.0.2', { localAddress: '127.0.0.1', localPort })));
      const error = await failure(to('127.0.0.2', { localAddress: '127.0.0.1', localPort }));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' });
      const other = await connected(to('::ffff:127.0.0.3', { localPort }));
      expect(other).toMatchObject({ localAddress: '::ffff:127.0.0.1', localPort });
    });
  });

  test('no route: as the kernel says it, whatever the source port', async () => {
    for (const host of ['203.0.113.1', '2001:db8:7::1']) {
      for (const localPort of [undefined, 20001, 30000]) {
        const error = await failure(to(host, { localPort }));
        expect(error).toMatchObject({ code: 'ENETUNREACH', syscall: 'connect', address: host, port: SERVER });
      }
    }
  });
});
