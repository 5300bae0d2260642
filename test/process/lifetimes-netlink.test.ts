// Netlink sockets that are starved: the smallest receive buffers that the kernel allows (net.core.rmem_default is the whole machine's, so
// that they are set one by one), and thousands of sockets to tell of. What the kernel drops is told by faults (test/faults: ENOBUFS).
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, connectUdp, connectUdpSync, portUsage } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { families, SERVER } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { echoServer, failure, track } from '../helpers/sockets.js';
import { assertUdpEcho, errorOf, keep, udpEcho } from '../helpers/udp.js';

const { SOL_SOCKET } = sys.constants;
const SO_RCVBUF = 8;
const COUNT = 1000;
const LOW = 20000;

/** Gives every netlink socket of this process the smallest buffer; how many there are. */
function starve(): number {
  const netlink = readFileSync('/proc/thread-self/net/netlink', 'utf8');
  const inodes = new Set(netlink.split('\n').map((line) => line.trim().split(/\s+/).at(-1)));
  let count = 0;
  for (const name of readdirSync('/proc/self/fd')) {
    let target = '';
    try {
      target = readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      // The one by which the folder was read.
      continue;
    }
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode === undefined || !inodes.has(inode)) continue;
    sys.setsockopt(Number(name), SOL_SOCKET, SO_RCVBUF, 1);
    // sock_setsockopt(): SOCK_MIN_RCVBUF.
    expect(sys.getsockopt(Number(name), SOL_SOCKET, SO_RCVBUF)).toBeLessThan(4096);
    count++;
  }
  return count;
}

describeIsolated('starved netlink sockets', () => {
  useNetwork({ range: [LOW, LOW + COUNT - 1], addresses: ['2001:db8::1', '2001:db8::2'] });

  describe.each(families)('$family', ({ any, source, remote }) => {
    test(`${COUNT} sockets, no port twice, no port wrongly refused, and all of them are counted`, async () => {
      await echoServer(SERVER, any);
      const [server] = await udpEcho(SERVER, [remote]);
      expect(server).toBeDefined();
      const options = { host: remote, port: SERVER, localAddress: source };
      // Whatever is kept to ask the kernel with is open from now on.
      const first = keep(connectUdpSync(options));
      const pinned = track(connect({ ...options, localPort: LOW + 500 }));
      await once(pinned, 'connect');
      await portUsage();
      expect(starve()).toBeGreaterThan(0);

      const sockets = [first];
      while (sockets.length < COUNT) {
        sockets.push(keep(sockets.length % 2 === 0 ? connectUdpSync(options) : await connectUdp(options)));
      }
      expect(new Set(sockets.map((socket) => socket.address().port)).size).toBe(COUNT);
      expect(starve()).toBeGreaterThan(0);
      const exhausted = { code: 'EAGAIN', reason: 'ports-exhausted' };
      expect(await errorOf(() => connectUdp(options))).toMatchObject(exhausted);
      expect(await errorOf(() => connectUdpSync(options))).toMatchObject(exhausted);
      const inUse = { reason: 'tuple-in-use' };
      expect(await errorOf(() => connectUdpSync({ ...options, localPort: LOW }))).toMatchObject(inUse);
      expect(await failure(connect({ ...options, localPort: LOW + 500 }))).toMatchObject(inUse);
      const [usage] = await portUsage({ protocol: 'udp', remotePort: SERVER });
      expect(usage).toMatchObject({ used: COUNT, capacity: COUNT });
      await assertUdpEcho(first);
    });
  });
});
