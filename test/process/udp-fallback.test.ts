// UDP where the kernel does not tell who has a 4-tuple: netlink is taken away for good, by a seccomp filter as in a container,
// or answers wrongly; and UDP where there is no addon.
import { constants } from 'node:os';
import { join } from 'node:path';
import { connectUdpSync } from 'connectx';
import { describe, expect, test } from 'vitest';
import { preloading } from '../helpers/environment.js';
import { describeIsolated, OUTSIDE, useNetwork } from '../helpers/netns.js';
import { families, keep, lockedPorts, RawUdp, SERVER } from '../helpers/udp.js';
import { type ClientOptions, UdpClient } from '../helpers/udp-processes.js';

const { errno } = constants;

// linux/netlink.h
const NETLINK_ROUTE = 0;
const NETLINK_SOCK_DIAG = 4;
const ALL = -1;

const EXCLUSIVE = 'CONNECTX_UDP_EXCLUSIVE';

const network = {
  range: [20000, 20003] as const,
  addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::4'],
  // Addresses that are reached over a real interface: only for those does it matter which interfaces there are.
  commands: [...OUTSIDE],
};

const outside = [
  { family: 'IPv4', version: 4, source: '192.0.2.1', remotes: ['192.0.2.2', '192.0.2.3', '192.0.2.4'] },
  { family: 'IPv6', version: 6, source: '2001:db8:1::1', remotes: ['2001:db8:1::2', '2001:db8:1::3', '2001:db8:1::4'] },
] as const;

const refusals = [
  { what: 'sock_diag is refused', protocol: NETLINK_SOCK_DIAG, code: errno.EPERM },
  { what: 'there is no sock_diag', protocol: NETLINK_SOCK_DIAG, code: errno.EPROTONOSUPPORT },
  { what: 'netlink is refused', protocol: ALL, code: errno.EPERM },
  { what: 'there is no netlink', protocol: ALL, code: errno.EAFNOSUPPORT },
  { what: 'rtnetlink alone is refused', protocol: NETLINK_ROUTE, code: errno.EPERM },
];

