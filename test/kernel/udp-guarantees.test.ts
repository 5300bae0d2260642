// What connectUdp promises, each beside what the plain kernel does: nobody is overshadowed, no stranger is heard, and no port
// stays locked.
import type * as dgram from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { connectUdp, connectUdpSync, type UdpConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { descriptorCount, track } from '../helpers/sockets.js';
import {
  assertUdpEcho,
  type Cast,
  closeNow,
  errorOf,
  families,
  fdOf,
  lockedPorts,
  PORTS,
  RawUdp,
  SERVER,
  sendUntil,
  udpEcho,
  udpNetwork,
  udpServer,
  until,
  ways,
} from '../helpers/udp.js';

const { SO_REUSEADDR, SOL_SOCKET } = sys.constants;
const reuseOf = (socket: dgram.Socket) => sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_REUSEADDR);

function thread(name: string, workerData: unknown): Worker {
  const worker = new Worker(join(import.meta.dirname, '../fixtures', name), { execArgv: [], workerData });
  track({ close: () => void worker.terminate() });
  return worker;
}

/** A stranger floods these ports until the returned function is called. */
async function flood({ type, source2 }: Cast, to: string, ports: readonly number[]): Promise<() => Promise<unknown>> {
  const worker = thread('udp-flood.mjs', { type, from: source2, to, ports });
  await once(worker, 'message');
  return () => worker.terminate();
}

describeIsolated('a datagram from a stranger', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, source2, remote, remote2, remote3 } = cast;

    // (lhost, lport) bound
    // stranger --> (lhost, lport)
    // (lhost, lport, remote) --> # 1, heard
    // stranger --> (lhost, lport) # ERR
    test('control: what comes between bind(2) and connect(2) is heard, and nothing after that', async () => {
      const stranger = new RawUdp(version, {
        bind: { address: source2, port: 30000 },
        connect: { address: source, port: 20001 },
      });
      const heard: string[] = [];
      await until(() => {
        const socket = new RawUdp(version, { bind: { address: source, port: 20001 } });
        stranger.send('before');
        sys.connect(socket.fd, { address: remote, port: SERVER });
        heard.push(...socket.heard());
        socket.close();
        return heard.length > 0;
      });
      expect(heard).toEqual(['before']);
      const socket = new RawUdp(version, {
        bind: { address: source, port: 20001 },
        connect: { address: remote, port: SERVER },
      });
      const error = await errorOf(() =>
        sendUntil(
          () => stranger.send('after'),
          () => false,
        ),
      );
      expect(error.code).toBe('ECONNREFUSED');
      expect(socket.heard()).toEqual([]);
    });

    test('control: under a flood, sockets that are bound and then connected hear the stranger', async () => {
      await flood(cast, source, PORTS);
      let foreign = 0;
      await until(() => {
        for (const port of PORTS) {
          const socket = new RawUdp(version, {
            bind: { address: source, port },
            connect: { address: remote, port: SERVER },
          });
          foreign += socket.heard().length;
          socket.close();
        }
        return foreign > 100;
      });
    });

    // stranger --> (lhost, every port), all the time
    // (lhost, *, remote1 ... remote3) --> # 10,000
    test('connectUdp, connectUdpSync: under a flood, 10,000 sockets hear their peers only', async () => {
      const remotes = [remote, remote2, remote3];
      await udpEcho(SERVER, remotes);
      await flood(cast, source, PORTS);
      const foreign: string[] = [];
      const connect = async (host: string, n: number): Promise<dgram.Socket> => {
        const options = { host, port: SERVER, localAddress: source };
        const socket = n % 2 === 0 ? connectUdpSync(options) : await connectUdp(options);
        socket.on('message', (message, { address, port }) => {
          if (address !== host || port !== SERVER) foreign.push(`${address}:${port} ${message}`);
        });
        return socket;
      };
      for (let made = 0; made < 10_000; made += 12) {
        const sockets: dgram.Socket[] = [];
        for (const host of remotes) {
          for (const n of PORTS) sockets.push(await connect(host, n));
        }
        if (made % 1200 === 0) await assertUdpEcho(...sockets);
        else await new Promise(setImmediate);
        await Promise.all(sockets.map(closeNow));
      }
      expect(foreign).toEqual([]);
    });

    // (remote, *) --> (lhost, lport), all the time
    // (lhost, lport, remote) --> # 1, hears remote
    test.each(ways)('$way: what the peer sends is heard, whenever it was sent', async ({ open }) => {
      const peer = await udpServer(SERVER, remote);
      const sent = setInterval(() => peer.send('unasked', 20001, source), 1);
      track({ close: () => clearInterval(sent) });
      const socket = await open({ host: remote, port: SERVER, localAddress: source, localPort: 20001 });
      const [message] = (await once(socket, 'message')) as [Buffer];
      expect(message.toString()).toBe('unasked');
    });
  });
});

