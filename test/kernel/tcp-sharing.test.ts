// What connectx is for: with 4 ports and 3 destinations there are 12 connections.
import * as net from 'node:net';
import { connect } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { assertEcho, connected, echoServer, failure } from '../helpers/sockets.js';

describeIsolated('4 ports, 3 destinations', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, remote, remote2, remote3 }) => {
    const destinations = [remote, remote2, remote3];

    test('control: net.connect({ localAddress }) stops at 4', async () => {
      await echoServer(SERVER, any);
      let made = 0;
      for (const host of destinations) {
        for (const _ of PORTS) {
          const socket = net.connect({ host, port: SERVER, localAddress: source });
          try {
            await connected(socket);
            made++;
          } catch (error) {
            expect(error).toMatchObject({ code: 'EADDRINUSE' });
          }
        }
      }
      expect(made).toBe(4);
    });

    test.each([
      { given: 'the source address', options: () => ({ localAddress: source }) },
      { given: 'the destination only', options: () => ({}) },
      { given: 'the source address and port', options: (port: number) => ({ localAddress: source, localPort: port }) },
      { given: 'the source port only', options: (port: number) => ({ localPort: port }) },
      { given: 'a range of source ports', options: () => ({ localAddress: source, localPortRange: RANGE }) },
    ])('12 of 12 given $given, then ports-exhausted or tuple-in-use', async ({ options }) => {
      await echoServer(SERVER, any);
      for (const host of destinations) {
        for (const port of PORTS) await assertEcho(await connected(connect({ host, port: SERVER, ...options(port) })));
      }
      for (const host of destinations) {
        const asked = options(20001);
        const error = await failure(connect({ host, port: SERVER, ...asked }));
        const reason = 'localPort' in asked ? 'tuple-in-use' : 'ports-exhausted';
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'connect', reason, address: host, port: SERVER });
      }
    });
  });
});