describeIsolated('without an answer of the kernel', () => {
  useNetwork(network);

  describe.each(refusals)('$what', ({ protocol, code }) => {
    async function refused(): Promise<UdpClient> {
      const client = new UdpClient();
      await client.refuseNetlink(protocol, code);
      return client;
    }

    describe.each(outside)('$family', ({ version, source, remotes: [remote, remote2, remote3] }) => {
      const at = (host: string, options: Partial<ClientOptions> = {}) => ({
        host,
        port: SERVER,
        localAddress: source,
        ...options,
      });

      test('a port has one destination at a time', async () => {
        // (source, 4 ports) --> # 4 over all destinations
        const client = await refused();
        const opened = [
          ...(await client.open(at(remote, { sync: true }))),
          ...(await client.open(at(remote2))),
          ...(await client.open(at(remote2, { sync: true }), at(remote3))),
        ];
        expect(opened.map(({ localPort }) => localPort).sort()).toEqual([20000, 20001, 20002, 20003]);
        for (const sync of [true, false]) {
          const [none] = await client.open(at(remote3, { sync }));
          expect(none).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted', syscall: 'connect' });
        }
        await client.close(20002);
        const [again] = await client.open(at(remote3));
        expect(again).toEqual({ localAddress: source, localPort: 20002 });
        expect(await client.state()).toMatchObject({ native: true, udpShared: false, warnings: [EXCLUSIVE] });
      });

      test('an explicit port has one destination at a time, also when somebody else shares it', async () => {
        // (source, 30001, remote) --> # 1
        // (source, 30001, remote2) --> EADDRINUSE
        const client = await refused();
        const [first] = await client.open(at(remote, { localPort: 30001 }));
        expect(first).toEqual({ localAddress: source, localPort: 30001 });
        for (const host of [remote, remote2]) {
          const [second] = await client.open(at(host, { localPort: 30001 }));
          expect(second).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
        }
        await client.close(30001);
        const [third] = await client.open(at(remote2, { localPort: 30001 }));
        expect(third).toEqual({ localAddress: source, localPort: 30001 });

        keep(connectUdpSync(at(remote, { localPort: 30002 })));
        for (const host of [remote, remote2]) {
          const [other] = await client.open(at(host, { localPort: 30002 }));
          expect(other).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
        }
        expect(lockedPorts(version, source, [30002])).toEqual([]);
        expect(await client.state()).toMatchObject({ native: true, udpShared: false, warnings: [EXCLUSIVE] });
      });

      test('the source address is found all the same', async () => {
        const client = await refused();
        const [found] = await client.open({ host: remote, port: SERVER });
        expect(found).toMatchObject({ localAddress: source });
        const [pinned] = await client.open({ host: remote, port: SERVER, localPort: 30001 });
        expect(pinned).toEqual({ localAddress: source, localPort: 30001 });
      });
    });

    test('capabilities() says so before anything is connected, and no descriptor is left over', async () => {
      const client = await refused();
      expect(await client.state()).toMatchObject({ native: true, udpShared: false });
      const failures = async () => {
        const failed = await client.open(
          at4({ localPort: 30001 }),
          at4({ sync: true, localAddress: '203.0.113.1' }),
          { host: '203.0.113.1', port: SERVER },
          { host: '203.0.113.1', port: SERVER, localPort: 30001, sync: true },
        );
        expect(failed.filter(({ localPort }) => localPort !== undefined)).toEqual([]);
      };
      await client.open(at4({ localPort: 30001 }));
      await failures();
      const { descriptors } = await client.state();
      for (let n = 0; n < 3; n++) await failures();
      expect(await client.state()).toMatchObject({ udpShared: false, warnings: [EXCLUSIVE], descriptors });
    });
  });

  const at4 = (options: Partial<ClientOptions> = {}): ClientOptions => ({
    host: '192.0.2.2',
    port: SERVER,
    localAddress: '192.0.2.1',
    ...options,
  });

  test('control: where nothing is refused, a port is shared, and nothing is said', async () => {
    const client = new UdpClient();
    for (const host of ['192.0.2.2', '192.0.2.3']) {
      const [opened] = await client.open(at4({ host, localPort: 30001 }));
      expect(opened).toEqual({ localAddress: '192.0.2.1', localPort: 30001 });
    }
    expect(await client.state()).toMatchObject({ native: true, udpShared: true, warnings: [] });
  });

  test('there is no route and rtnetlink is refused: the errno of connect(2)', async () => {
    const client = new UdpClient();
    await client.refuseNetlink(ALL, errno.EPERM);
    const [opened] = await client.open({ host: '203.0.113.1', port: SERVER });
    expect(opened).toMatchObject({ code: 'ENETUNREACH', syscall: 'connect' });
  });

  test('every port is locked and rtnetlink is refused: ports-exhausted', async () => {
    for (const port of [20000, 20001, 20002, 20003]) new RawUdp(4, { bind: { address: '0.0.0.0', port } });
    const client = new UdpClient();
    await client.refuseNetlink(ALL, errno.EPERM);
    const [opened] = await client.open({ host: '192.0.2.2', port: SERVER });
    expect(opened).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted', syscall: 'connect' });
  });

  test('out of descriptors for a moment is no refusal: nothing is unlearnt', async () => {
    const client = new UdpClient();
    expect(await client.state()).toMatchObject({ udpShared: true });
    await client.refuseNetlink(NETLINK_SOCK_DIAG, errno.EMFILE);
    const [opened] = await client.open(at4({ host: '192.0.2.3', localPort: 30001 }));
    expect(opened).toMatchObject({ code: 'EMFILE', syscall: 'socket' });
    expect(lockedPorts(4, '192.0.2.1', [30001])).toEqual([]);
    expect(await client.state()).toMatchObject({ udpShared: true, warnings: [] });
  });
});

