// Where nobody is on a port, core binds it: half the system calls. In a process of its own, that has not met shared ports before.
import * as dgram from 'node:dgram';
import * as diagnostics from 'node:diagnostics_channel';
import { connectUdp, connectUdpSync } from 'connectx';
import { expect, test, vi } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount } from '../helpers/sockets.js';
import { closeNow, errorOf, families, keep, SERVER, udpNetwork } from '../helpers/udp.js';

describeIsolated('where nobody is on a port', () => {
  useNetwork(udpNetwork);

  test.each(families)(
    "$family: closed inside 'listening', or a listener throws: it fails, keeps nothing, and core binds the next one, too",
    async (cast) => {
      const options = { host: cast.remote2, port: SERVER, localAddress: cast.source, localPort: 20002 };
      await closeNow(connectUdpSync(options));
      const before = descriptorCount();
      for (const [expected, act] of [
        [{ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }, (socket: dgram.Socket) => socket.close()],
        [
          new Error('mine'),
          () => {
            throw new Error('mine');
          },
        ],
      ] as const) {
        const listen = (message: unknown) => {
          const { socket } = message as { socket: dgram.Socket };
          socket.on('listening', () => act(socket));
        };
        diagnostics.subscribe('udp.socket', listen);
        try {
          for (const open of [connectUdpSync, connectUdp]) {
            const error = await errorOf(async () => open(options));
            expect(error).toMatchObject(expected);
          }
        } finally {
          diagnostics.unsubscribe('udp.socket', listen);
        }
      }
      expect(descriptorCount()).toBe(before);
      const bind = vi.spyOn(dgram.Socket.prototype, 'bind');
      try {
        keep(connectUdpSync(options));
        expect(bind.mock.lastCall).toEqual([{ address: cast.source, port: 20002, exclusive: true }]);
      } finally {
        bind.mockRestore();
      }
    },
  );

  // What dgram keeps behind its symbol may change with a Node release: connectx works as well then, but takes longer.
  test.each(families)('$family: core binds it', async ({ source, remote, remote2 }) => {
    const bind = vi.spyOn(dgram.Socket.prototype, 'bind');
    try {
      const options = { port: SERVER, localAddress: source, localPort: 20001 };
      // Where it leads is asked for the first time, which core does not do.
      await closeNow(connectUdpSync({ ...options, host: remote }));
      expect(bind.mock.lastCall).toEqual([{ fd: expect.any(Number) as number, exclusive: true }]);
      keep(connectUdpSync({ ...options, host: remote }));
      expect(bind.mock.lastCall).toEqual([{ address: source, port: 20001, exclusive: true }]);
      // Shared by now.
      keep(connectUdpSync({ ...options, host: remote2 }));
      expect(bind.mock.lastCall).toEqual([{ fd: expect.any(Number) as number, exclusive: true }]);
    } finally {
      bind.mockRestore();
    }
  });
});
