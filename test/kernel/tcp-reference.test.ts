// The TCP scenarios of Cloudflare's reference suite for connectx(), in its network: 4 ports from 1 on, a tun device without
// anybody behind it, and for IPv6 a whole local subnet.
import type * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { rawBind, rawConnect, type Steps } from '../helpers/raw.js';
import { assertEcho, connected, echoServer, errorOf, exhaust, failure } from '../helpers/sockets.js';

const PORTS = [1, 2, 3, 4];
/** What the kernel assigns after a connection from port 2: without the option for ranges that port is bound, and so not among them. */
const stillAssigned = hasPortRange() ? PORTS : [1, 3, 4];
const SERVER = 5353;
const LINK_LOCAL = 'fe80::602a:900e:beef:dead';

const families = [
  {
    family: 'IPv4',
    any: '0.0.0.0',
    localhost: '127.0.0.1',
    another: '127.0.0.14',
    remoteA: '127.0.0.2',
    remoteB: '127.0.0.3',
    freeBind: false,
  },
  {
    family: 'IPv6',
    any: '::',
    localhost: '::1',
    another: '2001:db8::1',
    remoteA: '2001:db8::2',
    remoteB: '2001:db8::3',
    // An address of a local subnet, as against one of an interface, may be bound only so.
    freeBind: true,
  },
];

