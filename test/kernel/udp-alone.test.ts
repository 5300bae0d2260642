// Where nobody is on a port, core binds it: half the system calls. In a process of its own, that has not met shared ports before.
import * as dgram from 'node:dgram';
import { connectUdpSync } from 'connectx';
import { expect, test, vi } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { closeNow, families, keep, SERVER, udpNetwork } from '../helpers/udp.js';

describeIsolated('where nobody is on a port', () => {
  useNetwork(udpNetwork);

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
