// Options that need a privilege, the second time or at all, and options that say the same as one of connectx's own.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { plainEnvironment } from '../helpers/environment.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { leftOutWithout } from '../helpers/programs.js';
import { errorOf, families, keep, PORTS, RawUdp, SERVER, udpNetwork, ways } from '../helpers/udp.js';

const { IPPROTO_IP, IPPROTO_IPV6, IP_FREEBIND, IPV6_FREEBIND, IP_TRANSPARENT, IPV6_TRANSPARENT } = sys.constants;
const root = join(import.meta.dirname, '../..');
const EXHAUSTED = { code: 'EAGAIN', reason: 'ports-exhausted' };

/** What a process without capabilities makes of connects, one after the other: a port, or an error. */
const program = `
  const { connectUdp, connectUdpSync } = require(${JSON.stringify(join(root, 'dist/index.js'))});
  const { options, count } = JSON.parse(process.argv[1]);
  (async () => {
    const results = {};
    for (const open of [connectUdpSync, connectUdp]) {
      const sockets = [];
      let error;
      try {
        while (sockets.length < count) sockets.push(await open(options));
      } catch ({ code, syscall, reason }) {
        error = { code, syscall, reason };
      }
      results[open.name] = { ports: sockets.map((one) => one.address().port).sort((a, b) => a - b), error };
      for (const socket of sockets) socket.close();
    }
    console.log(JSON.stringify(results));
  })();
`;

function unprivileged(options: object, count: number): Record<string, { ports: number[]; error?: object }> {
  const drop = ['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs'];
  const args = [...drop, process.execPath, '-e', program, JSON.stringify({ options, count })];
  return JSON.parse(execFileSync('setpriv', args, { encoding: 'utf8', env: plainEnvironment() })) as never;
}

const leftOut = leftOutWithout('setpriv');

describeIsolated('privileges', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote, remote2 }) => {
    const to = { host: remote, port: SERVER, localAddress: source };

    test.skipIf(leftOut)(`interface without CAP_NET_RAW, while ports are locked${leftOut}`, () => {
      const locked = PORTS.slice(0, 2);
      for (const port of locked) new RawUdp(version, { bind: { address: source, port } });
      const options = { ...to, interface: 'lo' };
      const expected = { ports: PORTS.slice(2), error: { ...EXHAUSTED, syscall: 'connect' } };
      expect(unprivileged(options, 4)).toEqual({ connectUdpSync: expected, connectUdp: expected });
      const refused = { ports: [], error: { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' } };
      const one = unprivileged({ ...options, localPort: locked[0] }, 1);
      expect(one).toEqual({ connectUdpSync: refused, connectUdp: refused });
    });

    test.skipIf(leftOut)(`a range that reaches below the privileged ports${leftOut}`, () => {
      sysctl('ipv4.ip_unprivileged_port_start', 1024);
      const expected = { ports: [1024, 1025], error: { ...EXHAUSTED, syscall: 'connect' } };
      const reaching = unprivileged({ ...to, localPortRange: [1000, 1025] }, 4);
      expect(reaching).toEqual({ connectUdpSync: expected, connectUdp: expected });
      const denied = { ports: [], error: { code: 'EACCES', syscall: 'bind' } };
      const below = unprivileged({ ...to, localPortRange: [1000, 1023] }, 1);
      expect(below).toEqual({ connectUdpSync: denied, connectUdp: denied });
    });

    const v6 = version === 6;
    describe.each([
      { option: 'IP_FREEBIND', level: v6 ? IPPROTO_IPV6 : IPPROTO_IP, name: v6 ? IPV6_FREEBIND : IP_FREEBIND },
      { option: 'IP_TRANSPARENT', level: v6 ? IPPROTO_IPV6 : IPPROTO_IP, name: v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT },
    ])('$option through socketOptions', ({ level, name }) => {
      test.each(ways)('$way: an address of nobody, and its ports are shared', async ({ open }) => {
        // Without IP_TRANSPARENT there is no IPv4 route from an address of nobody (__ip_dev_find).
        const nobody = v6 ? '2001:db8:77::1' : name === IP_TRANSPARENT ? '192.0.2.77' : undefined;
        const localAddress = nobody ?? source;
        const options = { ...to, localAddress, localPort: 20001, socketOptions: [{ level, name, value: 1 }] };
        for (const host of [remote, remote2]) keep(await open({ ...options, host }));
        const error = await errorOf(() => open(options));
        expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'tuple-in-use' });
      });
    });
  });
});
