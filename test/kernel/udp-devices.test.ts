// A socket that is bound to a device is found only by a lookup that names the device; the kernel connects its 4-tuple a second
// time without a word, and one of the two is overshadowed.
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { closeNow, errorOf, families, PORTS, RawUdp, SERVER, udpNetwork, ways } from '../helpers/udp.js';

describeIsolated('a UDP 4-tuple and a device', () => {
  const [a4, b4, peer4] = ['10.1.0.1', '10.1.0.2', '10.1.0.9'] as const;
  const [a6, b6, peer6] = ['2001:db8:a::1', '2001:db8:a::2', '2001:db8:a::9'] as const;
  useNetwork({
    ...udpNetwork,
    commands: [
      'ip link add name a0 type veth peer name b0',
      'ip link set a0 up',
      'ip link set b0 up',
      `ip addr add ${a4}/24 dev a0`,
      `ip addr add ${a6}/64 dev a0 nodad`,
      `ip addr add ${b4}/32 dev b0`,
      `ip addr add ${b6}/128 dev b0 nodad`,
    ],
  });

  describe.each(
    families.flatMap(({ family, version, source, remote, remote2 }) => [
      { family, version, device: 'lo', where: 'this machine', source, remote, remote2 },
      {
        family,
        version,
        device: 'a0',
        where: 'an address of a veth',
        source: version === 4 ? a4 : a6,
        remote: version === 4 ? b4 : b6,
        remote2: version === 4 ? peer4 : peer6,
      },
      {
        family,
        version,
        device: 'a0',
        where: 'somebody behind a veth',
        source: version === 4 ? a4 : a6,
        remote: version === 4 ? peer4 : peer6,
        remote2: version === 4 ? b4 : b6,
      },
    ]),
  )('$family, $device, towards $where', ({ version, device, source, remote, remote2 }) => {
    const bind = { address: source, port: 20001 };
    const connect = { address: remote, port: SERVER };
    const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };
    const tupleInUse = { code: 'EADDRINUSE', syscall: 'connect', reason: 'tuple-in-use' };

    test('control: a lookup without the device does not see it, and the kernel connects the 4-tuple again', () => {
      new RawUdp(version, { reuse: true, device, bind, connect });
      expect(sys.udpLookup(bind, connect)).toBeUndefined();
      expect(sys.udpLookup(bind, connect, { interface: device })?.state).toBe(1);
      new RawUdp(version, { reuse: true, bind, connect });
    });

    describe.each(ways)('$way', ({ open }) => {
      // (lhost, lport, remote) on device --> # 1
      // (lhost, lport, remote)           --> # ERR
      // (lhost, lport, remote) on device --> # ERR
      // (lhost, lport, remote2)          --> # 1
      test('theirs, then ours', async () => {
        const theirs = new RawUdp(version, { reuse: true, device, bind, connect });
        expect(await errorOf(() => open(tuple))).toMatchObject(tupleInUse);
        expect(await errorOf(() => open({ ...tuple, interface: device }))).toMatchObject(tupleInUse);
        await open({ ...tuple, host: remote2 });
        theirs.close();
        await open(tuple);
      });

      // (lhost, lport, remote)            --> # 1
      // (lhost, lport, remote) on device  --> # ERR
      // (lhost, lport, remote2) on device --> # 1
      test('ours, then ours on the device', async () => {
        const first = await open(tuple);
        expect(await errorOf(() => open({ ...tuple, interface: device }))).toMatchObject(tupleInUse);
        await open({ ...tuple, host: remote2, interface: device });
        await closeNow(first);
        await open({ ...tuple, interface: device });
        expect(await errorOf(() => open(tuple))).toMatchObject(tupleInUse);
      });

      // (lhost, every port, remote) on device --> # 4
      // (lhost, *, remote)                    --> # ERR
      test('no port is left', async () => {
        const theirs = PORTS.map(
          (port) => new RawUdp(version, { reuse: true, device, bind: { ...bind, port }, connect }),
        );
        const any = { ...tuple, localPort: undefined };
        expect(await errorOf(() => open(any))).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
        theirs[2]?.close();
        expect((await open(any)).address().port).toBe(20002);
      });
    });
  });

  // (lhost, lport, remote) on b0 --> # 1
  // (lhost, lport, remote) on a0 --> # 1
  test.each(ways)('$way: two devices are two 4-tuples', async ({ open }) => {
    const connect = { address: peer4, port: SERVER };
    new RawUdp(4, { reuse: true, device: 'b0', bind: { address: a4, port: 20001 }, connect });
    const tuple = { host: peer4, port: SERVER, localAddress: a4, localPort: 20001 };
    expect((await open({ ...tuple, interface: 'a0' })).address()).toMatchObject({ address: a4, port: 20001 });
  });
});

