// A full pool's refusal is believed for a moment: no port of its own that comes back meanwhile goes unnoticed. By a clock that moves only
// when somebody looks at it, so that the moment does not end by itself.
import type * as net from 'node:net';
import { connect, SourcePool } from 'connectx';
import * as sys from 'connectx/sys';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, exhaust, failure } from '../helpers/sockets.js';

const SO_LINGER = 13;
const IP_BIND_ADDRESS_NO_PORT = 24;
const full = { code: 'EADDRNOTAVAIL', reason: 'pool-exhausted' };

let at = performance.now();

beforeEach(() => {
  // By then what the searches of the test before took is paid for.
  at += 10_000;
  vi.spyOn(performance, 'now').mockImplementation(() => (at += 0.3));
});

describeIsolated('a pool whose ports are all in use', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ version, any, source, source2, remote }) => {
    const towards = { host: remote, port: SERVER };
    const fill = async (localAddress: SourcePool, count: number): Promise<net.Socket[]> => {
      const { made, error } = await exhaust(100, () => connected(connect({ ...towards, localAddress })));
      expect(made).toHaveLength(count);
      expect(error).toMatchObject(full);
      return made;
    };

    test('a port of a slice outside of the ephemeral range is used at once', async () => {
      await echoServer(SERVER, any);
      const localAddress = new SourcePool([{ address: source, ports: [30_000, 30_003] }]);
      for (const socket of await fill(localAddress, 4)) {
        expect(await failure(connect({ ...towards, localAddress }))).toMatchObject(full);
        const { localPort } = socket;
        socket.resetAndDestroy();
        expect((await connected(connect({ ...towards, localAddress }))).localPort).toBe(localPort);
      }
    });

    test.each([0, 1])('so is a port of source %i that connectx/sys gives back', async (place) => {
      await echoServer(SERVER, any);
      const sources = [source, source2];
      const localAddress = new SourcePool(sources);
      const domain = version === 4 ? sys.constants.AF_INET : sys.constants.AF_INET6;
      const fd = sys.socket(domain, sys.constants.SOCK_STREAM);
      // struct linger: it is closed with RST.
      sys.setsockopt(fd, sys.constants.SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer));
      sys.setsockopt(fd, sys.constants.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
      sys.bind(fd, { address: sources[place] ?? '', port: 0 });
      expect(() => sys.connect(fd, { address: remote, port: SERVER })).toThrow('EINPROGRESS');
      const { port } = sys.getsockname(fd);
      await fill(localAddress, 7);
      expect(await failure(connect({ ...towards, localAddress }))).toMatchObject(full);
      sys.close(fd);
      const next = await connected(connect({ ...towards, localAddress }));
      expect(next).toMatchObject({ localAddress: sources[place], localPort: port });
    });
  });
});