describeIsolated('every ephemeral port is held by a socket that does not share it', () => {
  useNetwork(udpNetwork);

  // (lhost, every port) bound without SO_REUSEADDR
  // (-, *, remote)      --> # ERR
  // (lhost2, *, remote) --> # 4
  describe.each(families)('$family', ({ version, source2, remote }) => {
    const to = { address: remote, port: SERVER };

    function holdAll(): string {
      const scout = new RawUdp(version, { connect: to });
      const { localAddress } = scout;
      scout.close();
      for (const port of PORTS) new RawUdp(version, { bind: { address: localAddress, port } });
      return localAddress;
    }

    test('control: the plain kernel cannot even tell the source', async () => {
      holdAll();
      const error = await errorOf(() => new RawUdp(version, { connect: to }));
      expect(error).toMatchObject({ code: 'EAGAIN', syscall: 'connect' });
    });

    test.each(ways)(
      '$way: given the destination only, it is ports-exhausted; another source works',
      async ({ open }) => {
        await udpEcho(SERVER, [remote]);
        const localAddress = holdAll();
        const error = await errorOf(() => open({ host: remote, port: SERVER }));
        expect(error).toMatchObject({ code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted', localAddress });
        for (const _ of PORTS) await assertUdpEcho(await open({ host: remote, port: SERVER, localAddress: source2 }));
      },
    );
  });
});

describeIsolated("another program's socket that is bound to a device", () => {
  const [a4, b4, peer4] = ['10.1.0.1', '10.1.0.2', '10.1.0.9'] as const;
  const [a6, b6, peer6] = ['2001:db8:a::1', '2001:db8:a::2', '2001:db8:a::9'] as const;
  useNetwork({
    ...udpNetwork,
    commands: [
      'ip link add name a0 type veth peer name b0',
      'ip link set a0 up',
      'ip link set b0 up',
      `ip addr add ${a4}/24 dev a0`,
      `ip addr add ${a6}/64 dev a0 nodad`,
      `ip addr add ${b4}/32 dev b0`,
      `ip addr add ${b6}/128 dev b0 nodad`,
    ],
  });

  describe.each(
    families.flatMap(({ family, version, source, remote, remote2 }) => [
      { family, version, device: 'lo', where: 'this machine', source, remote, remote2 },
      {
        family,
        version,
        device: 'a0',
        where: 'an address of a veth',
        source: version === 4 ? a4 : a6,
        remote: version === 4 ? b4 : b6,
        remote2: version === 4 ? peer4 : peer6,
      },
      {
        family,
        version,
        device: 'a0',
        where: 'somebody behind a veth',
        source: version === 4 ? a4 : a6,
        remote: version === 4 ? peer4 : peer6,
        remote2: version === 4 ? b4 : b6,
      },
    ]),
  )('$family, $device, towards $where', ({ version, device, source, remote, remote2 }) => {
    const bind = { address: source, port: 20001 };
    const connect = { address: remote, port: SERVER };
    const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };
    const tupleInUse = { code: 'EADDRINUSE', syscall: 'connect', reason: 'tuple-in-use' };

    test('control: a lookup without the device does not see it, and the kernel connects the 4-tuple again', () => {
      new RawUdp(version, { reuse: true, device, bind, connect });
      expect(sys.udpLookup(bind, connect)).toBeUndefined();
      expect(sys.udpLookup(bind, connect, { interface: device })?.state).toBe(1);
      new RawUdp(version, { reuse: true, bind, connect });
    });

    describe.each(ways)('$way', ({ open }) => {
      // (lhost, lport, remote) on device --> # 1
      // (lhost, lport, remote)           --> # ERR
      // (lhost, lport, remote) on device --> # ERR
      // (lhost, lport, remote2)          --> # 1
      test('theirs, then ours', async () => {
        const theirs = new RawUdp(version, { reuse: true, device, bind, connect });
        expect(await errorOf(() => open(tuple))).toMatchObject(tupleInUse);
        expect(await errorOf(() => open({ ...tuple, interface: device }))).toMatchObject(tupleInUse);
        await open({ ...tuple, host: remote2 });
        theirs.close();
        await open(tuple);
      });

      // (lhost, lport, remote)            --> # 1
      // (lhost, lport, remote) on device  --> # ERR
      // (lhost, lport, remote2) on device --> # 1
      test('ours, then ours on the device', async () => {
        const first = await open(tuple);
        expect(await errorOf(() => open({ ...tuple, interface: device }))).toMatchObject(tupleInUse);
        await open({ ...tuple, host: remote2, interface: device });
        await closeNow(first);
        await open({ ...tuple, interface: device });
        expect(await errorOf(() => open(tuple))).toMatchObject(tupleInUse);
      });

      // (lhost, every port, remote) on device --> # 4
      // (lhost, *, remote)                    --> # ERR
      test('no port is left', async () => {
        const theirs = PORTS.map(
          (port) => new RawUdp(version, { reuse: true, device, bind: { ...bind, port }, connect }),
        );
        const any = { ...tuple, localPort: undefined };
        expect(await errorOf(() => open(any))).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted' });
        theirs[2]?.close();
        expect((await open(any)).address().port).toBe(20002);
      });
    });
  });

  // (lhost, lport, remote) on b0 --> # 1
  // (lhost, lport, remote) on a0 --> # 1
  test.each(ways)('$way: two devices are two 4-tuples', async ({ open }) => {
    const connect = { address: peer4, port: SERVER };
    new RawUdp(4, { reuse: true, device: 'b0', bind: { address: a4, port: 20001 }, connect });
    const tuple = { host: peer4, port: SERVER, localAddress: a4, localPort: 20001 };
    expect((await open({ ...tuple, interface: 'a0' })).address()).toMatchObject({ address: a4, port: 20001 });
  });
});

describeIsolated('the local address and port', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote, remote2, remote3 }) => {
    const bind = { address: source, port: 20001 };
    const share = () => new RawUdp(version, { reuse: true, bind });

    describe.each(ways)('$way', ({ open }) => {
      const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };

      test('are shared from the moment on in which the socket is connected', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open(tuple);
        expect(reuseOf(socket)).toBe(1);
        share();
        await assertUdpEcho(socket);
      });

      // (lhost, lport, remote) exclusive --> # 1
      // (lhost, lport) by anybody        --> # ERR
      // (lhost, lport, remote2)          --> # ERR
      test('exclusive: nobody else gets them while the socket lives', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open({ ...tuple, exclusive: true });
        expect(reuseOf(socket)).toBe(0);
        const locked = { code: 'EADDRINUSE', syscall: 'bind', reason: 'port-locked' };
        expect(await errorOf(share)).toMatchObject({ code: 'EADDRINUSE' });
        expect(await errorOf(() => open({ ...tuple, host: remote2 }))).toMatchObject(locked);
        expect(await errorOf(() => open({ ...tuple, host: remote2, exclusive: true }))).toMatchObject(locked);
        await assertUdpEcho(socket);
        socket.disconnect();
        expect(await errorOf(share)).toMatchObject({ code: 'EADDRINUSE' });
        await closeNow(socket);
        share();
      });

      // (lhost, *, remote) exclusive --> # 4
      // (lhost, *, remote2)          --> # ERR
      test('exclusive: as many sockets as there are ports', async () => {
        await udpEcho(SERVER, [remote]);
        const any = { host: remote, port: SERVER, localAddress: source };
        const made: dgram.Socket[] = [];
        for (const _ of PORTS) made.push(await open({ ...any, exclusive: true }));
        expect(lockedPorts(version, source)).toEqual(PORTS);
        expect(await errorOf(() => open({ ...any, host: remote2 }))).toMatchObject({ reason: 'ports-exhausted' });
        await assertUdpEcho(...made);
      });

      test('close() frees the 4-tuple at once', async () => {
        for (let n = 0; n < 5; n++) {
          const socket = await open(tuple);
          expect(await errorOf(() => open(tuple))).toMatchObject({ reason: 'tuple-in-use' });
          const closed = once(socket, 'close');
          socket.close();
          new RawUdp(version, { bind }).close();
          await closed;
        }
      });

      test('close() frees the last port at once', async () => {
        const any = { host: remote, port: SERVER, localAddress: source };
        const made: dgram.Socket[] = [];
        for (const _ of PORTS) made.push(await open(any));
        for (let n = 0; n < 20; n++) {
          expect(await errorOf(() => open(any))).toMatchObject({ reason: 'ports-exhausted' });
          const [oldest] = made.splice(0, 1);
          const port = oldest?.address().port;
          oldest?.close();
          made.push(await open(any));
          expect(made.at(-1)?.address().port).toBe(port);
        }
      });

      // (lhost, lport, remote)  --> # 1, disconnected
      // (lhost, lport, remote)  --> # 1
      // (lhost, lport, remote3) --> # 1, by connect() of the first one
      test('disconnect() frees the 4-tuple, and keeps the port', async () => {
        const [peer] = await udpEcho(SERVER, [remote, remote3]);
        const first = await open(tuple);
        first.disconnect();
        expect(first.address()).toMatchObject(bind);
        const second = await open(tuple);
        await assertUdpEcho(second);
        first.connect(SERVER, remote3);
        await once(first, 'connect');
        await assertUdpEcho(first, second);
        expect(peer?.address().address).toBe(remote);
      });
    });
  });
});

