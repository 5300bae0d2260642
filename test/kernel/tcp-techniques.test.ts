// By which technique does a connection get its source port, and what does that leave to others?
import * as net from 'node:net';
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { rawBind, rawConnect, type Steps } from '../helpers/raw.js';
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

const portsExhausted = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'ports-exhausted' };
const tupleInUse = { code: 'EADDRNOTAVAIL', syscall: 'connect', reason: 'tuple-in-use' };

const ascending = (a = 0, b = 0) => a - b;

describeIsolated('techniques', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, source2, remote, remote2 }) => {
    const open = async (host: string, options: Partial<ConnectOptions>): Promise<net.Socket> => {
      const socket = await connected(connect({ host, port: SERVER, ...options }));
      await assertEcho(socket);
      return socket;
    };
    /** The ports of as many connections as there can be, until `ports-exhausted`. */
    const portsTo = async (host: string, options: Partial<ConnectOptions>): Promise<(number | undefined)[]> => {
      const { made, error } = await exhaust(100, () => open(host, options));
      expect(error).toMatchObject(portsExhausted);
      return made.map((socket) => socket.localPort).sort(ascending);
    };
    /** What auto-assignment gives to sockets that know nothing of connectx. */
    const plainPortsTo = async (address: string, steps: Steps = {}): Promise<(number | undefined)[]> => {
      const { made } = await exhaust(100, async () => {
        const socket = rawConnect({ address, port: SERVER }, steps);
        await assertEcho(socket);
        return socket;
      });
      return made.map((socket) => socket.localPort).sort(ascending);
    };

    describe('a wanted port in the ephemeral range', () => {
      // Without IP_LOCAL_PORT_RANGE it is bound explicitly.
      const leftToOthers = hasPortRange() ? PORTS : [20000, 20002, 20003];
      const plainSockets = hasPortRange() ? 'plain sockets still get it' : 'no plain socket gets it';

      test(`${plainSockets} towards other destinations`, async () => {
        // (source, 20001, remote) --> # 1
        // (*, *, remote2)         --> # 4, or 3
        await echoServer(SERVER, any);
        await open(remote, { localAddress: source, localPort: 20001 });
        expect(await plainPortsTo(remote2)).toEqual(leftToOthers);
      });

      test(`${plainSockets} when the source address is the kernel’s choice`, async () => {
        // (-, 20001, remote) --> # 1
        // (*, *, remote2)    --> # 4, or 3
        await echoServer(SERVER, any);
        await open(remote, { localPort: 20001 });
        expect(await plainPortsTo(remote2)).toEqual(leftToOthers);
      });

      test('control: net.connect binds it explicitly, and plain sockets do not get it any more', async () => {
        // (source, 20001, remote) --> # 1
        // (*, *, remote2)         --> # 3
        await echoServer(SERVER, any);
        await connected(net.connect({ host: remote, port: SERVER, localAddress: source, localPort: 20001 }));
        expect(await plainPortsTo(remote2)).toEqual([20000, 20002, 20003]);
      });

      test('is bound explicitly where an explicit holder leads elsewhere', async () => {
        // bind (source, 20001, remote)  --> # 1
        // pin  (source, 20001, remote2) --> # ERR
        // (source, 20001, remote2)      --> # 1
        await echoServer(SERVER, any);
        rawConnect({ address: remote, port: SERVER }, { reuse: true, bind: { address: source, port: 20001 } });
        if (hasPortRange()) {
          const pin: Steps = { noPort: true, range: [20001, 20001], bind: { address: source, port: 0 } };
          const error = await errorOf(() => rawConnect({ address: remote2, port: SERVER }, pin));
          expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect' });
        }
        const socket = await open(remote2, { localAddress: source, localPort: 20001 });
        expect(socket).toMatchObject({ localAddress: source, localPort: 20001 });
      });

      test('is bound explicitly where it is reserved', async () => {
        // (source, *, remote)     --> # 3
        // (source, 20001, remote) --> # 1
        await echoServer(SERVER, any);
        sysctl('ipv4.ip_local_reserved_ports', '20001');
        expect(await portsTo(remote, { localAddress: source })).toEqual([20000, 20002, 20003]);
        expect((await open(remote, { localAddress: source, localPort: 20001 })).localPort).toBe(20001);
      });

      const plain: Steps = { noPort: true, bind: { address: source, port: 0 } };

      if (hasPortRange()) {
        test('is shared with sockets that know nothing of SO_REUSEADDR', async () => {
          // (source, *, remote)      plain --> # 4
          // (source, 20001, remote2)       --> # 1
          await echoServer(SERVER, any);
          expect(await plainPortsTo(remote, plain)).toEqual(PORTS);
          expect((await open(remote2, { localAddress: source, localPort: 20001 })).localPort).toBe(20001);
        });
      } else {
        test('is not shared with sockets that know nothing of SO_REUSEADDR', async () => {
          // (source, *, remote)      plain --> # 4
          // (source, 20001, remote2)       --> # ERR
          await echoServer(SERVER, any);
          expect(await plainPortsTo(remote, plain)).toEqual(PORTS);
          const error = await errorOf(() => open(remote2, { localAddress: source, localPort: 20001 }));
          expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
        });
      }

      test('is still there for an explicit bind by somebody else', async () => {
        // (source, 20001, remote)       --> # 1
        // bind (source, 20001, remote2) --> # 1
        await echoServer(SERVER, any);
        await open(remote, { localAddress: source, localPort: 20001 });
        await assertEcho(
          rawConnect({ address: remote2, port: SERVER }, { reuse: true, bind: { address: source, port: 20001 } }),
        );
      });
    });

    test('a destination alone leaves its port to explicit binds', async () => {
      // (*, *, remote)                --> # 4
      // bind (source, 20001, remote2) --> # 1
      await echoServer(SERVER, any);
      expect(await portsTo(remote, {})).toEqual(PORTS);
      await assertEcho(
        rawConnect({ address: remote2, port: SERVER }, { reuse: true, bind: { address: source, port: 20001 } }),
      );
    });

    test('control: plain sockets do not', async () => {
      // (*, *, remote)                --> # 4
      // bind (source, 20001, remote2) --> # ERR
      await echoServer(SERVER, any);
      const steps: Steps = { noPort: true, bind: { address: source, port: 0 } };
      expect(await plainPortsTo(remote, steps)).toEqual(PORTS);
      const error = await errorOf(() =>
        rawConnect({ address: remote2, port: SERVER }, { reuse: true, bind: { address: source, port: 20001 } }),
      );
      expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
    });

    describe('a wanted port outside the ephemeral range', () => {
      test('is shared over destinations and sources, and not twice towards one', async () => {
        // (source, 30000, remote)  --> # 1
        // (source, 30000, remote)  --> # ERR
        // (source, 30000, remote2) --> # 1
        // (source2, 30000, remote) --> # 1
        await echoServer(SERVER, any);
        await open(remote, { localAddress: source, localPort: 30000 });
        const again = failure(connect({ host: remote, port: SERVER, localAddress: source, localPort: 30000 }));
        expect(await again).toMatchObject({ ...tupleInUse, localAddress: source, localPort: 30000 });
        await open(remote2, { localAddress: source, localPort: 30000 });
        await open(remote, { localAddress: source2, localPort: 30000 });
      });

      test('gets the source address that the kernel would choose', async () => {
        // (-, 30000, remote) --> # 1, as (*, *, remote)
        await echoServer(SERVER, any);
        const { localAddress } = await open(remote, {});
        expect(await open(remote, { localPort: 30000 })).toMatchObject({ localAddress, localPort: 30000 });
      });
    });

    test.each([20001, 30000])('port %d alone: a lock on another address is no hindrance', async (localPort) => {
      // (source2, port) unconnected
      // (-, port, remote)       --> # 1
      // (source2, port, remote) --> # ERR
      await echoServer(SERVER, any);
      rawBind({ address: source2, port: localPort });
      expect((await open(remote, { localPort })).localPort).toBe(localPort);
      const error = await failure(connect({ host: remote, port: SERVER, localAddress: source2, localPort }));
      expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' });
    });

    describe('a range of ports', () => {
      test.each<{ given: string; range: [number, number]; reserved?: string; ports: number[] }>([
        { given: 'inside the ephemeral range', range: [20001, 20002], ports: [20001, 20002] },
        { given: 'of one port', range: [20003, 20003], ports: [20003] },
        { given: 'equal to the ephemeral range', range: [20000, 20003], ports: PORTS },
        { given: 'partly above it', range: [20002, 20005], ports: [20002, 20003, 20004, 20005] },
        { given: 'partly below it', range: [19998, 20001], ports: [19998, 19999, 20000, 20001] },
        { given: 'covering it', range: [19999, 20004], ports: [19999, ...PORTS, 20004] },
        { given: 'wholly above it', range: [30000, 30002], ports: [30000, 30001, 30002] },
        { given: 'wholly below it', range: [10000, 10002], ports: [10000, 10001, 10002] },
        {
          given: 'with reserved ports inside and outside the ephemeral range',
          range: [19998, 20005],
          reserved: '19999,20001-20002,20004',
          ports: [19998, 20000, 20003, 20005],
        },
      ])('$given: each port once to each destination', async ({ range, reserved, ports }) => {
        // (source, range, remote)  --> # ports
        // (source, range, remote2) --> # ports
        // (*, range, remote2)      --> # ERR, or from another source # ports
        await echoServer(SERVER, any);
        if (reserved !== undefined) sysctl('ipv4.ip_local_reserved_ports', reserved);
        const options = { localAddress: source, localPortRange: range };
        expect(await portsTo(remote, options)).toEqual(ports);
        expect(await portsTo(remote2, options)).toEqual(ports);
        expect(await portsTo(remote, { ...options, localAddress: source2 })).toEqual(ports);
      });

      test('without a source address', async () => {
        // (-, 20002-20005, remote)  --> # 4
        // (-, 20002-20005, remote2) --> # 4
        await echoServer(SERVER, any);
        for (const host of [remote, remote2]) {
          expect(await portsTo(host, { localPortRange: [20002, 20005] })).toEqual([20002, 20003, 20004, 20005]);
        }
      });

      test('only reserved ports: exhausted at once', async () => {
        await echoServer(SERVER, any);
        sysctl('ipv4.ip_local_reserved_ports', '30000-30001');
        expect(await portsTo(remote, { localAddress: source, localPortRange: [30000, 30001] })).toEqual([]);
      });

      test('ports that are locked or listened on are passed over', async () => {
        // (source, 30001) unconnected, (*, 30002) listens
        // (source, 30000-30003, remote) --> # 2
        await echoServer(SERVER, any);
        await echoServer(30002, any);
        rawBind({ address: source, port: 30001 });
        const options = { localAddress: source, localPortRange: [30000, 30003] as const };
        expect(await portsTo(remote, options)).toEqual([30000, 30003]);
      });

      if (hasPortRange()) {
        test('control: the kernel ignores a range outside the ephemeral one in silence', async () => {
          await echoServer(SERVER, any);
          expect(await plainPortsTo(remote, { range: [30000, 30003] })).toEqual(PORTS);
        });
      }
    });

    describe('a search of 2,000 ports that are all taken', () => {
      const RANGE = [30000, 31999] as const;
      const options = { host: remote, port: SERVER, localAddress: source, localPortRange: RANGE };

      /** Half of the ports are taken by connections to the destination, half are locked. */
      const takeAll = async (except = 0) => {
        let accepted = 0;
        let expected = 0;
        const server = track(
          net.createServer((socket) => {
            track(socket);
            accepted++;
          }),
        );
        await new Promise<void>((resolve) => server.listen(SERVER, any, resolve));
        for (let port: number = RANGE[0]; port <= RANGE[1]; port++) {
          if (port === except) continue;
          if (port % 2 === 1) {
            rawBind({ address: source, port });
            continue;
          }
          rawConnect({ address: remote, port: SERVER }, { reuse: true, bind: { address: source, port } });
          expected++;
          // The queue of connections that wait to be accepted holds 511.
          if (expected % 200 === 0) await until(() => accepted === expected);
        }
        await until(() => accepted === expected);
      };

      test('ends in ports-exhausted', async () => {
        await takeAll();
        const before = descriptorCount();
        const socket = connect(options);
        expect(socket.connecting).toBe(true);
        const error = await failure(socket);
        expect(error).toMatchObject({ ...portsExhausted, localAddress: source });
        await closed(socket);
        await until(() => descriptorCount() === before);
      });

      test('finds the one port that is free', async () => {
        await takeAll(31234);
        expect((await connected(connect(options))).localPort).toBe(31234);
        expect(await failure(connect(options))).toMatchObject(portsExhausted);
      });

      test('finds those that are taken towards another destination only', async () => {
        await takeAll();
        // The locked ones are odd.
        for (let n = 0; n < 3; n++) {
          const socket = await connected(connect({ ...options, host: remote2 }));
          expect((socket.localPort ?? 1) % 2).toBe(0);
        }
      });

      test('can be destroyed in the middle', async () => {
        await takeAll();
        const before = descriptorCount();
        const socket = track(connect(options));
        const errors: unknown[] = [];
        socket.on('error', (error) => errors.push(error));
        await new Promise(setImmediate);
        expect(socket.connecting).toBe(true);
        socket.destroy();
        await closed(socket);
        await until(() => descriptorCount() === before);
        expect(errors).toEqual([]);
      });

      test('can be aborted in the middle', async () => {
        await takeAll();
        const before = descriptorCount();
        const controller = new AbortController();
        const socket = track(connect({ ...options, signal: controller.signal } as ConnectOptions));
        const error = errorOf(() => connected(socket));
        await new Promise(setImmediate);
        expect(socket.connecting).toBe(true);
        controller.abort();
        expect(await error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
        await closed(socket);
        await until(() => descriptorCount() === before);
      });
    });

    test('an ephemeral range that changes is noticed', async () => {
      // (source, 20001, remote) pinned --> # 1
      // (source, 30001, remote) pinned --> # 1
      await echoServer(SERVER, any);
      await open(remote, { localAddress: source, localPort: 20001 });
      sysctl('ipv4.ip_local_port_range', '30000 30003');
      await open(remote, { localAddress: source, localPort: 30001 });
      expect(await portsTo(remote, { localAddress: source })).toEqual([30000, 30002, 30003]);
      // Without IP_LOCAL_PORT_RANGE 30001 is bound explicitly.
      const left = hasPortRange() ? [30000, 30001, 30002, 30003] : [30000, 30002, 30003];
      expect(await plainPortsTo(remote2)).toEqual(left);
    });
  });
});
