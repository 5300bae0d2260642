// How many connections does each technique give from one source address, first to one destination and then to another,
// and with which errno does it end? The plain kernel, Node, and connectx in the same situation.
import * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { hasPortRange, holdersCanLock } from '../helpers/kernel.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { rawBind, rawConnect, type Steps } from '../helpers/raw.js';
import { assertEcho, connected, echoServer, errorOf, exhaust } from '../helpers/sockets.js';

interface Outcome {
  toA: number;
  thenToB: number;
  code: string;
  syscall: string;
  reason?: string;
}

/** Given the source address and the wanted port of this connection. */
interface Row {
  technique: string;
  steps: (source: string, port: number) => Steps;
  kernel: Outcome;
  /** The options of `net.connect` that come to the same, where there are any. */
  node?: { options: (source: string, port: number) => Partial<net.TcpNetConnectOpts>; outcome: Outcome };
  connectx: { options: (source: string, port: number) => Partial<ConnectOptions>; outcome: Outcome };
}

const full = { toA: 4, thenToB: 4, code: 'EADDRNOTAVAIL', syscall: 'connect' };
const locked = { toA: 4, thenToB: 0, code: 'EADDRINUSE', syscall: 'bind' };
// libuv keeps what bind(2) said until connect(2).
const lockedAsNodeShowsIt = { ...locked, syscall: 'connect' };

const sourceOnly = {
  options: (source: string) => ({ localAddress: source }),
  outcome: { ...full, reason: 'ports-exhausted' },
};
const sourceAndPort = {
  options: (source: string, port: number) => ({ localAddress: source, localPort: port }),
  outcome: { ...full, reason: 'tuple-in-use' },
};

const rows: Row[] = [
  {
    technique: 'connect',
    steps: () => ({}),
    kernel: full,
    node: { options: () => ({}), outcome: full },
    connectx: { options: () => ({}), outcome: { ...full, reason: 'ports-exhausted' } },
  },
  {
    technique: 'bind(source, 0)',
    steps: (source) => ({ bind: { address: source, port: 0 } }),
    kernel: locked,
    node: { options: (source) => ({ localAddress: source }), outcome: lockedAsNodeShowsIt },
    connectx: sourceOnly,
  },
  {
    technique: 'SO_REUSEADDR, bind(source, 0)',
    steps: (source) => ({ reuse: true, bind: { address: source, port: 0 } }),
    kernel: locked,
    node: { options: (source) => ({ localAddress: source }), outcome: lockedAsNodeShowsIt },
    connectx: sourceOnly,
  },
  {
    technique: 'IP_BIND_ADDRESS_NO_PORT, bind(source, 0)',
    steps: (source) => ({ noPort: true, bind: { address: source, port: 0 } }),
    kernel: full,
    connectx: sourceOnly,
  },
  {
    technique: 'SO_REUSEADDR, bind(source, port)',
    steps: (source, port) => ({ reuse: true, bind: { address: source, port } }),
    kernel: full,
    // libuv sets SO_REUSEADDR before it binds.
    node: { options: (source, port) => ({ localAddress: source, localPort: port }), outcome: full },
    connectx: sourceAndPort,
  },
  {
    technique: 'bind(source, port)',
    steps: (source, port) => ({ bind: { address: source, port } }),
    kernel: locked,
    connectx: sourceAndPort,
  },
  {
    technique: 'IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE(port, port), bind(source, 0)',
    steps: (source, port) => ({ noPort: true, range: [port, port], bind: { address: source, port: 0 } }),
    kernel: full,
    connectx: sourceAndPort,
  },
  {
    technique: 'IP_LOCAL_PORT_RANGE(1, 65535)',
    steps: () => ({ range: [1, 65535] }),
    kernel: full,
    connectx: { options: () => ({ localPortRange: RANGE }), outcome: { ...full, reason: 'ports-exhausted' } },
  },
];

/** Where the kernel has no `IP_LOCAL_PORT_RANGE`. */
const unknownOption: Outcome = { toA: 0, thenToB: 0, code: 'ENOPROTOOPT', syscall: 'setsockopt' };

const portOf = (n: number) => PORTS[n % PORTS.length] ?? 0;

