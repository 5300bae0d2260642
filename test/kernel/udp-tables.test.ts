// How many connected sockets does each technique give from one source address, first to one destination, then to a second and
// a third, and with which errno does it end? The plain kernel, Node's dgram, and connectx in the same situation.
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import type { UdpConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { findsUdpByTuple } from '../helpers/kernel.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import {
  assertUdpEcho,
  type Cast,
  errorOf,
  exhaust,
  families,
  keep,
  PORTS,
  RANGE,
  RawUdp,
  sendUntil,
  SERVER,
  udpEcho,
  udpNetwork,
  udpServer,
  type UdpSteps,
  ways,
} from '../helpers/udp.js';

interface Outcome {
  toA: number;
  thenToB: number;
  thenToC: number;
  code: string;
  syscall: string;
  reason?: string;
}

/** Given the source address and the wanted port of this socket. */
interface Row {
  technique: string;
  steps: (source: string, port: number) => UdpSteps;
  kernel: Outcome;
  /** What comes to the same in `node:dgram`: the options of bind(), or no bind() at all; where there is anything. */
  node?: { bind: (source: string, port: number) => dgram.BindOptions | undefined; outcome: Outcome };
  connectx: { given: string; options: (source: string, port: number) => Partial<UdpConnectOptions>; reason: string };
}

const locked = { toA: 4, thenToB: 0, thenToC: 0 };
const connectAgain = { ...locked, code: 'EAGAIN', syscall: 'connect' };
const bindInUse = { ...locked, code: 'EADDRINUSE', syscall: 'bind' };

const sourceOnly: Row['connectx'] = {
  given: 'the source address',
  options: (source) => ({ localAddress: source }),
  reason: 'ports-exhausted',
};
const sourceAndPort: Row['connectx'] = {
  given: 'the source address and port',
  options: (source, port) => ({ localAddress: source, localPort: port }),
  reason: 'tuple-in-use',
};

const rows: Row[] = [
  {
    technique: 'connect',
    steps: () => ({}),
    kernel: connectAgain,
    // dgram's connect() binds first.
    node: { bind: () => undefined, outcome: bindInUse },
    connectx: { given: 'the destination only', options: () => ({}), reason: 'ports-exhausted' },
  },
  {
    technique: 'bind(source, 0)',
    steps: (source) => ({ bind: { address: source, port: 0 } }),
    kernel: bindInUse,
    node: { bind: (source) => ({ address: source, exclusive: true }), outcome: bindInUse },
    connectx: sourceOnly,
  },
  {
    technique: 'IP_BIND_ADDRESS_NO_PORT, bind(source, 0)',
    steps: (source) => ({ noPort: true, bind: { address: source, port: 0 } }),
    kernel: connectAgain,
    connectx: { ...sourceOnly, given: 'a range of source ports', options: () => ({ localPortRange: RANGE }) },
  },
  {
    technique: 'bind(source, port)',
    steps: (source, port) => ({ bind: { address: source, port } }),
    kernel: bindInUse,
    node: { bind: (source, port) => ({ address: source, port, exclusive: true }), outcome: bindInUse },
    connectx: sourceAndPort,
  },
  {
    technique: 'bind(any, port)',
    steps: (source, port) => ({ bind: { address: source.includes(':') ? '::' : '0.0.0.0', port } }),
    kernel: bindInUse,
    node: { bind: (_source, port) => ({ port, exclusive: true }), outcome: bindInUse },
    connectx: {
      given: 'the source port only',
      options: (_source, port) => ({ localPort: port }),
      reason: 'tuple-in-use',
    },
  },
];

const portOf = (n: number) => PORTS[n % PORTS.length] ?? 0;

async function outcomeOf(
  open: (host: string, port: number) => unknown,
  { remote, remote2, remote3 }: Cast,
): Promise<Outcome> {
  const [toA, thenToB, thenToC] = [
    await exhaust(PORTS.length, (n) => open(remote, portOf(n))),
    await exhaust(PORTS.length, (n) => open(remote2, portOf(n))),
    await exhaust(PORTS.length, (n) => open(remote3, portOf(n))),
  ];
  const { code, syscall, reason } = await errorOf(() => open(remote3, portOf(0)));
  return {
    toA: toA.made.length,
    thenToB: thenToB.made.length,
    thenToC: thenToC.made.length,
    code: String(code),
    syscall: String(syscall),
    ...(typeof reason === 'string' ? { reason } : {}),
  };
}

/** A dgram.Socket that is connected, or what it ends with. */
async function plainDgram(
  type: dgram.SocketType,
  host: string,
  bind: dgram.BindOptions | undefined,
): Promise<dgram.Socket> {
  const socket = keep(dgram.createSocket(type));
  if (bind !== undefined) {
    socket.bind(bind);
    await once(socket, 'listening');
  }
  const connected = once(socket, 'connect');
  socket.connect(SERVER, host);
  await connected;
  return socket;
}