interface Failure {
  name: string;
  /** What must be there before. */
  prepare?: () => unknown;
  options: Partial<UdpConnectOptions>;
  code: string;
}

function failuresOf({ version, source, remote, remote2 }: Cast): Failure[] {
  const connect = { address: remote, port: SERVER };
  const connectedTo = (address: string, reuse: boolean) =>
    PORTS.map(
      (port) => new RawUdp(version, { reuse, bind: { address: source, port }, connect: { ...connect, address } }),
    );
  const port = { localAddress: source, localPort: 20001 };
  const held = () => new RawUdp(version, { bind: { address: source, port: 20001 } });
  return [
    {
      name: 'ports-exhausted',
      prepare: () => connectedTo(remote, true),
      options: { localAddress: source },
      code: 'EAGAIN',
    },
    { name: 'tuple-in-use', prepare: () => connectedTo(remote, true), options: port, code: 'EADDRINUSE' },
    { name: 'tuple-in-use, and locked', prepare: () => connectedTo(remote, false), options: port, code: 'EADDRINUSE' },
    { name: 'port-locked', prepare: held, options: port, code: 'EADDRINUSE' },
    { name: 'port-locked elsewhere', prepare: () => connectedTo(remote2, false), options: port, code: 'EADDRINUSE' },
    {
      name: 'every port locked',
      prepare: () => connectedTo(remote2, false),
      options: { localAddress: source },
      code: 'EAGAIN',
    },
    {
      name: 'address-not-local',
      options: { localAddress: version === 4 ? '192.0.2.1' : '2001:db8:ffff::1', localPort: 20001 },
      code: 'EADDRNOTAVAIL',
    },
    { name: 'no route from this source', options: { ...port, host: unreachable(version) }, code: 'ENETUNREACH' },
    { name: 'no route', options: { localPort: 20001, host: unreachable(version) }, code: 'ENETUNREACH' },
    { name: 'no such interface', options: { ...port, interface: 'nosuch0' }, code: 'ENODEV' },
    {
      name: 'an option that the kernel refuses',
      options: { ...port, socketOptions: [{ level: SOL_SOCKET, name: 9999, value: 1 }] },
      code: 'ENOPROTOOPT',
    },
    ...(version === 4
      ? [{ name: 'broadcast', options: { ...port, host: '127.255.255.255' }, code: 'EACCES' }]
      : [{ name: 'no zone', options: { ...port, host: 'fe80::1' }, code: 'EINVAL' }]),
  ];
}

