// The source that the kernel would take for this very socket: a rule may depend on its protocol and port, and a socket may be born
// bound to a device.
import { execFile } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { connectUdp, connectUdpSync } from 'connectx';
import { expect, test } from 'vitest';
import { DEVICE_INDEX, hasCgroups, inCgroup, leftOutWithoutCgroups } from '../helpers/cgroup.js';
import { describeIsolated, shell, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { keep } from '../helpers/udp.js';

const REMOTE = { 4: '203.0.113.9', 6: '2001:db8:9::9' } as const;
const OF_D0 = { 4: '10.1.0.1', 6: '2001:db8:1::1' } as const;
const OF_D1 = { 4: '10.2.0.1', 6: '2001:db8:2::1' } as const;

/** What plain dgram takes. */
async function plainSource(version: 4 | 6, port: number): Promise<string> {
  const socket = keep(dgram.createSocket(version === 6 ? 'udp6' : 'udp4'));
  socket.connect(port, REMOTE[version]);
  await once(socket, 'connect');
  return socket.address().address;
}

describeIsolated('the source by rule', () => {
  useNetwork({
    range: [20000, 20009],
    commands: [
      `ip link add d0 type veth peer name d0p`,
      `ip link add d1 index ${DEVICE_INDEX} type veth peer name d1p`,
      `ip addr add ${OF_D0[4]}/24 dev d0`,
      `ip addr add ${OF_D1[4]}/24 dev d1`,
      `ip addr add ${OF_D0[6]}/64 dev d0 nodad`,
      `ip addr add ${OF_D1[6]}/64 dev d1 nodad`,
      ...['d0', 'd1', 'd0p', 'd1p'].map((name) => `ip link set ${name} up`),
      'ip route add default via 10.1.0.254 dev d0',
      'ip route add default via 10.2.0.254 dev d1 table 100',
      'ip -6 route add default via 2001:db8:1::ff dev d0',
      'ip -6 route add default via 2001:db8:2::ff dev d1 table 100',
    ],
  });

  test.each([4, 6] as const)('IPv%d: ip rule ... ipproto udp dport', async (version) => {
    shell(`ip ${version === 6 ? '-6' : '-4'} rule add ipproto udp dport 5060 lookup 100`);
    for (const [port, expected] of [
      [5060, OF_D1[version]],
      [53, OF_D0[version]],
    ] as const) {
      expect(await plainSource(version, port)).toBe(expected);
      expect(keep(connectUdpSync({ host: REMOTE[version], port })).address().address).toBe(expected);
      expect(keep(await connectUdp({ host: REMOTE[version], port })).address().address).toBe(expected);
    }
  });

  // Of a device that every socket of the process is born bound to, as by `ip vrf exec`.
  test.skipIf(!hasCgroups).each([4, 6] as const)(
    `IPv%d: sockets that are born bound to a device${leftOutWithoutCgroups}`,
    async (version) => {
      shell(`ip ${version === 6 ? '-6' : '-4'} route add default dev d1 metric ${version === 6 ? 2048 : 100}`);
      const argument = JSON.stringify({ host: REMOTE[version], count: 3 });
      const [file, args] = inCgroup('device', [process.execPath, fixture('born-bound.mjs'), argument]);
      const { stdout } = await promisify(execFile)(file, args, { timeout: 20_000 });
      const { plain, ours, sharing, ports } = JSON.parse(stdout) as Record<string, unknown>;
      expect(plain).toBe(OF_D1[version]);
      expect(ours).toEqual([OF_D1[version], OF_D1[version], OF_D1[version]]);
      expect(sharing).toBe(true);
      // Shared over destinations.
      expect(ports).toEqual([25005, 25005, 25005]);
    },
  );
});