const everyone = ({ remote, remote2, remote3 }: Cast) => [remote, remote2, remote3];

describeIsolated('to A, then to B, then to C, errno at exhaustion', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, type, source } = cast;

    // (lhost, *, remote)  --> # 4
    // (lhost, *, remote2) --> # 0, with connectx 4
    // (lhost, *, remote3) --> # 0, with connectx 4
    // (lhost, *, remote)  --> # ERR
    describe.each(rows)('$technique', ({ steps, kernel, node, connectx }) => {
      test(`plain kernel: 4, 0, 0, ${kernel.syscall} ${kernel.code}`, async () => {
        const connect = (address: string, port: number) =>
          new RawUdp(version, { ...steps(source, port), connect: { address, port: SERVER } });
        expect(await outcomeOf(connect, cast)).toEqual(kernel);
      });

      if (node !== undefined) {
        test(`dgram: 4, 0, 0, ${node.outcome.syscall} ${node.outcome.code}`, async () => {
          const connect = (host: string, port: number) => plainDgram(type, host, node.bind(source, port));
          expect(await outcomeOf(connect, cast)).toEqual(node.outcome);
        });
      }

      test.each(ways)(`$way, given ${connectx.given}: 4, 4, 4, ${connectx.reason}`, async ({ open }) => {
        await udpEcho(SERVER, everyone(cast));
        const made: dgram.Socket[] = [];
        const connect = async (host: string, port: number) =>
          made.push(await open({ host, port: SERVER, ...connectx.options(source, port) }));
        expect(await outcomeOf(connect, cast)).toEqual({
          toA: 4,
          thenToB: 4,
          thenToC: 4,
          code: connectx.reason === 'ports-exhausted' ? 'EAGAIN' : 'EADDRINUSE',
          syscall: 'connect',
          reason: connectx.reason,
        });
        await assertUdpEcho(...made);
        const tuples = made.map((socket) => `${socket.address().port} ${socket.remoteAddress().address}`);
        expect(new Set(tuples).size).toBe(12);
        expect([...new Set(made.map((socket) => socket.address().port))].sort()).toEqual(PORTS);
      });
    });
  });
});

describeIsolated('the danger: SO_REUSEADDR lets two sockets have one 4-tuple, and the newest takes all traffic', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, remote, remote2 } = cast;

    // (lhost, 0, remote) --> # 1, five times over four ports
    test('plain kernel: port 0 hands out one that is connected to the same destination already', async () => {
      const connect = { address: remote, port: SERVER };
      const { made, error } = await exhaust(
        5,
        () => new RawUdp(version, { reuse: true, bind: { address: source, port: 0 }, connect }),
      );
      expect(error).toBeUndefined();
      expect(new Set(made.map((socket) => socket.localPort)).size).toBeLessThan(5);
    });

    // (lhost, lport, remote) --> # 1, heard until
    // (lhost, lport, remote) --> # 1
    const twice = async (): Promise<[older: RawUdp, newer: RawUdp]> => {
      await udpEcho(SERVER, [remote]);
      const steps = { reuse: true, bind: { address: source, port: 20001 }, connect: { address: remote, port: SERVER } };
      const older = new RawUdp(version, steps);
      await older.assertEcho();
      return [older, new RawUdp(version, steps)];
    };

    // Linux 6.13. Before, either of them may get everything.
    if (findsUdpByTuple()) {
      test('plain kernel: the older of two sockets with one 4-tuple hears nothing more', async () => {
        const [older, newer] = await twice();
        const heard = new Set<string>();
        await sendUntil(
          () => {
            older.send('from the older');
            newer.send('from the newer');
          },
          () => {
            for (const message of newer.heard()) heard.add(message);
            return heard.size === 2;
          },
        );
        expect(older.heard()).toEqual([]);
      });
    }

    test('plain kernel: one of two sockets with one 4-tuple hears what is for the other', async () => {
      const [older, newer] = await twice();
      const heard: string[] = [];
      await sendUntil(
        () => {
          older.send('for the older');
          newer.send('for the newer');
        },
        () => {
          heard.push(...older.heard().filter((message) => message === 'for the newer'));
          heard.push(...newer.heard().filter((message) => message === 'for the older'));
          return heard.length > 0;
        },
      );
    });

    describe.each(ways)('$way', ({ open }) => {
      const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };

      // (lhost, lport, remote)  --> # 1
      // (lhost, lport, remote)  --> # ERR
      // (lhost, lport, remote2) --> # 1
      test('the second is refused, and the first one hears its own', async () => {
        await udpEcho(SERVER, [remote, remote2]);
        const first = await open(tuple);
        const error = await errorOf(() => open(tuple));
        expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'connect', reason: 'tuple-in-use' });
        const other = await open({ ...tuple, host: remote2 });
        await assertUdpEcho(first, other);
      });

      test.each([
        { given: 'the port', asked: tuple, refusal: { code: 'EADDRINUSE', reason: 'tuple-in-use' } },
        {
          given: 'a range of that port alone',
          asked: { ...tuple, localPort: undefined, localPortRange: [20001, 20001] as const },
          refusal: { code: 'EAGAIN', reason: 'ports-exhausted' },
        },
      ])("not over another program's socket either, given $given", async ({ asked, refusal }) => {
        await udpEcho(SERVER, [remote]);
        const connect = { address: remote, port: SERVER };
        const theirs = new RawUdp(version, { reuse: true, bind: { address: source, port: 20001 }, connect });
        expect(await errorOf(() => open(asked))).toMatchObject(refusal);
        await theirs.assertEcho();
        theirs.close();
        await assertUdpEcho(await open(asked));
      });
    });
  });
});

