// A port that was not asked for must do no harm: neither to a server that is bound to it, nor to the socket itself.
import { connectUdp } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import {
  errorOf,
  families,
  keep,
  PORTS,
  RawUdp,
  SERVER,
  sendUntil,
  udpNetwork,
  udpServer,
  ways,
} from '../helpers/udp.js';

const EXHAUSTED = { code: 'EAGAIN', reason: 'ports-exhausted' };

describeIsolated('the ports of others', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, any, source, remote, remote2 }) => {
    describe.each([
      { where: 'at its source', address: source },
      { where: 'at the wildcard address', address: any },
    ])('a server with SO_REUSEADDR $where', ({ address }) => {
      test('control: a socket that joins it takes the datagrams of its peer', async () => {
        const server = new RawUdp(version, { reuse: true, bind: { address, port: PORTS[0] ?? 0 } });
        const thief = new RawUdp(version, {
          reuse: true,
          bind: { address: source, port: PORTS[0] ?? 0 },
          connect: { address: remote, port: SERVER },
        });
        const peer = await udpServer(SERVER, remote);
        const heard: string[] = [];
        await sendUntil(
          () => peer.send('for the server', PORTS[0], source),
          () => heard.push(...thief.heard()) > 0,
        );
        expect(server.heard()).toEqual([]);
      });

      test.each(ways)('$way: it is not joined, and all others are taken', async ({ open }) => {
        const server = new RawUdp(version, { reuse: true, bind: { address, port: PORTS[0] ?? 0 } });
        const options = { host: remote, port: SERVER, localAddress: source };
        // Shared ports as well.
        for (const host of [remote, remote2]) {
          const sockets = [];
          for (const _ of PORTS.slice(1)) sockets.push(await open({ ...options, host }));
          expect(sockets.map((socket) => socket.address().port).sort((a, b) => a - b)).toEqual(PORTS.slice(1));
        }
        expect(await errorOf(() => open(options))).toMatchObject(EXHAUSTED);
        server.close();
        expect((await open(options)).address().port).toBe(PORTS[0]);
      });
    });

    test.each(ways)('$way: a socket does not connect to itself', async ({ open }) => {
      for (const port of PORTS) {
        const localPortRange = [PORTS[0] ?? 0, PORTS.at(-1) ?? 0] as const;
        const options = { host: source, port, localAddress: source, localPortRange };
        for (const _ of PORTS.slice(1)) expect((await open(options)).address().port).not.toBe(port);
        expect(await errorOf(() => open(options))).toMatchObject(EXHAUSTED);
      }
    });

    test('an explicit port is the own one, if that is what is asked for', async () => {
      const socket = keep(await connectUdp({ host: source, port: 20001, localAddress: source, localPort: 20001 }));
      expect(socket.address().port).toBe(20001);
    });
  });
});
