// What connectUdp gives is a dgram.Socket: all of it works, in the main thread and elsewhere, and the options and errors are
// those of `node:dgram`, with the plain socket beside it where there is a doubt.
import { AsyncLocalStorage } from 'node:async_hooks';
import { type ChildProcess, execFile, fork } from 'node:child_process';
import cluster from 'node:cluster';
import * as dgram from 'node:dgram';
import * as diagnostics from 'node:diagnostics_channel';
import type { lookup as dnsLookup, LookupAddress } from 'node:dns';
import { getEventListeners, once } from 'node:events';
import { BlockList } from 'node:net';
import { inspect, promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { connectUdp, connectUdpSync, SourcePool, type UdpConnectOptions } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';
import {
  assertUdpEcho,
  type Cast,
  closeNow,
  errorOf,
  families,
  fdOf,
  keep,
  PORTS,
  RANGE,
  RawUdp,
  SERVER,
  sendUntil,
  udpEcho,
  udpNetwork,
  udpServer,
  until,
  ways,
} from '../helpers/udp.js';

/** Nothing is there. */
const CLOSED = 5354;

/** Connected as by connectx, but by `node:dgram` alone. */
async function plainDgram({ type, source }: Cast, host: string, options: object = {}): Promise<dgram.Socket> {
  const socket = keep(dgram.createSocket({ ...options, type }));
  socket.bind({ address: source, exclusive: true });
  await once(socket, 'listening');
  const connected = once(socket, 'connect');
  socket.connect(SERVER, host);
  await connected;
  return socket;
}

describeIsolated('a dgram.Socket', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', (cast) => {
    const { family, version, type, source, source2, remote, remote2 } = cast;

    describe.each(ways)('$way', ({ open }) => {
      const options = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };

      test('knows both its ends', async () => {
        const socket = await open(options);
        expect(socket).toBeInstanceOf(dgram.Socket);
        expect(socket).toHaveProperty('type', type);
        expect(socket.address()).toEqual({ address: source, family, port: 20001 });
        expect(socket.remoteAddress()).toEqual({ address: remote, family, port: SERVER });
      });

      test('sends, calls back, and hears', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open(options);
        const sent = await new Promise((resolve, reject) => {
          socket.send('hello', (error, bytes) => (error ? reject(error) : resolve(bytes)));
        });
        expect(sent).toBe(5);
        const heard: [string, dgram.RemoteInfo][] = [];
        socket.on('message', (message, info) => heard.push([message.toString(), info]));
        await sendUntil(
          () => socket.send([Buffer.from('wo'), 'rld']),
          () => heard.some(([message]) => message === 'world'),
        );
        expect(heard.at(-1)).toEqual(['world', { address: remote, family, port: SERVER, size: 5 }]);
      });

      test('hears its peer only', async () => {
        await udpEcho(SERVER, [remote]);
        const socket = await open(options);
        const stranger = new RawUdp(version, {
          bind: { address: source2, port: 30000 },
          connect: { address: source, port: 20001 },
        });
        const error = await errorOf(() =>
          sendUntil(
            () => stranger.send('from a stranger'),
            () => false,
          ),
        );
        expect(error.code).toBe('ECONNREFUSED');
        await assertUdpEcho(socket);
        // As when the kernel queues one in the very instant of connect(2).
        let heard = '';
        socket.on('message', (message) => (heard += message.toString()));
        const info = { address: source2, family, port: 30000, size: 1 };
        expect(socket.emit('message', Buffer.from('1'), info)).toBe(false);
        expect(socket.emit('message', Buffer.from('2'), { ...info, address: remote })).toBe(false);
        expect(socket.emit('message', Buffer.from('3'), { ...info, address: remote, port: SERVER })).toBe(true);
        expect(heard).toBe('3');
      });

      test("'error' when nobody is at the other end", async () => {
        const refused = { code: 'ECONNREFUSED', syscall: 'recvmsg' };
        for (const socket of [
          await open({ ...options, port: CLOSED }),
          await plainDgram({ ...cast, source: source2 }, remote2),
        ]) {
          let error: Error | undefined;
          socket.on('error', (reported) => (error = reported));
          await sendUntil(
            // Whichever of the two comes first is told of the ICMP message.
            () => socket.send('anybody there?', (failure) => (error ??= failure ?? undefined)),
            () => error !== undefined,
          );
          expect(error).toMatchObject({ code: refused.code });
          // It is not closed by that.
          expect(socket.address().port).toBeGreaterThan(0);
        }
      });

      test("'close', and nothing works after it", async () => {
        const socket = await open(options);
        const called = new Promise<void>((resolve) => void socket.close(resolve));
        await Promise.all([once(socket, 'close'), called]);
        for (const act of [() => socket.close(), () => socket.address(), () => socket.send('late')]) {
          expect(act).toThrow(expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }));
        }
      });

      test('cannot be bound or connected once more', async () => {
        const socket = await open(options);
        expect(() => socket.bind(20002)).toThrow(expect.objectContaining({ code: 'ERR_SOCKET_ALREADY_BOUND' }));
        const isConnected = expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_IS_CONNECTED' });
        expect(() => socket.connect(SERVER, remote2)).toThrow(isConnected);
      });

      test('disconnects, hears others, and connects again', async () => {
        await udpEcho(SERVER, [remote, remote2]);
        const socket = await open(options);
        await assertUdpEcho(socket);
        socket.disconnect();
        expect(() => socket.remoteAddress()).toThrow(
          expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_NOT_CONNECTED' }),
        );
        // An IPv6 socket goes on to hear the address of its former peer only: the kernel does not forget it.
        const other = await udpServer(30000, version === 4 ? source2 : remote);
        let heard = '';
        socket.once('message', (message) => (heard = message.toString()));
        await sendUntil(
          () => other.send('from another port', 20001, source),
          () => heard === 'from another port',
        );
        const echoed: string[] = [];
        socket.on('message', (message) => echoed.push(message.toString()));
        await sendUntil(
          () => socket.send('to an address', SERVER, remote),
          () => echoed.includes('to an address'),
        );
        socket.removeAllListeners('message');
        const connected = once(socket, 'connect');
        socket.connect(SERVER, remote2);
        await connected;
        expect(socket.remoteAddress().address).toBe(remote2);
        await assertUdpEcho(socket);
      });

      test('its options can be set and read', async () => {
        const socket = await open(options);
        const [IPPROTO, TTL, MULTICAST_TTL, MULTICAST_LOOP] = version === 4 ? [0, 2, 33, 34] : [41, 16, 18, 19];
        const option = (name: number) => sys.getsockopt(fdOf(socket), IPPROTO, name);
        expect(socket.setTTL(7)).toBe(7);
        expect(option(TTL)).toBe(7);
        expect(socket.setMulticastTTL(9)).toBe(9);
        expect(option(MULTICAST_TTL)).toBe(9);
        expect(option(MULTICAST_LOOP)).toBe(1);
        expect(socket.setMulticastLoopback(false)).toBe(false);
        expect(option(MULTICAST_LOOP)).toBe(0);
        expect(() => socket.setTTL(256)).toThrow(expect.objectContaining({ code: 'EINVAL', syscall: 'setTTL' }));
        socket.setBroadcast(true);
        socket.setRecvBufferSize(40_000);
        socket.setSendBufferSize(50_000);
        // The kernel doubles them (socket(7)).
        expect(socket.getRecvBufferSize()).toBe(80_000);
        expect(socket.getSendBufferSize()).toBe(100_000);
        expect(socket.getSendQueueSize()).toBe(0);
      });

      // (lhost, three of four ports) bound without SO_REUSEADDR
      test.each([
        { at: 'at the first attempt', held: [] },
        { at: 'after other ports were tried in vain', held: PORTS.slice(0, 3) },
      ])('recvBufferSize, sendBufferSize $at', async ({ held }) => {
        for (const port of held) new RawUdp(version, { bind: { address: source, port } });
        const sizes = { recvBufferSize: 40_000, sendBufferSize: 50_000 };
        const plain = await plainDgram({ ...cast, source: source2 }, remote, sizes);
        const socket = await open({ ...options, localPort: undefined, ...sizes });
        if (held.length > 0) expect(socket.address().port).toBe(PORTS[3]);
        expect(socket.getRecvBufferSize()).toBe(plain.getRecvBufferSize());
        expect(socket.getSendBufferSize()).toBe(plain.getSendBufferSize());
        expect(socket.getRecvBufferSize()).toBe(80_000);
      });

      test('Symbol.asyncDispose closes it', async () => {
        const socket = await open(options);
        const closed = once(socket, 'close');
        await socket[Symbol.asyncDispose]();
        await closed;
        await open(options);
      });

      test("the diagnostics channel 'udp.socket' hears of it", async () => {
        const heard: dgram.Socket[] = [];
        const listener = (message: unknown) => void heard.push((message as { socket: dgram.Socket }).socket);
        diagnostics.subscribe('udp.socket', listener);
        try {
          const socket = await open(options);
          expect(heard.at(-1)).toBe(socket);
          // Where somebody was on the port, of a socket that was tried without sharing it, too; it is closed.
          for (const one of heard.slice(0, -1)) expect(() => one.address()).toThrow('Not running');
        } finally {
          diagnostics.unsubscribe('udp.socket', listener);
        }
      });

      test('AsyncLocalStorage: listeners run in the context of the call', async () => {
        await udpEcho(SERVER, [remote]);
        const storage = new AsyncLocalStorage<string>();
        const socket = await storage.run('the call', async () => open(options));
        await new Promise(setImmediate);
        const other = await storage.run('another call', async () => {
          // The next one has to wait for its turn of the event loop.
          const first = open({ ...options, localPort: 20002 });
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
          const second = storage.run('the call', async () => open({ ...options, localPort: 20003 }));
          await first;
          return second;
        });
        const plain = await storage.run('the call', async () => plainDgram({ ...cast, source: source2 }, remote));
        for (const one of [socket, other, plain]) {
          let store: string | undefined = '';
          one.on('message', () => (store = storage.getStore()));
          await sendUntil(
            () => one.send('hello'),
            () => store !== '',
          );
          expect(store).toBe('the call');
        }
      });
    });

    test("'connect' has been emitted by connectUdp, and is emitted by connectUdpSync in the next tick", async () => {
      const options = { host: remote, port: SERVER, localAddress: source };
      const socket = connectUdpSync(options);
      keep(socket);
      await once(socket, 'connect');
      let emitted = 0;
      const later = keep(await connectUdp(options)).on('connect', () => emitted++);
      await new Promise(setImmediate);
      expect(emitted).toBe(0);
      expect(later.remoteAddress().address).toBe(remote);
    });

    test('ref(), unref(): an unref()ed socket does not keep the process', async () => {
      const code = (act: string) => `
        const { connectUdpSync } = require('connectx');
        const { host, localAddress } = JSON.parse(process.argv[1]);
        const socket = connectUdpSync({ host, port: ${SERVER}, localAddress });
        ${act}
        setTimeout(() => { console.log('kept'); process.exit(); }, 300).unref();
        process.on('exit', () => console.log('end'));
      `;
      const run = async (act: string) => {
        const args = ['-e', code(act), JSON.stringify({ host: remote, localAddress: source })];
        return (await promisify(execFile)(process.execPath, args, { timeout: 20_000 })).stdout.split('\n');
      };
      const [kept, unreferenced, again] = await Promise.all([
        run(''),
        run('socket.unref();'),
        run('socket.unref().ref();'),
      ]);
      expect(kept).toEqual(['kept', 'end', '']);
      expect(unreferenced).toEqual(['end', '']);
      expect(again).toEqual(['kept', 'end', '']);
    });
  });
});