describeIsolated('errno by errno', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, any, source, source2, remote, remote2 } = cast;
    const to = { address: remote, port: SERVER };
    const elsewhere = version === 4 ? '192.0.2.1' : '2001:db8:ffff::1';
    const otherFamily = version === 4 ? '2001:db8::1' : '127.0.0.1';
    const unreachable = version === 4 ? '198.51.100.1' : '2001:db8:eeee::1';

    const cases: {
      name: string;
      prepare?: () => unknown;
      options: Partial<UdpConnectOptions>;
      expected: { code: string; syscall: string; reason?: string | undefined };
      /** The same with raw sockets. */
      control?: () => unknown;
      /** Where that is another one. */
      controlError?: { code: string; syscall: string };
    }[] = [
      {
        name: 'a port that is bound without SO_REUSEADDR',
        prepare: () => new RawUdp(version, { bind: { address: source, port: 20001 } }),
        options: { localAddress: source, localPort: 20001 },
        expected: { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' },
        control: () => new RawUdp(version, { reuse: true, bind: { address: source, port: 20001 }, connect: to }),
      },
      {
        name: 'a port that is bound without SO_REUSEADDR, and connected elsewhere',
        prepare: () =>
          new RawUdp(version, { bind: { address: source, port: 20001 }, connect: { address: remote2, port: SERVER } }),
        options: { localAddress: source, localPort: 20001 },
        expected: { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' },
        control: () => new RawUdp(version, { reuse: true, bind: { address: source, port: 20001 }, connect: to }),
      },
      {
        name: 'the 4-tuple, without SO_REUSEADDR',
        prepare: () => new RawUdp(version, { bind: { address: source, port: 20001 }, connect: to }),
        options: { localAddress: source, localPort: 20001 },
        expected: { code: 'EADDRINUSE', syscall: 'connect', reason: 'tuple-in-use' },
        control: () => new RawUdp(version, { reuse: true, bind: { address: source, port: 20001 }, connect: to }),
        controlError: { code: 'EADDRINUSE', syscall: 'bind' },
      },
      {
        name: 'a source that is not of this machine',
        options: { localAddress: elsewhere },
        expected: { code: 'EADDRNOTAVAIL', syscall: 'bind', reason: 'address-not-local' },
        control: () => new RawUdp(version, { bind: { address: elsewhere, port: 0 }, connect: to }),
      },
      {
        name: 'a source that is not of this machine, with a port',
        options: { localAddress: elsewhere, localPort: 20001 },
        expected: { code: 'EADDRNOTAVAIL', syscall: 'bind', reason: 'address-not-local' },
        control: () => new RawUdp(version, { bind: { address: elsewhere, port: 20001 }, connect: to }),
      },
      {
        name: 'a source of the other family',
        options: { localAddress: otherFamily },
        expected: { code: 'EAFNOSUPPORT', syscall: 'connect', reason: 'family-mismatch' },
      },
      {
        name: 'no route, from any source',
        options: { host: unreachable },
        expected: { code: 'ENETUNREACH', syscall: 'connect' },
        control: () => new RawUdp(version, { connect: { address: unreachable, port: SERVER } }),
      },
      {
        name: 'no interface of that name',
        options: { localAddress: source, interface: 'nosuch0' },
        expected: { code: 'ENODEV', syscall: 'setsockopt' },
        control: () => new RawUdp(version, { device: 'nosuch0' }),
      },
      ...(version === 4
        ? [
            {
              name: 'a broadcast destination',
              options: { host: '127.255.255.255', localAddress: source },
              expected: { code: 'EACCES', syscall: 'connect' },
              control: () => new RawUdp(4, { connect: { address: '127.255.255.255', port: SERVER } }),
            },
          ]
        : [
            {
              name: 'a link-local source without a zone',
              options: { localAddress: 'fe80::1' },
              expected: { code: 'EINVAL', syscall: 'bind' },
              control: () => new RawUdp(6, { bind: { address: 'fe80::1', port: 0 } }),
            },
          ]),
    ];

    describe.each(cases)('$name', ({ prepare, options, expected, control, controlError }) => {
      if (control !== undefined) {
        const { code, syscall } = controlError ?? expected;
        test(`plain kernel: ${syscall} ${code}`, async () => {
          await prepare?.();
          expect(await errorOf(control)).toMatchObject({ code, syscall });
        });
      }

      test.each(ways)(`$way: ${expected.syscall} ${expected.code} ${expected.reason}`, async ({ open }) => {
        await prepare?.();
        const error = await errorOf(() => open({ host: remote, port: SERVER, ...options }));
        expect(error).toMatchObject({ ...expected, address: options.host ?? remote, port: SERVER });
        expect(error.reason).toBe(expected.reason);
        expect(error.errno).toBeLessThan(0);
        expect(error.message).toContain(`${expected.syscall} ${expected.code} ${options.host ?? remote}:${SERVER}`);
      });
    });

    // (any, lport) bound without SO_REUSEADDR
    // (lhost, lport, remote)  --> # ERR
    // (lhost2, lport, remote) --> # ERR
    test.each(ways)('$way: a port that the wildcard address holds is locked for every source', async ({ open }) => {
      await udpServer(20001, any);
      for (const localAddress of [source, source2]) {
        const error = await errorOf(() => open({ host: remote, port: SERVER, localAddress, localPort: 20001 }));
        expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked', localAddress });
        expect(error).toMatchObject({ localPort: 20001, address: remote, port: SERVER });
      }
    });
  });
});