const tupleInUse = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'tuple-in-use' };
const portsExhausted = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'ports-exhausted' };
const portLocked = { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' };

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

  describe.each(families)('$family', ({ any, localhost, another, remoteA, remoteB, freeBind }) => {
    const open = async (host: string, localAddress?: string, localPort?: number): Promise<net.Socket> => {
      const options: ConnectOptions = { host, port: SERVER, localAddress, localPort, freeBind };
      const socket = await connected(connect(options));
      await assertEcho(socket);
      return socket;
    };
    const refused = (host: string, localAddress?: string, localPort?: number) =>
      failure(connect({ host, port: SERVER, localAddress, localPort, freeBind }));
    const fill = async (host: string, localAddress?: string): Promise<(number | undefined)[]> => {
      const { made, error } = await exhaust(100, () => open(host, localAddress));
      expect(error).toMatchObject(portsExhausted);
      return made.map((socket) => socket.localPort).sort((a = 0, b = 0) => a - b);
    };
    const rawOpen = async (host: string, steps: Steps): Promise<net.Socket> => {
      const socket = rawConnect({ address: host, port: SERVER }, steps);
      await assertEcho(socket);
      return socket;
    };

    test('a local 2-tuple is shared over destinations, a 4-tuple is not', async () => {
      // (lhost, lport, remote)  --> # 1
      // (lhost, lport, remote)  --> # ERR
      // (lhost, lport, remote2) --> # 1
      await echoServer(SERVER, any);
      const one = await open(remoteA, localhost, 1);
      expect(await refused(remoteA, localhost, 1)).toMatchObject(tupleInUse);
      const other = await open(remoteB, localhost, 1);
      for (const socket of [one, other]) expect(socket).toMatchObject({ localAddress: localhost, localPort: 1 });
    });

    test('the wildcard address with a port', async () => {
      // (*, lport, remote)      --> # 1
      // (*, lport, remote)      --> # ERR
      // (lhost2, lport, remote) --> # 1
      await echoServer(SERVER, any);
      const one = await open(remoteA, any, 1);
      expect(one).toMatchObject({ localAddress: localhost, localPort: 1 });
      expect(await refused(remoteA, any, 1)).toMatchObject(tupleInUse);
      const other = await open(remoteA, another, 1);
      expect(other).toMatchObject({ localAddress: another, localPort: 1 });
    });

    test('any local address and port: every port to each destination', async () => {
      // (*, *, remote)  --> # ephemeral
      // (*, *, remote2) --> # ephemeral
      await echoServer(SERVER, any);
      expect(await fill(remoteB, any)).toEqual(PORTS);
      expect(await fill(remoteA, any)).toEqual(PORTS);
      expect(await refused(remoteB, any)).toMatchObject(portsExhausted);
    });

    test('no local address at all: every port to each destination', async () => {
      // (-, -, remote)  --> # ephemeral
      // (-, -, remote2) --> # ephemeral
      await echoServer(SERVER, any);
      expect(await fill(remoteB)).toEqual(PORTS);
      expect(await fill(remoteA)).toEqual(PORTS);
      expect(await refused(remoteB)).toMatchObject(portsExhausted);
    });

    test('some local address, any port: every port to each destination', async () => {
      // (lhost, *, remote)  --> # ephemeral
      // (lhost, *, remote2) --> # ephemeral
      await echoServer(SERVER, any);
      expect(await fill(remoteB, localhost)).toEqual(PORTS);
      expect(await fill(remoteA, localhost)).toEqual(PORTS);
      expect(await refused(remoteB, localhost)).toMatchObject(portsExhausted);
      expect(await fill(remoteA, another)).toEqual(PORTS);
    });

    test('reserved ports are left alone', async () => {
      // (lhost, *, remote2) --> # ephemeral - reserved
      sysctl('ipv4.ip_local_reserved_ports', '11,14-18,19');
      sysctl('ipv4.ip_local_port_range', '10 21');
      await echoServer(SERVER, any);
      expect(await fill(remoteB, localhost)).toEqual([10, 12, 13, 20, 21]);
    });

    test('never over an unconnected socket: auto-assignment passes over its port', async () => {
      // (*, lport) unconnected
      // (*, *, remote2) --> # ephemeral - 1
      await echoServer(SERVER, any);
      rawBind({ address: any, port: 2 });
      expect(await fill(remoteB, any)).toEqual([1, 3, 4]);
      expect(await fill(remoteB, another)).toEqual([1, 3, 4]);
    });

    test('never over an unconnected socket on the wildcard address', async () => {
      // (*, lport) unconnected
      // (lhost, lport, remote) --> # ERR
      // (*, lport, remote)     --> # ERR
      await echoServer(SERVER, any);
      rawBind({ address: any, port: 2 });
      expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
      expect(await refused(remoteA, any, 2)).toMatchObject(portLocked);
    });

    test('never over an unconnected socket on the same address, but from another one', async () => {
      // (lhost, lport) unconnected
      // (lhost, lport, remote)  --> # ERR
      // (lhost2, lport, remote) --> # 1
      // (*, lport, remote)      --> # ERR
      await echoServer(SERVER, any);
      rawBind({ address: localhost, port: 2 });
      expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
      expect(await open(remoteA, another, 2)).toMatchObject({ localAddress: another, localPort: 2 });
      expect(await refused(remoteA, any, 2)).toMatchObject(portLocked);
    });

    test('never over a listener on the wildcard address', async () => {
      // (*, lport) listens
      // (lhost, lport, remote) --> # ERR
      // (*, lport, remote)     --> # ERR
      // (lhost, *, remote)     --> # ephemeral - 1
      await echoServer(SERVER, any);
      await echoServer(2, any);
      expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
      expect(await refused(remoteA, any, 2)).toMatchObject(portLocked);
      expect(await fill(remoteA, localhost)).toEqual([1, 3, 4]);
    });

    test('never over a listener on the same address, but from another one', async () => {
      // (lhost, lport) listens
      // (lhost, lport, remote)  --> # ERR
      // (lhost2, lport, remote) --> # 1
      await echoServer(SERVER, any);
      await echoServer(2, localhost);
      expect(await refused(remoteA, localhost, 2)).toMatchObject(portLocked);
      expect(await open(remoteA, another, 2)).toMatchObject({ localAddress: another, localPort: 2 });
    });

    test('auto-assigned after explicit, on one port', async () => {
      // (lhost, lport, remote)  --> # 1
      // (lhost, *, remote2)     --> # ephemeral, lport among them
      // (lhost, *, remote)      --> # ephemeral - 1
      await echoServer(SERVER, any);
      await open(remoteA, localhost, 2);
      expect(await fill(remoteB, localhost)).toEqual(stillAssigned);
      expect(await fill(remoteA, localhost)).toEqual([1, 3, 4]);
    });

    test('explicit after auto-assigned, on one port', async () => {
      // (lhost, *, remote)      --> # ephemeral
      // (lhost, lport, remote2) --> # 1, for every lport
      // (lhost, lport, remote)  --> # ERR
      await echoServer(SERVER, any);
      expect(await fill(remoteA, localhost)).toEqual(PORTS);
      for (const port of PORTS) {
        expect((await open(remoteB, localhost, port)).localPort).toBe(port);
        expect(await refused(remoteA, localhost, port)).toMatchObject(tupleInUse);
      }
    });

    test('explicit and auto-assigned without any local address, on one port', async () => {
      // (-, lport, remote)  --> # 1
      // (-, *, remote2)     --> # ephemeral
      // (-, lport, remote2) --> # ERR
      await echoServer(SERVER, any);
      await open(remoteA, undefined, 2);
      expect(await fill(remoteB)).toEqual(stillAssigned);
      if (!hasPortRange()) await open(remoteB, undefined, 2);
      expect(await refused(remoteB, undefined, 2)).toMatchObject(tupleInUse);
    });

    test('plain kernel, vanilla: every port to each destination, then connect EADDRNOTAVAIL', async () => {
      // (*, *, remote)  --> # ephemeral
      // (*, *, remote2) --> # ephemeral
      await echoServer(SERVER, any);
      for (const host of [remoteA, remoteB]) {
        const { made, error } = await exhaust(100, () => rawOpen(host, {}));
        expect(made).toHaveLength(PORTS.length);
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect' });
      }
    });

    test('plain kernel, bind: every port to one destination, then bind EADDRINUSE; another source works', async () => {
      // bind(*, 0)      (*, *, remote)       --> # ephemeral
      // bind(*, 0)      (*, *, remote2)      --> # ERR
      // bind(lhost, 0)  (lhost, *, remote2)  --> # ERR
      // bind(lhost2, 0) (lhost2, *, remote2) --> # 1
      await echoServer(SERVER, any);
      const bound = (address: string): Steps => ({ freeBind, bind: { address, port: 0 } });
      const { made, error } = await exhaust(100, () => rawOpen(remoteA, bound(any)));
      expect(made).toHaveLength(PORTS.length);
      const inUse = { code: 'EADDRINUSE', syscall: 'bind' };
      expect(error).toMatchObject(inUse);
      expect(await errorOf(() => rawOpen(remoteB, bound(any)))).toMatchObject(inUse);
      expect(await errorOf(() => rawOpen(remoteB, bound(localhost)))).toMatchObject(inUse);
      await rawOpen(remoteB, bound(another));
    });

    test('plain kernel, IP_BIND_ADDRESS_NO_PORT: every port to each destination, then connect EADDRNOTAVAIL', async () => {
      // (*, *, remote)  --> # ephemeral
      // (*, *, remote2) --> # ephemeral
      await echoServer(SERVER, any);
      for (const host of [remoteA, remoteB]) {
        const steps: Steps = { noPort: true, bind: { address: any, port: 0 } };
        const { made, error } = await exhaust(100, () => rawOpen(host, steps));
        expect(made).toHaveLength(PORTS.length);
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect' });
      }
    });

    test('plain kernel, SO_REUSEADDR and a port: a second one to the same destination is connect EADDRNOTAVAIL', async () => {
      // (*, lport, remote)  --> # 1
      // (*, lport, remote)  --> # ERR
      // (*, lport, remote2) --> # 1
      await echoServer(SERVER, any);
      const steps: Steps = { reuse: true, bind: { address: any, port: 1 } };
      await rawOpen(remoteA, steps);
      const error = await errorOf(() => rawOpen(remoteA, steps));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect' });
      await rawOpen(remoteB, steps);
    });

    test('connectx goes on where sockets bound to a port each have used the range up', async () => {
      // bind(lhost, 0), SO_REUSEADDR (lhost, *, remote) --> # ephemeral
      // (lhost, *, remote2)     --> # ERR: explicit holders take their ports away from auto-assignment
      // (lhost, lport, remote2) --> # 1, for every lport
      await echoServer(SERVER, any);
      const steps: Steps = { reuse: true, bind: { address: localhost, port: 0 } };
      const { made } = await exhaust(100, () => rawOpen(remoteA, steps));
      expect(made).toHaveLength(PORTS.length);
      expect(await refused(remoteB, localhost)).toMatchObject(portsExhausted);
      for (const port of PORTS) expect((await open(remoteB, localhost, port)).localPort).toBe(port);
    });
  });

  test('a link-local destination with its scope', async () => {
    // (*, *, link-local%eth0)      --> # ephemeral
    // (global, *, link-local%eth0) --> # ephemeral
    await echoServer(SERVER, '::');
    for (const localAddress of ['::', '3ffe::100']) {
      const { made, error } = await exhaust(100, async () => {
        const socket = await connected(connect({ host: `${LINK_LOCAL}%eth0`, port: SERVER, localAddress }));
        await assertEcho(socket);
        return socket;
      });
      expect(made).toHaveLength(PORTS.length);
      expect(error).toMatchObject({ ...portsExhausted, address: `${LINK_LOCAL}%eth0` });
    }
  });
});
