// Nothing listens on a port of the ephemeral range, and the kernel gives just that port to the socket that connects to it:
// TCP's simultaneous open then connects the socket to itself.
import * as net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'connectx';
import { beforeEach, describe, expect, test } from 'vitest';
import { families, PORTS, smallNetwork } from '../helpers/families.js';
import { describeIsolated, sysctl, tcpStates, useNetwork } from '../helpers/netns.js';
import { rawConnect } from '../helpers/raw.js';
import { assertEcho, closed, connected, descriptorCount, echoServer, failure, until } from '../helpers/sockets.js';

describeIsolated('self-connect', () => {
  useNetwork(smallNetwork);

  // Without a source, connectx looks at the ephemeral range once a second, and the last test had another one.
  beforeEach(() => pause(1000));

  describe.each(families)('$family', ({ any, version, source, remote }) => {
    const bracketed = version === 6 ? `[${source}]` : source;
    const refused = { code: 'ECONNREFUSED', syscall: 'connect', address: source };

    test('control: net.connect connects to itself', async () => {
      // (*, 20000) --> (source, 20000), where nobody listens
      sysctl('ipv4.ip_local_port_range', '20000 20000');
      const socket = await connected(net.connect({ host: source, port: 20000, localAddress: source }));
      expect(socket).toMatchObject({ localAddress: source, localPort: 20000, remotePort: 20000 });
      await assertEcho(socket);
    });

    test.each([1, 2, 3, 4])('%d ephemeral ports, repeatedly: refused, and nothing is left', async (count) => {
      // (*, 20000-) --> (source, port), where nobody listens --> # ERR
      sysctl('ipv4.ip_local_port_range', `20000 ${19999 + count}`);
      const refuseAll = async () => {
        for (let n = 0; n < 5 * count; n++) {
          const port = 20000 + (n % count);
          const socket = connect({ host: source, port, ...(n % 2 === 0 ? {} : { localAddress: source }) });
          expect(await failure(socket)).toMatchObject({ ...refused, port });
          await closed(socket);
        }
      };
      await refuseAll();
      // With the socket that the kernel is asked by.
      const before = descriptorCount();
      await refuseAll();
      // A connection that was closed would be in TIME-WAIT now.
      expect(tcpStates()).toEqual([]);
      await until(() => descriptorCount() === before);
    });

    test('an unspecified destination, which the kernel takes as this machine', async () => {
      // (source, 20000-) --> (unspecified, port) --> # ERR, in every spelling, and also where a name has led there
      sysctl('ipv4.ip_local_port_range', '20000 20001');
      const loopback = version === 6 ? '::1' : source;
      const spellings = version === 6 ? ['::', '0:0::0'] : ['0.0.0.0', '::ffff:0.0.0.0', '::ffff:0:0'];
      for (const host of spellings) {
        const lookup: net.LookupFunction = (_name, _options, callback) =>
          process.nextTick(callback, null, [{ address: host, family: net.isIP(host) }]);
        for (const options of [{ localAddress: loopback }, {}, { localAddress: loopback, localPort: 20001 }]) {
          for (const named of [{ host }, { host: 'sinkholed.example', lookup, autoSelectFamily: true }]) {
            for (let n = 0; n < 4; n++) {
              const error = await failure(connect({ ...named, port: 20001, ...options }));
              expect(error, `${host} ${JSON.stringify(options)}`).toMatchObject({ code: 'ECONNREFUSED', port: 20001 });
            }
          }
        }
      }
      expect(tcpStates()).toEqual([]);
    });

    test('an unspecified destination where somebody listens', async () => {
      await echoServer(20001, any);
      for (const options of [{}, { localPort: 30000 }, { localPort: 30001 }]) {
        const host = version === 6 ? '::' : '0.0.0.0';
        await assertEcho(await connected(connect({ host, port: 20001, ...options })));
      }
    });

    test('the exact local port, with and without the source address', async () => {
      // (source, port) --> (source, port) --> # ERR, in the ephemeral range and outside of it
      for (const port of [20001, 30000]) {
        for (const options of [{ localAddress: source }, {}]) {
          const error = await failure(connect({ host: source, port, localPort: port, ...options }));
          expect(error).toMatchObject({ ...refused, port, localPort: port });
        }
      }
      expect(tcpStates()).toEqual([]);
    });

    test('the same address in another spelling', async () => {
      // (source, port) --> (source, port) --> # ERR
      const host = version === 6 ? '2001:db8:0:0::1' : '::ffff:127.0.0.1';
      const error = await failure(connect({ host, port: 20001, localAddress: source, localPort: 20001 }));
      expect(error).toMatchObject({ ...refused, address: host, port: 20001, localPort: 20001 });
      expect(tcpStates()).toEqual([]);
    });

    test('a range of ports that holds the remote port', async () => {
      // (source, 30000-30002) --> (source, 30001) --> # ERR
      for (let n = 0; n < 12; n++) {
        const options = { host: source, port: 30001, localAddress: source, localPortRange: [30000, 30002] as const };
        expect(await failure(connect(options))).toMatchObject({ ...refused, port: 30001 });
      }
      expect(tcpStates()).toEqual([]);
    });

    test('the same port of another address is no self-connect', async () => {
      // (source, port) --> (remote, port) --> # 1
      await echoServer(20001, remote);
      const socket = await connected(connect({ host: remote, port: 20001, localAddress: source, localPort: 20001 }));
      await assertEcho(socket);
    });

    test('the error says what happened', async () => {
      sysctl('ipv4.ip_local_port_range', '20000 20000');
      const error = await failure(connect({ host: source, port: 20000, localAddress: source }));
      expect(error.message).toContain(`connect ECONNREFUSED ${source}:20000`);
      expect(error.message).toMatch(/nothing listens there/);
    });

    test('control: towards a listener the port of the listener is never assigned', async () => {
      // (*, *) --> (source, 20001) --> # 3
      await echoServer(20001, any);
      for (let n = 0; n < 3; n++) await assertEcho(rawConnect({ address: source, port: 20001 }));
      const ports = tcpStates()
        .filter(({ remote: far }) => far === `${bracketed}:20001`)
        .map(({ local }) => Number(local.slice(local.lastIndexOf(':') + 1)));
      expect(ports.sort()).toEqual(PORTS.filter((port) => port !== 20001));
    });
  });
});