describeIsolated('receiveBlockList, sendBlockList', () => {
  useNetwork(udpNetwork);
  // Node releases that do not have them pass over them.
  const supported = (() => {
    try {
      dgram.createSocket({ type: 'udp4', sendBlockList: 1 } as unknown as dgram.SocketOptions).close();
      return false;
    } catch {
      return true;
    }
  })();

  describe.each(families)('$family', (cast) => {
    const { version, source, source2, remote } = cast;
    const blockList = new BlockList();
    blockList.addAddress(remote, version === 4 ? 'ipv4' : 'ipv6');
    const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };
    const options = (name: string): UdpConnectOptions => ({ ...tuple, [name]: blockList });

    test(`sendBlockList: ${supported ? 'such a destination is refused' : 'passed over, as by dgram'}`, async () => {
      await udpEcho(SERVER, [remote]);
      if (!supported) {
        await assertUdpEcho(keep(await connectUdp(options('sendBlockList'))));
        return;
      }
      const blocked = { code: 'ERR_IP_BLOCKED' };
      const plain = { ...cast, source: source2 };
      expect(await errorOf(() => plainDgram(plain, remote, { sendBlockList: blockList }))).toMatchObject(blocked);
      expect(await errorOf(() => connectUdp(options('sendBlockList')))).toMatchObject(blocked);
      const socket = connectUdpSync(options('sendBlockList'));
      const [error] = (await once(socket, 'error')) as [Error];
      expect(error).toMatchObject(blocked);
      // Nothing is left of either.
      await assertUdpEcho(keep(await connectUdp(tuple)));
    });

    test.each(ways)(
      `$way, receiveBlockList: ${supported ? 'datagrams of the peer are dropped' : 'passed over, as by dgram'}`,
      async ({ open }) => {
        const [server] = await udpEcho(SERVER, [remote]);
        const socket = await open(options('receiveBlockList'));
        if (!supported) {
          await assertUdpEcho(socket);
          return;
        }
        let answered = 0;
        let heard = 0;
        server?.on('message', () => answered++);
        socket.on('message', () => heard++);
        await sendUntil(
          () => socket.send('hello'),
          () => answered === 3,
        );
        expect(heard).toBe(0);
      },
    );
  });
});