describeIsolated('localPortRange', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { source, remote, remote2 } = cast;
    const reservedPorts = (ports: string) => sysctl('ipv4.ip_local_reserved_ports', ports);

    // (lhost, low-high, remote)  --> # every port of it
    // (lhost, low-high, remote2) --> # every port of it
    describe.each([
      { where: 'inside', range: [20001, 20002] as const, reserved: '', expected: [20001, 20002] },
      { where: 'outside', range: [30000, 30003] as const, reserved: '', expected: [30000, 30001, 30002, 30003] },
      { where: 'partly outside', range: [20002, 20005] as const, reserved: '', expected: [20002, 20003, 20004, 20005] },
      {
        where: 'around',
        range: [19999, 20004] as const,
        reserved: '20001,20003-20010',
        expected: [19999, 20000, 20002],
      },
      { where: 'one port of', range: [20002, 20002] as const, reserved: '', expected: [20002] },
      { where: 'outside, one reserved,', range: [30000, 30002] as const, reserved: '30001', expected: [30000, 30002] },
    ])('$where the ephemeral range', ({ range, reserved, expected }) => {
      test.each(ways)('$way', async ({ open }) => {
        reservedPorts(reserved);
        await udpEcho(SERVER, [remote, remote2]);
        for (const host of [remote, remote2]) {
          const { made, error } = await exhaust(10, () =>
            open({ host, port: SERVER, localAddress: source, localPortRange: range }),
          );
          expect(made.map((socket) => socket.address().port).sort()).toEqual(expected);
          expect(error).toMatchObject({ code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted' });
          expect(error?.message).toContain(range[0] === range[1] ? `${range[0]}` : `${range[0]}-${range[1]}`);
          await assertUdpEcho(...made);
        }
      });
    });

    describe.each(ways)('$way', ({ open }) => {
      const options = { host: remote, port: SERVER, localAddress: source };

      test('every port reserved', async () => {
        reservedPorts('20000-20003');
        for (const localPortRange of [undefined, RANGE]) {
          const error = await errorOf(() => open({ ...options, localPortRange }));
          expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
        }
        // Who asks for a reserved port by its number gets it, as from bind(2).
        expect((await open({ ...options, localPort: 20001 })).address().port).toBe(20001);
      });

      test('sysctls that change are heeded before the range is called exhausted', async () => {
        reservedPorts('20001-20003');
        expect((await open(options)).address().port).toBe(20000);
        reservedPorts('20003');
        expect([(await open(options)).address().port, (await open(options)).address().port].sort()).toEqual([
          20001, 20002,
        ]);
        sysctl('ipv4.ip_local_port_range', '20000 20004');
        expect((await open(options)).address().port).toBe(20004);
        expect(await errorOf(() => open(options))).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
      });
    });
  });
});