async function outcomeOf(open: (host: string, port: number) => Promise<net.Socket>, a: string, b: string) {
  const one = await exhaust(PORTS.length, (n) => open(a, portOf(n)));
  const other = await exhaust(PORTS.length, (n) => open(b, portOf(n)));
  const { code, syscall, reason } = other.error ?? (await errorOf(() => open(b, portOf(0))));
  return {
    toA: one.made.length,
    thenToB: other.made.length,
    code,
    syscall,
    ...(reason === undefined ? {} : { reason }),
  };
}

describeIsolated('to A, then to B, errno at exhaustion', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, remote: a, remote2: b }) => {
    describe.each(rows)('$technique', ({ steps, kernel, node, connectx }) => {
      const { range } = steps(source, SERVER);
      const { toA, thenToB, code, syscall } = range === undefined || hasPortRange() ? kernel : unknownOption;
      test(`plain kernel: ${toA}, ${thenToB}, ${syscall} ${code}`, async () => {
        await echoServer(SERVER, any);
        const open = async (host: string, port: number) => {
          const socket = rawConnect({ address: host, port: SERVER }, steps(source, port));
          await assertEcho(socket);
          return socket;
        };
        expect(await outcomeOf(open, a, b)).toEqual({ toA, thenToB, code, syscall });
      });

      if (node !== undefined) {
        const { outcome, options } = node;
        test(`net.connect: ${outcome.toA}, ${outcome.thenToB}, ${outcome.syscall} ${outcome.code}`, async () => {
          await echoServer(SERVER, any);
          const open = async (host: string, port: number) => {
            const socket = await connected(net.connect({ host, port: SERVER, ...options(source, port) }));
            await assertEcho(socket);
            return socket;
          };
          expect(await outcomeOf(open, a, b)).toEqual(outcome);
        });
      }

      const { outcome, options } = connectx;
      test(`connectx: ${outcome.toA}, ${outcome.thenToB}, ${outcome.syscall} ${outcome.code} ${outcome.reason}`, async () => {
        await echoServer(SERVER, any);
        const open = async (host: string, port: number) => {
          const socket = await connected(connect({ host, port: SERVER, ...options(source, port) }));
          await assertEcho(socket);
          return socket;
        };
        expect(await outcomeOf(open, a, b)).toEqual(outcome);
      });
    });
  });
});