describeIsolated('IPv4-mapped destinations on udp6', () => {
  useNetwork(udpNetwork);
  const [mapped, mappedSource] = ['::ffff:127.0.0.2', '::ffff:127.0.0.1'];
  const tuple = { host: mapped, port: SERVER, localPort: 20001 };
  const plain = { ...tuple, host: '127.0.0.2', localAddress: '127.0.0.1' };

  describe.each(ways)('$way', ({ open }) => {
    test.each([
      { given: 'no source', source: {} },
      { given: 'an IPv4 source', source: { localAddress: '127.0.0.1' } },
      { given: 'an IPv4-mapped source', source: { localAddress: mappedSource } },
      { given: 'a source for each family', source: { localAddress: { ipv4: '127.0.0.1', ipv6: '2001:db8::1' } } },
    ])('given $given', async ({ source }) => {
      await udpEcho(SERVER, ['127.0.0.2', '127.0.0.3']);
      const socket = await open({ ...tuple, ...source });
      expect(socket).toHaveProperty('type', 'udp6');
      expect(socket.address()).toEqual({ address: mappedSource, family: 'IPv6', port: 20001 });
      expect(socket.remoteAddress()).toEqual({ address: mapped, family: 'IPv6', port: SERVER });
      const other = await open({ ...plain, host: '127.0.0.3' });
      await assertUdpEcho(socket, other);
    });

    // (127.0.0.1, lport, 127.0.0.2)               --> # 1
    // (::ffff:127.0.0.1, lport, ::ffff:127.0.0.2) --> # ERR
    test('are the same 4-tuples as the IPv4 ones', async () => {
      const inUse = { code: 'EADDRINUSE', reason: 'tuple-in-use' };
      const first = await open(plain);
      expect(await errorOf(() => open(tuple))).toMatchObject(inUse);
      await closeNow(first);
      await open(tuple);
      expect(await errorOf(() => open(plain))).toMatchObject(inUse);
      for (const _ of PORTS.slice(1)) await open({ ...plain, localPort: undefined });
      expect(await errorOf(() => open({ ...tuple, localPort: undefined }))).toMatchObject({
        reason: 'ports-exhausted',
      });
    });

    test('have no IPv6 source', async () => {
      const error = await errorOf(() => open({ ...tuple, localAddress: '2001:db8::1' }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
    });
  });
});

type Lookup = typeof dnsLookup;

/** A lookup that knows every name, and remembers what it was asked. */
function lookupOf(
  answer: (callback: (error: Error | null, addresses: LookupAddress[] | string, family?: number) => void) => void,
) {
  const asked: { host: string; options: unknown }[] = [];
  const lookup = ((host: string, options: unknown, callback: Parameters<typeof answer>[0]) => {
    asked.push({ host, options });
    answer(callback);
  }) as unknown as Lookup;
  return { lookup: lookup as NonNullable<UdpConnectOptions['lookup']>, asked };
}

describeIsolated('host names', () => {
  useNetwork(udpNetwork);
  const [v4, v6] = families as [Cast, Cast];
  const both: LookupAddress[] = [
    { address: v6.remote, family: 6 },
    { address: v4.remote, family: 4 },
  ];
  const named = { host: 'server.test', port: SERVER };

  describe.each(families)('$family', ({ version, type, source, remote, remote2 }) => {
    const answers: { answer: string; act: Parameters<typeof lookupOf>[0] }[] = [
      { answer: 'a list', act: (callback) => process.nextTick(callback, null, [{ address: remote, family: version }]) },
      { answer: 'a list, at once', act: (callback) => callback(null, [{ address: remote, family: version }]) },
      { answer: 'one address', act: (callback) => process.nextTick(callback, null, remote, version) },
      { answer: 'one address, without its family', act: (callback) => callback(null, remote) },
    ];

    test.each(answers)('a lookup that answers with $answer', async ({ act }) => {
      await udpEcho(SERVER, [remote]);
      const { lookup, asked } = lookupOf(act);
      const socket = keep(await connectUdp({ ...named, lookup, localAddress: source }));
      expect(asked).toEqual([{ host: 'server.test', options: { all: true, family: 0 } }]);
      expect(socket.remoteAddress()).toMatchObject({ address: remote, port: SERVER });
      await assertUdpEcho(socket);
    });

    test('the family of the source chooses among the addresses', async () => {
      await udpEcho(SERVER, [remote]);
      const { lookup } = lookupOf((callback) => callback(null, both));
      const socket = keep(await connectUdp({ ...named, lookup, localAddress: source }));
      expect(socket.remoteAddress().address).toBe(remote);
      await assertUdpEcho(socket);
    });

    test('the type chooses, and the lookup is asked for its family', async () => {
      const { lookup, asked } = lookupOf((callback) => callback(null, both));
      const socket = keep(await connectUdp({ ...named, lookup, type }));
      expect(asked).toEqual([{ host: 'server.test', options: { all: true, family: version } }]);
      expect(socket).toHaveProperty('type', type);
      expect(socket.remoteAddress().address).toBe(remote);
    });

    test('the next address is taken when the first one cannot be had', async () => {
      for (const port of PORTS) {
        new RawUdp(version, {
          reuse: true,
          bind: { address: source, port },
          connect: { address: remote, port: SERVER },
        });
      }
      const addresses = [remote, remote2].map((address) => ({ address, family: version }));
      const { lookup } = lookupOf((callback) => callback(null, addresses));
      const socket = keep(await connectUdp({ ...named, lookup, localAddress: source }));
      expect(socket.remoteAddress().address).toBe(remote2);
      // When none can be had, the error is that of the first one.
      for (const _ of PORTS.slice(1)) keep(await connectUdp({ host: remote2, port: SERVER, localAddress: source }));
      const error = await errorOf(() => connectUdp({ ...named, lookup, localAddress: source }));
      expect(error).toMatchObject({ code: 'EAGAIN', reason: 'ports-exhausted', address: remote });
    });

    test('no address of the family of the source', async () => {
      const other = version === 4 ? v6 : v4;
      const { lookup } = lookupOf((callback) => callback(null, other.remote, other.version));
      const mismatch = { code: 'EAFNOSUPPORT', reason: 'family-mismatch', address: other.remote };
      expect(await errorOf(() => connectUdp({ ...named, lookup, localAddress: source }))).toMatchObject(mismatch);
      expect(await errorOf(() => connectUdp({ ...named, lookup, type }))).toMatchObject(mismatch);
    });

    test.each(ways)('$way: a type that is not the one of a numeric host', async ({ open }) => {
      const other = version === 4 ? v6 : v4;
      const error = await errorOf(() => open({ host: remote, port: SERVER, type: other.type }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch', address: remote });
    });

    test.each(ways)('$way: a numeric host is not looked up', async ({ open }) => {
      const { lookup, asked } = lookupOf((callback) => callback(new Error('asked'), []));
      const socket = await open({ host: remote, port: SERVER, lookup });
      expect(asked).toEqual([]);
      expect(socket.remoteAddress().address).toBe(remote);
    });

    test.each(ways)('$way: the source is a function of the destination', async ({ open }) => {
      const asked: unknown[] = [];
      const localAddress = (destination: object) => {
        asked.push(destination);
        return source;
      };
      const socket = await open({ host: remote, port: SERVER, localAddress });
      expect(asked[0]).toEqual({ address: remote, port: SERVER, family: version });
      expect(socket.address().address).toBe(source);
      const error = await errorOf(() => open({ host: remote, port: SERVER, localAddress: () => undefined }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
    });
  });

  test("dns.lookup by default: 'localhost'", async () => {
    await udpEcho(SERVER, ['127.0.0.1']);
    const socket = keep(await connectUdp({ host: 'localhost', port: SERVER, type: 'udp4' }));
    expect(socket.remoteAddress().address).toBe('127.0.0.1');
    await assertUdpEcho(socket);
  });

  test('with a source for each family, the first address is taken', async () => {
    const localAddress = { ipv4: v4.source, ipv6: v6.source };
    for (const addresses of [both, both.toReversed()]) {
      const { lookup } = lookupOf((callback) => callback(null, addresses));
      const socket = keep(await connectUdp({ ...named, lookup, localAddress }));
      expect(socket.remoteAddress().address).toBe(addresses[0]?.address);
    }
  });

  test('a lookup that fails, or gives nothing, or no addresses', async () => {
    const failure = Object.assign(new Error('getaddrinfo ENOTFOUND server.test'), { code: 'ENOTFOUND' });
    const attempt = (answer: Parameters<typeof lookupOf>[0]) =>
      errorOf(() => connectUdp({ ...named, lookup: lookupOf(answer).lookup }));
    expect(await attempt((callback) => callback(failure, []))).toBe(failure);
    expect(await attempt((callback) => callback(null, []))).toMatchObject({ code: 'ENOTFOUND' });
    expect(await attempt((callback) => callback(null, 'nowhere', 4))).toMatchObject({ code: 'ERR_INVALID_IP_ADDRESS' });
  });

  test('connectUdpSync takes numeric hosts only', () => {
    const badValue = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE', name: 'TypeError' });
    expect(() => connectUdpSync({ ...named, host: 'localhost' })).toThrow(badValue);
  });
});

describeIsolated('AbortSignal', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote }) => {
    const options = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };
    const reason = new Error('no longer wanted');
    const aborted = { name: 'AbortError', code: 'ABORT_ERR', cause: reason };

    describe.each(ways)('$way', ({ open }) => {
      test('aborted before', async () => {
        const { lookup, asked } = lookupOf((callback) => callback(null, remote, version));
        const signal = AbortSignal.abort(reason);
        expect(await errorOf(() => open({ ...options, signal, lookup }))).toMatchObject(aborted);
        expect(asked).toEqual([]);
        await open(options);
      });

      test('aborted after connect: the socket is closed', async () => {
        const controller = new AbortController();
        const socket = await open({ ...options, signal: controller.signal });
        const closed = once(socket, 'close');
        controller.abort();
        await closed;
        await open(options);
      });

      test('nothing listens to the signal after the end', async () => {
        const { signal } = new AbortController();
        await closeNow(await open({ ...options, signal }));
        const holder = new RawUdp(version, { bind: { address: source, port: 20001 } });
        await errorOf(() => open({ ...options, signal }));
        holder.close();
        await until(() => getEventListeners(signal, 'abort').length === 0);
      });
    });

    test('aborted before, with a name', async () => {
      const { lookup, asked } = lookupOf((callback) => callback(null, remote, version));
      const signal = AbortSignal.abort(reason);
      const error = await errorOf(() => connectUdp({ ...options, host: 'server.test', signal, lookup }));
      expect(error).toMatchObject(aborted);
      expect(asked).toEqual([]);
    });

    test('aborted during the lookup, whose answer comes too late', async () => {
      let late = () => {};
      const { lookup } = lookupOf((callback) => (late = () => callback(null, remote, version)));
      const controller = new AbortController();
      const attempt = connectUdp({ ...options, host: 'server.test', signal: controller.signal, lookup });
      controller.abort(reason);
      expect(await errorOf(async () => attempt)).toMatchObject(aborted);
      late();
      await new Promise(setImmediate);
      // Nobody is on the port.
      new RawUdp(version, { bind: { address: source, port: 20001 } });
      expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    });

    test.each([
      ['at once', (abort: () => void) => abort()],
      ['in the tick in which it connects', (abort: () => void) => process.nextTick(abort)],
    ])('aborted %s: no socket that is closed already, and no source in use', async (_, soon) => {
      const pool = new SourcePool([source]);
      const controller = new AbortController();
      const attempt = connectUdp({ ...options, localAddress: pool, signal: controller.signal });
      soon(() => controller.abort(reason));
      expect(await errorOf(async () => attempt)).toMatchObject(aborted);
      expect(pool.stats().inUse).toBe(0);
      new RawUdp(version, { bind: { address: source, port: 20001 } });
      await until(() => getEventListeners(controller.signal, 'abort').length === 0);
    });

    test('aborted while it waits for a port that is locked', async () => {
      const holder = new RawUdp(version, { bind: { address: source, port: 20001 } });
      const controller = new AbortController();
      const attempt = connectUdp({ ...options, signal: controller.signal });
      controller.abort(reason);
      expect(await errorOf(async () => attempt)).toMatchObject(aborted);
      holder.close();
      new RawUdp(version, { bind: { address: source, port: 20001 } });
    });
  });
});

describe('options that are wrong', () => {
  const good = { host: '127.0.0.1', port: 53 };
  const TYPE = 'ERR_INVALID_ARG_TYPE';
  const VALUE = 'ERR_INVALID_ARG_VALUE';
  const RANGES = 'ERR_OUT_OF_RANGE';
  const PORT = 'ERR_SOCKET_BAD_PORT';
  const ADDRESS = 'ERR_INVALID_IP_ADDRESS';

  const parts: [wrong: object, code: string][] = [
    [{ host: undefined }, TYPE],
    [{ host: 127 }, TYPE],
    [{ host: '' }, VALUE],
    [{ host: 'a\0b' }, VALUE],
    [{ port: undefined }, TYPE],
    [{ port: '53' }, TYPE],
    ...[0, -1, 65536, 1.5, Number.NaN].map((port): [object, string] => [{ port }, PORT]),
    [{ type: 'udp5' }, VALUE],
    [{ type: 4 }, VALUE],
    [{ exclusive: 1 }, TYPE],
    [{ ipv6Only: 'yes' }, TYPE],
    [{ lookup: 'dns' }, TYPE],
    [{ signal: {} }, TYPE],
    [{ signal: 'stop' }, TYPE],
    [{ recvBufferSize: '1' }, TYPE],
    [{ recvBufferSize: -1 }, RANGES],
    [{ recvBufferSize: 2 ** 31 }, RANGES],
    [{ sendBufferSize: '1' }, TYPE],
    [{ sendBufferSize: 1.5 }, RANGES],
    [{ receiveBlockList: 'all' }, TYPE],
    [{ sendBlockList: ['127.0.0.1'] }, TYPE],
    [{ fastOpen: true }, VALUE],
    [{ reuseTimeWait: true }, VALUE],
    [{ localAddress: 1 }, TYPE],
    [{ localAddress: 'localhost' }, ADDRESS],
    [{ localAddress: '127.0.0.256' }, ADDRESS],
    [{ localAddress: {} }, VALUE],
    [{ localAddress: { ipv4: '::1' } }, VALUE],
    [{ localAddress: { ipv6: 6 } }, TYPE],
    [{ localAddress: '224.0.0.1' }, VALUE],
    [{ localAddress: '255.255.255.255' }, VALUE],
    [{ localPort: '1' }, TYPE],
    ...[-1, 65536, 1.5].map((localPort): [object, string] => [{ localPort }, PORT]),
    [{ localPortRange: '1-2' }, TYPE],
    [{ localPortRange: [1] }, VALUE],
    [{ localPortRange: [0, 2] }, RANGES],
    [{ localPortRange: [1, 65536] }, RANGES],
    [{ localPortRange: [2, 1] }, VALUE],
    [{ localPort: 1, localPortRange: [1, 2] }, VALUE],
    [{ interface: 1 }, TYPE],
    [{ interface: '' }, VALUE],
    [{ interface: 'sixteen bytes it' }, VALUE],
    [{ mark: '1' }, TYPE],
    [{ mark: -1 }, RANGES],
    [{ mark: 2 ** 32 }, RANGES],
    [{ freeBind: 1 }, TYPE],
    [{ transparent: 1 }, TYPE],
    [{ socketOptions: {} }, TYPE],
    [{ socketOptions: [1] }, TYPE],
    [{ socketOptions: [{ level: 1, name: 12 }] }, TYPE],
    [{ socketOptions: [{ level: '1', name: 12, value: 1 }] }, TYPE],
    [{ socketOptions: [{ level: 1, name: 2 ** 32, value: 1 }] }, RANGES],
  ];
  const cases: { wrong: string; options: unknown; code: string }[] = [
    ...[undefined, null, '127.0.0.1', 53].map((options) => ({ wrong: inspect(options), options, code: TYPE })),
    ...parts.map(([wrong, code]) => ({ wrong: inspect(wrong), options: { ...good, ...wrong }, code })),
  ];

  test.each(cases)('thrown at once by both: $wrong, $code', ({ options, code }) => {
    const error = expect.objectContaining({ code });
    expect(() => connectUdpSync(options as UdpConnectOptions)).toThrow(error);
    expect(() => void connectUdp(options as UdpConnectOptions)).toThrow(error);
  });

  test('a source function that gives no address', async () => {
    const options = { ...good, localAddress: () => 'nowhere' };
    const bad = { code: ADDRESS };
    expect(() => connectUdpSync(options)).toThrow(expect.objectContaining(bad));
    expect(await errorOf(() => connectUdp(options))).toMatchObject(bad);
    const failure = new Error('of the function');
    const throwing = {
      ...good,
      localAddress: () => {
        throw failure;
      },
    };
    expect(() => connectUdpSync(throwing)).toThrow(failure);
    expect(await errorOf(() => connectUdp(throwing))).toBe(failure);
  });
});

interface Echoed {
  localPort?: number;
  echoed?: boolean;
  code?: string;
  reason?: string;
}

interface Elsewhere {
  where: string;
  /** What came of each, and how it is ended. */
  start: (list: readonly object[]) => { results: Promise<Echoed[]>; end: () => Promise<unknown> };
}

function ofProcess(child: ChildProcess): ReturnType<Elsewhere['start']> {
  track({ close: () => void child.kill('SIGKILL') });
  const end = async () => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  return { results: once(child, 'message').then(([results]) => results as Echoed[]), end };
}

const elsewhere: Elsewhere[] = [
  {
    where: 'a child process',
    start: (list) => ofProcess(fork(fixture('udp-echo.mjs'), [JSON.stringify(list)], { execArgv: [] })),
  },
  {
    where: 'a cluster worker',
    start: (list) => {
      cluster.setupPrimary({ exec: fixture('udp-echo.mjs'), execArgv: [], args: [JSON.stringify(list)] });
      return ofProcess(cluster.fork().process);
    },
  },
  {
    where: 'a worker thread',
    start: (list) => {
      const worker = new Worker(fixture('udp-echo.mjs'), { execArgv: [], workerData: JSON.stringify(list) });
      track({ close: () => void worker.terminate() });
      return {
        results: once(worker, 'message').then(([results]) => results as Echoed[]),
        end: () => worker.terminate(),
      };
    },
  },
];

describeIsolated('elsewhere than in the main thread', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ source, remote, remote2 }) => {
    const tuple = { host: remote, port: SERVER, localAddress: source, localPort: 20001 };

    // here:  (lhost, lport, remote)  --> # 1
    // there: (lhost, lport, remote)  --> # ERR
    // there: (lhost, lport, remote2) --> # 1
    // there: (lhost, RANGE, remote2) --> # 1
    // here:  (lhost, lport, remote2) --> # ERR until it has ended
    test.each(elsewhere)('$where: shares ports with us, and no 4-tuple', async ({ start }) => {
      await udpEcho(SERVER, [remote, remote2]);
      const ours = keep(connectUdpSync(tuple));
      const list = [
        tuple,
        { ...tuple, sync: true },
        { ...tuple, host: remote2 },
        { ...tuple, host: remote2, localPort: undefined, localPortRange: RANGE, sync: true },
      ];
      const { results, end } = start(list);
      const inUse = { code: 'EADDRINUSE', reason: 'tuple-in-use' };
      const [first, second, third, fourth] = await results;
      expect(first).toMatchObject(inUse);
      expect(second).toMatchObject(inUse);
      expect(third).toEqual({ localPort: 20001, echoed: true });
      expect(fourth?.echoed).toBe(true);
      expect([20000, 20002, 20003]).toContain(fourth?.localPort);
      expect(await errorOf(() => connectUdp({ ...tuple, host: remote2 }))).toMatchObject(inUse);
      await assertUdpEcho(ours);
      await end();
      await assertUdpEcho(keep(await connectUdp({ ...tuple, host: remote2 })));
    });
  });
});
