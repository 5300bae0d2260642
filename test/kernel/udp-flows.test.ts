// Many flows out of few ports, all at once: each hears its own peer and nobody else.
import type * as dgram from 'node:dgram';
import { connectUdp, connectUdpSync } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { families, keep, sendUntil, SERVER, udpServer } from '../helpers/udp.js';

const FLOWS = 1000;
const LOW = 20000;
const PORTS = 16;

interface Flow {
  peer: string;
  token: string;
  socket: dgram.Socket;
  heard: Set<string>;
}

describeIsolated('1,000 flows to 1,000 destinations from one source and 16 ports', () => {
  useNetwork({
    range: [LOW, LOW + PORTS - 1],
    addresses: ['2001:db8::1', '2001:db8::2'],
    commands: ['ip route add local 2001:db8:1::/64 dev lo'],
  });

  // (lhost, 16 ports, remote 1 ... remote 1000) --> # 1,000
  describe.each(families)('$family', ({ version, source, remote }) => {
    const many = (n: number) => (version === 4 ? `127.1.${n >> 8}.${n & 255}` : `2001:db8:1::${n.toString(16)}`);

    test.each([
      { what: 'addresses', destination: (n: number) => ({ host: many(n + 1), port: SERVER }) },
      { what: 'ports of one address', destination: (n: number) => ({ host: remote, port: 30000 + n }) },
    ])('$what', async ({ destination }) => {
      const destinations = Array.from({ length: FLOWS }, (_, n) => destination(n));
      for (const { host, port } of destinations) {
        const server = await udpServer(port, host, { freeBind: true });
        server.on('message', (message, from) => {
          server.send(`${host} ${port} heard ${message.toString()}`, from.port, from.address);
        });
      }
      const flows: Flow[] = [];
      for (const [n, { host, port }] of destinations.entries()) {
        const options = { host, port, localAddress: source };
        const socket = keep(n % 2 === 0 ? connectUdpSync(options) : await connectUdp(options));
        const flow: Flow = { peer: `${host} ${port}`, token: `token ${n}`, socket, heard: new Set() };
        socket.on('message', (message) => flow.heard.add(message.toString()));
        flows.push(flow);
      }
      await sendUntil(
        () => {
          for (const { socket, heard, token } of flows) if (heard.size === 0) socket.send(token);
        },
        () => flows.every(({ heard }) => heard.size > 0),
      );
      for (const { peer, token, heard } of flows) expect([...heard]).toEqual([`${peer} heard ${token}`]);

      const flowsOf = new Map<number, number>();
      for (const { socket } of flows) {
        const { address, port } = socket.address();
        expect(address).toBe(source);
        flowsOf.set(port, (flowsOf.get(port) ?? 0) + 1);
      }
      expect([...flowsOf.keys()].sort()).toEqual(Array.from({ length: PORTS }, (_, n) => LOW + n));
      // Spread at random, a port has 62 +- 8 of them: no bind(2) gets slow by a crowded port.
      expect(Math.max(...flowsOf.values())).toBeLessThan(125);
    });
  });
});