// What the choice of technique rests on. Where one of these changes in a kernel to come, so must src/tcp/port_plan.ts.
describeIsolated('the plain kernel', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, source2, remote: a, remote2: b }) => {
    const explicit = (port: number): Steps => ({ reuse: true, bind: { address: source, port } });
    const pin = (port: number): Steps => ({
      noPort: true,
      range: [port, port],
      bind: { address: source, port: 0 },
    });
    const portsTo = async (address: string, steps: Steps) => {
      const { made } = await exhaust(PORTS.length, () => rawConnect({ address, port: SERVER }, steps));
      return made.map(({ localPort }) => localPort).sort();
    };

    test('an explicit bind takes its port away from auto-assignment, whatever the source and the destination', async () => {
      // (source, 20001, A) explicit --> # 1
      // (*, *, B)                   --> # 3
      // (source2, *, B)             --> # 3
      await echoServer(SERVER, any);
      rawConnect({ address: a, port: SERVER }, explicit(20001));
      expect(await portsTo(b, {})).toEqual([20000, 20002, 20003]);
      expect(await portsTo(b, { noPort: true, bind: { address: source2, port: 0 } })).toEqual([20000, 20002, 20003]);
    });

    test('over an auto-assigned port without SO_REUSEADDR an explicit bind does not work', async () => {
      // (source, *, A) # 4
      // (source, 20001, B) explicit --> # ERR
      await echoServer(SERVER, any);
      expect(await portsTo(a, { noPort: true, bind: { address: source, port: 0 } })).toEqual(PORTS);
      const error = await errorOf(() => rawConnect({ address: b, port: SERVER }, explicit(20001)));
      expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
    });

    test('over an auto-assigned port with SO_REUSEADDR an explicit bind works', async () => {
      // (source, *, A) SO_REUSEADDR # 4
      // (source, 20001, B) explicit --> # 1
      await echoServer(SERVER, any);
      expect(await portsTo(a, { reuse: true, noPort: true, bind: { address: source, port: 0 } })).toEqual(PORTS);
      await assertEcho(rawConnect({ address: b, port: SERVER }, explicit(20001)));
    });

    if (hasPortRange()) {
      test('a pin does not', async () => {
        // (source, 20001, A) pinned --> # 1
        // (source, *, B)            --> # 4
        await echoServer(SERVER, any);
        rawConnect({ address: a, port: SERVER }, pin(20001));
        expect(await portsTo(b, { noPort: true, bind: { address: source, port: 0 } })).toEqual(PORTS);
      });

      test('a pin fails over an explicit holder and over a listener', async () => {
        // (source, 20001, A) explicit --> # 1
        // (source, 20001, B) pinned   --> # ERR
        // (*, 20002) listens
        // (source, 20002, B) pinned   --> # ERR
        await echoServer(SERVER, any);
        await echoServer(20002, any);
        rawConnect({ address: a, port: SERVER }, explicit(20001));
        const refused = { code: 'EADDRNOTAVAIL', syscall: 'connect' };
        expect(await errorOf(() => rawConnect({ address: b, port: SERVER }, pin(20001)))).toMatchObject(refused);
        expect(await errorOf(() => rawConnect({ address: b, port: SERVER }, pin(20002)))).toMatchObject(refused);
      });

      test('over an auto-assigned port without SO_REUSEADDR a pin works', async () => {
        // (source, *, A) # 4
        // (source, 20001, B) pinned --> # 1
        await echoServer(SERVER, any);
        expect(await portsTo(a, { noPort: true, bind: { address: source, port: 0 } })).toEqual(PORTS);
        await assertEcho(rawConnect({ address: b, port: SERVER }, pin(20001)));
      });

      test('a port range outside the ephemeral range is ignored in silence', async () => {
        await echoServer(SERVER, any);
        const steps: Steps = { noPort: true, range: [30000, 30003], bind: { address: source, port: 0 } };
        expect(await portsTo(a, steps)).toEqual(PORTS);
      });

      test('a port range partly outside is clamped to the ephemeral range', async () => {
        await echoServer(SERVER, any);
        expect(await portsTo(a, { range: [20002, 30003] })).toEqual([20002, 20003]);
        expect(await portsTo(b, { range: [1, 20000] })).toEqual([20000]);
      });

      test('0 is the bound of the ephemeral range, and low > high is EINVAL', async () => {
        await echoServer(SERVER, any);
        expect(await portsTo(a, { range: [0, 20001] })).toEqual([20000, 20001]);
        expect(await portsTo(b, { range: [20002, 0] })).toEqual([20002, 20003]);
        const error = await errorOf(() => rawConnect({ address: a, port: SERVER }, { range: [20002, 20001] }));
        expect(error).toMatchObject({ code: 'EINVAL', syscall: 'setsockopt' });
      });
    }

    const locks = holdersCanLock();
    test(`a holder that gives SO_REUSEADDR up ${locks ? 'locks its port' : 'does not lock its port any more'}`, async () => {
      // (source, 20001) unconnected, SO_REUSEADDR
      // (source, 20001, A) explicit --> # 1
      // (source, 20001, B) explicit --> # ERR while the holder has no SO_REUSEADDR, then # 1
      await echoServer(SERVER, any);
      const { SOL_SOCKET, SO_REUSEADDR } = sys.constants;
      const holder = rawBind({ address: source, port: 20001 }, { reuse: true });
      await assertEcho(rawConnect({ address: a, port: SERVER }, explicit(20001)));
      sys.setsockopt(holder, SOL_SOCKET, SO_REUSEADDR, 0);
      if (locks) {
        const error = await errorOf(() => rawConnect({ address: b, port: SERVER }, explicit(20001)));
        expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
        sys.setsockopt(holder, SOL_SOCKET, SO_REUSEADDR, 1);
      }
      await assertEcho(rawConnect({ address: b, port: SERVER }, explicit(20001)));
    });

    test('a holder that takes SO_REUSEADDR opens its port', async () => {
      // (source, 20001) unconnected
      // (source, 20001, A) explicit --> # ERR until the holder has SO_REUSEADDR, then # 1
      await echoServer(SERVER, any);
      const { SOL_SOCKET, SO_REUSEADDR } = sys.constants;
      const holder = rawBind({ address: source, port: 20001 });
      const error = await errorOf(() => rawConnect({ address: a, port: SERVER }, explicit(20001)));
      expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
      sys.setsockopt(holder, SOL_SOCKET, SO_REUSEADDR, 1);
      await assertEcho(rawConnect({ address: a, port: SERVER }, explicit(20001)));
    });
  });
});
