// The UDP scenarios of Cloudflare's reference suite for connectx(), in its network: 4 ports from 1 on, a tun device without
// anybody behind it, and for IPv6 a whole local subnet.
import type * as dgram from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { assertUdpEcho, errorOf, exhaust, RawUdp, udpEcho, type UdpSteps, ways } from '../helpers/udp.js';

const PORTS = [1, 2, 3, 4];
const SERVER = 5353;
const LINK_LOCAL = 'fe80::602a:900e:beef:dead';

const families = [
  {
    family: 'IPv4',
    version: 4,
    any: '0.0.0.0',
    localhost: '127.0.0.1',
    another: '127.0.0.14',
    remoteA: '127.0.0.2',
    remoteB: '127.0.0.3',
    freeBind: false,
  },
  {
    family: 'IPv6',
    version: 6,
    any: '::',
    localhost: '::1',
    another: '2001:db8::1',
    remoteA: '2001:db8::2',
    remoteB: '2001:db8::3',
    // An address of a local subnet, as against one of an interface, may be bound only so.
    freeBind: true,
  },
] as const;

const tupleInUse = { code: 'EADDRINUSE', syscall: 'connect', reason: 'tuple-in-use' };
const portsExhausted = { code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted' };
const portLocked = { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' };

const portsOf = (sockets: readonly dgram.Socket[]) =>
  sockets.map((socket) => socket.address().port).sort((a, b) => a - b);

describeIsolated('reference suite', () => {
  useNetwork({
    range: [1, 4],
    commands: [
      'ip tuntap add mode tun name eth0',
      'ip link set eth0 mtu 65521 up',
      'ip addr add 192.168.1.100/24 dev eth0',
      'ip addr add 3ffe::100/16 dev eth0 nodad',
      'ip route add 0.0.0.0/0 via 192.168.1.1 dev eth0',
      'ip route add ::/0 via 3ffe::1 dev eth0',
      'ip route add local 2001:db8::/64 src ::1 dev lo',
      `ip addr add ${LINK_LOCAL}/64 dev eth0 nodad`,
    ],
  });

  describe.each(families)('$family', ({ version, any, localhost, another, remoteA, remoteB, freeBind }) => {
    const serve = () => udpEcho(SERVER, [remoteA, remoteB], { freeBind });

    describe.each(ways)('$way', ({ open: connect }) => {
      const attempt = (host: string, localAddress?: string, localPort?: number) =>
        connect({ host, port: SERVER, localAddress, localPort, freeBind });
      const open = async (host: string, localAddress?: string, localPort?: number): Promise<AddressInfo> => {
        const socket = await attempt(host, localAddress, localPort);
        await assertUdpEcho(socket);
        return socket.address();
      };
      const refused = (host: string, localAddress?: string, localPort?: number) =>
        errorOf(() => attempt(host, localAddress, localPort));
      const fill = async (host: string, localAddress?: string): Promise<number[]> => {
        const { made, error } = await exhaust(100, () => attempt(host, localAddress));
        expect(error).toMatchObject(portsExhausted);
        await assertUdpEcho(...made);
        return portsOf(made);
      };

      test('a local 2-tuple is shared over destinations, a 4-tuple is not', async () => {
        // (lhost, lport, remote)  --> # 1
        // (lhost, lport, remote)  --> # ERR
        // (lhost, lport, remote2) --> # 1
        await serve();
        const local = { address: localhost, port: 1 };
        expect(await open(remoteA, localhost, 1)).toMatchObject(local);
        expect(await refused(remoteA, localhost, 1)).toMatchObject(tupleInUse);
        expect(await open(remoteB, localhost, 1)).toMatchObject(local);
      });

      test('the wildcard address with a port', async () => {
        // (*, lport, remote)      --> # 1
        // (*, lport, remote)      --> # ERR
        // (lhost2, lport, remote) --> # 1
        await serve();
        expect(await open(remoteA, any, 1)).toMatchObject({ address: localhost, port: 1 });
        expect(await refused(remoteA, any, 1)).toMatchObject(tupleInUse);
        expect(await open(remoteA, another, 1)).toMatchObject({ address: another, port: 1 });
      });

      test.each([
        { given: 'the wildcard address', localAddress: any },
        { given: 'some local address', localAddress: localhost },
        { given: 'no local address', localAddress: undefined },
      ])('$given: every port to each destination', async ({ localAddress }) => {
        // (*, *, remote)  --> # ephemeral
        // (*, *, remote2) --> # ephemeral
        // (*, *, remote)  --> # ERR
        await serve();
        expect(await fill(remoteB, localAddress)).toEqual(PORTS);
        expect(await fill(remoteA, localAddress)).toEqual(PORTS);
        expect(await refused(remoteA, localAddress)).toMatchObject(portsExhausted);
        expect(await refused(remoteB, localAddress)).toMatchObject(portsExhausted);
        // Another source works.
        expect(await fill(remoteA, another)).toEqual(PORTS);
      });

      test('reserved ports are left alone', async () => {
        // (lhost, *, remote2) --> # ephemeral - reserved
        sysctl('ipv4.ip_local_reserved_ports', '11,14-18,19');
        sysctl('ipv4.ip_local_port_range', '10 21');
        await serve();
        expect(await fill(remoteB, localhost)).toEqual([10, 12, 13, 20, 21]);
      });

      test('never over an unconnected socket: its port is passed over', async () => {
        // (*, lport) unconnected
        // (*, *, remote2) --> # ephemeral - 1
        await serve();
        const { localPort } = new RawUdp(version, { bind: { address: any, port: 0 } });
        const others = PORTS.filter((port) => port !== localPort);
        expect(others).toHaveLength(3);
        expect(await fill(remoteB, any)).toEqual(others);
        expect(await fill(remoteB, another)).toEqual(others);
      });

      test('never over an unconnected socket on the wildcard address', async () => {
        // (*, lport) unconnected
        // (lhost, lport, remote) --> # ERR
        // (*, lport, remote)     --> # ERR
        await serve();
        new RawUdp(version, { bind: { address: any, port: 2 } });
        expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
        expect(await refused(remoteA, any, 2)).toMatchObject(portLocked);
      });

      test('never over an unconnected socket on the same address, but from another one', async () => {
        // (lhost, lport) unconnected
        // (lhost, lport, remote)  --> # ERR
        // (lhost2, lport, remote) --> # 1
        // (*, lport, remote)      --> # ERR
        await serve();
        new RawUdp(version, { bind: { address: localhost, port: 2 } });
        expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
        expect(await open(remoteA, another, 2)).toMatchObject({ address: another, port: 2 });
        expect(await refused(remoteA, any, 2)).toMatchObject(portLocked);
        expect(await fill(remoteA, localhost)).toEqual([1, 3, 4]);
        expect(await fill(remoteA, another)).toEqual([1, 3, 4]);
      });

      test('any port after an explicit one', async () => {
        // (lhost, lport, remote) --> # 1
        // (lhost, *, remote2)    --> # ephemeral, lport among them
        // (lhost, *, remote)     --> # ephemeral - 1
        await serve();
        await open(remoteA, localhost, 2);
        expect(await fill(remoteB, localhost)).toEqual(PORTS);
        expect(await fill(remoteA, localhost)).toEqual([1, 3, 4]);
      });

      test('an explicit port after any', async () => {
        // (lhost, *, remote)      --> # ephemeral
        // (lhost, lport, remote2) --> # 1, for every lport
        // (lhost, lport, remote)  --> # ERR
        await serve();
        expect(await fill(remoteA, localhost)).toEqual(PORTS);
        for (const port of PORTS) {
          expect(await open(remoteB, localhost, port)).toMatchObject({ port });
          expect(await refused(remoteA, localhost, port)).toMatchObject(tupleInUse);
        }
      });
    });

    test('plain kernel, vanilla: every port to the first destination, then connect EAGAIN', async () => {
      // (*, *, remote)  --> # ephemeral
      // (*, *, remote2) --> # ERR
      await serve();
      const open = async (steps: UdpSteps) => {
        const socket = new RawUdp(version, steps);
        await socket.assertEcho();
        return socket;
      };
      const { made, error } = await exhaust(100, () => open({ connect: { address: remoteA, port: SERVER } }));
      expect(made).toHaveLength(PORTS.length);
      const again = { code: 'EAGAIN', syscall: 'connect' };
      expect(error).toMatchObject(again);
      const elsewhere = { connect: { address: remoteB, port: SERVER } };
      expect(await errorOf(() => open(elsewhere))).toMatchObject(again);
      // Bound to another source it works.
      await open({ freeBind, bind: { address: another, port: 0 }, ...elsewhere });
    });
  });

  test.each(ways)('$way: a link-local destination of this machine, with its scope', async ({ open }) => {
    // (*, *, link-local%eth0)      --> # ephemeral
    // (global, *, link-local%eth0) --> # ephemeral
    const host = `${LINK_LOCAL}%eth0`;
    await udpEcho(SERVER, [host]);
    for (const localAddress of ['::', '3ffe::100']) {
      const { made, error } = await exhaust(100, () => open({ host, port: SERVER, localAddress }));
      expect(error).toMatchObject({ ...portsExhausted, address: host });
      expect(portsOf(made)).toEqual(PORTS);
      await assertUdpEcho(...made);
    }
  });
});

describeIsolated('link-local destinations over a link', () => {
  useNetwork({
    range: [1, 4],
    commands: [
      'ip link add name a0 type veth peer name b0',
      'ip link add name a1 type veth peer name b1',
      ...['a0', 'a1', 'b0', 'b1'].map((name) => `ip link set ${name} addrgenmode none up`),
      'ip addr add fe80::a/64 dev a0 nodad',
      'ip addr add fe80::a/64 dev a1 nodad',
      'ip addr add fe80::b/64 dev b0 nodad',
      'ip addr add fe80::b/64 dev b1 nodad',
    ],
  });

  // The same two addresses on both links: only the scope tells the 4-tuples apart.
  //
  // (fe80::a%a0, *, fe80::b%a0) --> # ephemeral
  // (fe80::a%a1, *, fe80::b%a1) --> # ephemeral
  const cases = [
    { given: 'the destination only', local: () => ({}) },
    { given: 'the source address', local: () => ({ localAddress: 'fe80::a' }) },
    { given: 'the source address with its zone', local: (link: string) => ({ localAddress: `fe80::a%${link}` }) },
    { given: 'the interface', local: (link: string) => ({ interface: link }) },
  ];

  describe.each(cases)('given $given', ({ local }) => {
    test.each(ways)('$way', async ({ open }) => {
      await udpEcho(SERVER, ['fe80::b%b0', 'fe80::b%b1']);
      for (const link of ['a0', 'a1']) {
        const host = `fe80::b%${link}`;
        const { made, error } = await exhaust(100, () => open({ host, port: SERVER, ...local(link) }));
        expect(error).toMatchObject({ ...portsExhausted, address: host });
        expect(portsOf(made)).toEqual(PORTS);
        for (const socket of made) expect(socket.remoteAddress().address).toBe(host);
        await assertUdpEcho(...made);
        const error2 = await errorOf(() => open({ host, port: SERVER, localPort: 2, ...local(link) }));
        expect(error2).toMatchObject({ ...tupleInUse, localAddress: `fe80::a%${link}`, localPort: 2 });
      }
    });
  });
});