// There the kernel's table is read for sockets with a device, instead of a question for each device.
describeIsolated('a UDP 4-tuple on a machine with 60 interfaces', () => {
  const COUNT = 60;
  const device = (n: number) => `d${n}`;
  useNetwork({
    ...udpNetwork,
    commands: [
      ...Array.from({ length: COUNT / 2 }, (_, n) => [
        `ip link add ${device(2 * n)} type veth peer name ${device(2 * n + 1)}`,
        `ip link set ${device(2 * n)} up`,
        `ip link set ${device(2 * n + 1)} up`,
      ]).flat(),
      'ip addr add 10.1.0.1/24 dev d0',
      'ip addr add 2001:db8:a::1/64 dev d0 nodad',
      // From a socket with a device there is a route by that device only.
      ...Array.from(
        { length: COUNT - 1 },
        (_, n) => `ip route add 2001:db8:a::/64 dev ${device(n + 1)} metric ${2000 + n}`,
      ),
    ],
  });

  const cases = [
    { family: 'IPv4', version: 4 as const, local: '10.1.0.1', remote: '10.1.0.9', other: '10.1.0.8' },
    { family: 'IPv6', version: 6 as const, local: '2001:db8:a::1', remote: '2001:db8:a::9', other: '2001:db8:a::8' },
    // Theirs is of IPv6, and has the 4-tuple of IPv4.
    { family: 'IPv4-mapped', version: 6 as const, local: '10.1.0.1', remote: '10.1.0.9', other: '10.1.0.8' },
  ];

  describe.each(cases)('$family', ({ family, version, local, remote, other }) => {
    const own = (address: string) => (family === 'IPv4-mapped' ? `::ffff:${address}` : address);
    const bind = { address: own(local), port: 20001 };
    const connect = { address: own(remote), port: SERVER };
    const tuple = { host: remote, port: SERVER, localAddress: local, localPort: 20001 };
    const theirs = (n: number, to = connect) =>
      new RawUdp(version, { reuse: true, device: device(n), bind, connect: to });

    describe.each(ways)('$way', ({ open }) => {
      test.each([0, COUNT - 1])('taken on device %i: seen, and free when it is closed', async (n) => {
        // Somebody shares the port: without that, no one else can be on it.
        await open({ ...tuple, host: other });
        const taken = theirs(n);
        expect(await errorOf(() => open(tuple))).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
        taken.close();
        await open(tuple);
        expect(await errorOf(() => open(tuple))).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
      });

      test('a port that is taken on a device is not chosen, nor one on which a server waits there', async () => {
        for (const port of PORTS) await open({ ...tuple, host: other, localPort: port });
        const [first = 0, second = 0, ...rest] = PORTS;
        new RawUdp(version, { reuse: true, device: device(7), bind: { ...bind, port: first }, connect });
        new RawUdp(version, { reuse: true, device: device(9), bind: { ...bind, port: second } });
        const any = { ...tuple, localPort: undefined };
        const sockets = [];
        for (const _ of rest) sockets.push(await open(any));
        expect(sockets.map((socket) => socket.address().port).sort((a, b) => a - b)).toEqual(rest);
        expect(await errorOf(() => open(any))).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
      });

      test('also among more sockets with a device than the kernel lists in one breath', async () => {
        await open({ ...tuple, host: other });
        for (let n = 0; n < 50; n++) theirs(n, { address: own(other), port: 6000 + n });
        const taken = theirs(55);
        expect(await errorOf(() => open(tuple))).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
        taken.close();
        await open(tuple);
      });
    });
  });
});