const unreachable = (version: 4 | 6) => (version === 4 ? '198.51.100.1' : '2001:db8:eeee::1');

describeIsolated('a call that fails', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, source, remote } = cast;
    describe.each(failuresOf(cast))('$name, $code', ({ prepare, options, code }) => {
      test.each(ways)('$way leaves no port locked and no descriptor open', async ({ open }) => {
        const fail = async () => {
          const error = await errorOf(() => open({ host: remote, port: SERVER, ...options }));
          expect(error.code).toBe(code);
        };
        const settled = async () => {
          // libuv closes a handle at the end of a turn.
          for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
          return descriptorCount();
        };
        await prepare?.();
        const locked = lockedPorts(version, source);
        // What is opened once and for all, at the first call.
        await fail();
        const before = await settled();
        for (let n = 0; n < 3; n++) await fail();
        expect(await settled()).toBe(before);
        expect(lockedPorts(version, source)).toEqual(locked);
      });
    });
  });
});

describeIsolated('socketOptions', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote }) => {
    describe.each(ways)('$way', ({ open }) => {
      const options = { host: remote, port: SERVER, localAddress: source };

      test.each([
        { option: 'SO_REUSEADDR', name: 2, value: 1 },
        { option: 'SO_REUSEPORT', name: 15, value: 1 },
        { option: 'SO_BINDTODEVICE', name: 25, value: Buffer.from('lo') },
        { option: 'SO_INCOMING_CPU', name: 49, value: 1 },
        { option: 'SO_BINDTOIFINDEX', name: 62, value: 1 },
      ])('$option would break the lock: refused', async ({ name, value }) => {
        const error = await errorOf(() => open({ ...options, socketOptions: [{ level: SOL_SOCKET, name, value }] }));
        expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
      });

      test('others are set, also on the socket that takes the place of one that met a lock', async () => {
        const SO_PRIORITY = 12;
        const theirs = new RawUdp(source.includes(':') ? 6 : 4, { bind: { address: source, port: 20001 } });
        const socketOptions = [{ level: SOL_SOCKET, name: SO_PRIORITY, value: 5 }];
        for (const port of PORTS.filter((port) => port !== 20001)) {
          const socket = await open({ ...options, socketOptions });
          expect(socket.address().port).not.toBe(20001);
          expect(port).toBeGreaterThan(0);
          expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_PRIORITY)).toBe(5);
        }
        theirs.close();
        const socket = await open({ ...options, socketOptions });
        expect(socket.address().port).toBe(20001);
        expect(sys.getsockopt(fdOf(socket), SOL_SOCKET, SO_PRIORITY)).toBe(5);
      });
    });
  });
});