// The kernel's answers are replaced on their way to the addon (test/native/answers.cc).
describeIsolated('with wrong answers', () => {
  useNetwork(network);

  const library = join(import.meta.dirname, '../native/build/Release/answers.node');
  const answering = (answer: string) => new UdpClient({ ...preloading(library), CONNECTX_TEST_ANSWER: answer });
  const [{ source, remotes }] = outside;
  const [remote, remote2] = remotes;
  const at = (host: string) => ({ host, port: SERVER, localAddress: source, localPort: 30001 });

  test('control: untouched, they let a port be shared', async () => {
    const client = answering('as it is');
    const [first, second] = await client.open(at(remote), at(remote2));
    expect([first, second]).toEqual([
      { localAddress: source, localPort: 30001 },
      { localAddress: source, localPort: 30001 },
    ]);
  });

  test.each([
    { what: 'ENOENT to everything: a kernel without CONFIG_INET_UDP_DIAG', answer: `error ${errno.ENOENT}` },
    { what: 'EPERM', answer: `error ${errno.EPERM}` },
    { what: 'EOPNOTSUPP', answer: `error ${errno.EOPNOTSUPP}` },
    { what: 'EINVAL', answer: `error ${errno.EINVAL}` },
  ])('$what: exclusive, said once', async ({ answer }) => {
    const client = answering(answer);
    const [first] = await client.open(at(remote));
    expect(first).toMatchObject({ localPort: 30001 });
    for (const host of [remote, remote2]) {
      const [second] = await client.open(at(host));
      expect(second).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
    }
    expect(await client.state()).toMatchObject({ udpShared: false, warnings: [EXCLUSIVE] });
  });

  test.each([
    { answer: 'belated', code: 'EBADMSG' },
    { answer: 'of another kind', code: 'EBADMSG' },
    { answer: 'cut off', code: 'EBADMSG' },
    { answer: 'too long', code: 'EBADMSG' },
    { answer: `error ${errno.ENOMEM}`, code: 'ENOMEM' },
    { answer: 'none', code: 'EAGAIN' },
  ])('$answer: never taken for "free", and the port is not left locked', async ({ answer, code }) => {
    keep(connectUdpSync(at(remote)));
    const client = answering(answer);
    for (const host of [remote, remote2]) {
      const [opened] = await client.open(at(host));
      expect({ code: opened?.code, reason: opened?.reason }).toEqual({ code, reason: undefined });
    }
    expect(lockedPorts(4, source, [30001])).toEqual([]);
    // Others are not disturbed.
    keep(connectUdpSync(at(remote2)));
  });
});

describeIsolated('without the addon', () => {
  useNetwork(network);

  const disabled = () => new UdpClient({ CONNECTX_DISABLE_NATIVE: '1' });

  describe.each(families)('$family', ({ source, remote, remote2, any, version }) => {
    test.each([{ sync: true }, { sync: false }])('an exclusive bind (sync: $sync)', async ({ sync }) => {
      const client = disabled();
      const options = { port: SERVER, localAddress: source, localPort: 30001, sync };
      const [first] = await client.open({ ...options, host: remote });
      expect(first).toEqual({ localAddress: source, localPort: 30001 });
      const [second] = await client.open({ ...options, host: remote2 });
      expect(second).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked', syscall: 'bind' });
      expect(lockedPorts(version, source, [30001])).toEqual([30001]);
      const [foreign] = await client.open({ ...options, host: remote, localAddress: '203.0.113.1', type: 'udp4' });
      if (version === 4) expect(foreign).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local' });
      await client.close(30001);
      const [third] = await client.open({ ...options, host: remote2 });
      expect(third).toEqual({ localAddress: source, localPort: 30001 });
    });

    test('the kernel chooses the source, or its port', async () => {
      const client = disabled();
      const [byRoute, anyPort] = await client.open(
        { host: remote, port: SERVER },
        { host: remote, port: SERVER, localAddress: source },
      );
      expect(byRoute?.localAddress).not.toBe(any);
      expect(anyPort).toMatchObject({ localAddress: source });
      expect([byRoute?.localPort, anyPort?.localPort].every((port) => port !== undefined && port >= 20000)).toBe(true);
    });

    test('every port is taken: ports-exhausted', async () => {
      const client = disabled();
      const options = { host: remote, port: SERVER, localAddress: source };
      const filled = await client.fill(options, 10);
      expect(filled).toMatchObject({ reason: 'ports-exhausted' });
      expect(filled.ports.sort()).toEqual([20000, 20001, 20002, 20003]);
    });

    test('nothing is left over of what failed', async () => {
      const client = disabled();
      const options = { host: remote, port: SERVER, localAddress: source, localPort: 30001 };
      await client.open(options);
      await client.open(options);
      const { descriptors } = await client.state();
      for (let n = 0; n < 5; n++) await client.open(options, { ...options, sync: true });
      expect((await client.state()).descriptors).toBe(descriptors);
    });
  });

  test('what cannot be honoured is refused, and there is no warning', async () => {
    const client = disabled();
    const wanted: Partial<ClientOptions>[] = [
      { localPortRange: [20000, 20001] },
      { interface: 'lo' },
      { mark: 1 },
      { freeBind: true },
      { transparent: true },
      { socketOptions: [{ level: 1, name: 8, value: 4096 }] },
    ];
    for (const sync of [true, false]) {
      const opened = await client.open(
        ...wanted.map((options) => ({ host: '127.0.0.2', port: SERVER, sync, ...options })),
      );
      expect(opened.map(({ code, reason }) => [code, reason])).toEqual(
        wanted.map((options) => ['ERR_CONNECTX_UNSUPPORTED', Object.keys(options)[0]]),
      );
    }
    expect(await client.state()).toMatchObject({ native: false, udpShared: false, warnings: [] });
  });
});