interface Race {
  results: boolean[];
  reasons: string[];
}

describeIsolated('two that start together for one 4-tuple, where 1,000 sockets share the port', () => {
  useNetwork({ ...udpNetwork, addresses: [...(udpNetwork.addresses ?? [])] });
  const ROUNDS = 300;

  describe.each(families)('$family', ({ version, source, remote, remote2 }) => {
    const local = { address: source, port: 20001 };

    async function race(barrier: boolean): Promise<{ winners: number[]; reasons: Set<string> }> {
      for (let port = 1; port <= 1000; port++) {
        new RawUdp(version, { reuse: true, bind: local, connect: { address: remote2, port } });
      }
      const cell = new SharedArrayBuffer(4);
      const data = { cell, rounds: ROUNDS, version, local, remote: { address: remote, port: SERVER }, barrier };
      const threads = [thread('udp-race.mjs', data), thread('udp-race.mjs', data)];
      const races = (await Promise.all(threads.map(async (worker) => once(worker, 'message')))).map(
        ([answer]) => answer as Race,
      );
      const winners = Array.from({ length: ROUNDS }, (_, n) => races.filter(({ results }) => results[n]).length);
      return { winners, reasons: new Set(races.flatMap(({ reasons }) => reasons)) };
    }

    // bind, SO_REUSEADDR = 0, lookup, connect, by 2
    // (lhost, lport, remote) --> # 2
    test('control: without a barrier between the lock and the lookup, both win', async () => {
      const { winners, reasons } = await race(false);
      console.log(winners.filter((n) => n === 2).length, winners.filter((n) => n === 0).length, reasons);
      expect(winners).toContain(2);
    });

    // (lhost, lport, remote) wanted by 2 --> # 1
    test('connectUdpSync: exactly one wins', async () => {
      const { winners, reasons } = await race(true);
      expect(new Set(winners)).toEqual(new Set([1]));
      expect(reasons).toEqual(new Set(['tuple-in-use']));
    });
  });
});
