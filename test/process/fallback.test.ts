// Off Linux there is no addon: the same tests over both, where both must do the same, and what is refused without it.
import { execFile } from 'node:child_process';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type * as connectx from 'connectx';
import { describe, expect, test } from 'vitest';
import { DISABLE, load } from '../helpers/fallback.js';
import { families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { rawBind } from '../helpers/raw.js';
import { assertEcho, closed, connected, echoServer, errorOf, failure, track } from '../helpers/sockets.js';

const native = load(undefined);
const fallback = load('1');

test('both are what they are taken for', () => {
  expect(native.capabilities()).toMatchObject({ native: true, nativeError: undefined });
  expect(fallback.capabilities()).toEqual({
    runtime: { name: 'node', version: process.versions.node },
    tcp: true,
    udp: true,
    udpSync: true,
    native: false,
    nativeError: undefined,
    platform: process.platform,
    bindAddressNoPort: false,
    localPortRange: false,
    boundPortsReturn: false,
    fastOpen: false,
    udpShared: false,
    udpSegment: false,
    udpReceiveOffload: false,
    portUsage: false,
    ephemeralRange: undefined,
  });
  expect(load('').capabilities().native).toBe(true);
});

const lookup = (...addresses: string[]) =>
  ((_host, _options, callback) => {
    process.nextTick(() =>
      callback(
        null,
        addresses.map((address) => ({ address, family: net.isIP(address) })),
      ),
    );
  }) as net.LookupFunction;

const [v4, v6] = families as [(typeof families)[0], (typeof families)[0]];

describeIsolated('alike', () => {
  useNetwork({ ...smallNetwork, range: [20000, 20999] });

  describe.each([
    { name: 'native', package: native },
    { name: 'fallback', package: fallback },
  ])('$name', ({ package: { connect, createConnection, Socket, ConnectxError } }) => {
    describe.each(families)('$family', ({ version, any, source, source2, remote }) => {
      const target = { host: remote, port: SERVER };
      const both = { ipv4: v4.source, ipv6: v6.source };

      test.each<{ given: string; options: connectx.SourceOptions; address?: string; port?: number }>([
        { given: 'nothing', options: {} },
        { given: 'an address', options: { localAddress: source }, address: source },
        { given: 'another address', options: { localAddress: source2 }, address: source2 },
        { given: 'an address for each family', options: { localAddress: both }, address: source },
        { given: 'a function', options: { localAddress: () => source2 }, address: source2 },
        { given: 'the wildcard', options: { localAddress: any } },
        { given: 'a port', options: { localPort: 3000 }, port: 3000 },
        {
          given: 'an address and a port',
          options: { localAddress: source2, localPort: 3000 },
          address: source2,
          port: 3000,
        },
        { given: 'the wildcard and a port', options: { localAddress: any, localPort: 3000 }, port: 3000 },
        {
          given: 'options that ask for nothing',
          options: { freeBind: false, transparent: false, fastOpen: false, socketOptions: [] },
        },
      ])('connects with $given', async ({ options, address, port }) => {
        const server = await echoServer(SERVER, any);
        const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
        const socket = await connected(connect({ ...target, ...options }));
        expect(socket).toBeInstanceOf(net.Socket);
        expect(socket.remoteAddress).toBe(remote);
        if (address !== undefined) expect(socket.localAddress).toBe(address);
        if (port !== undefined) expect(socket.localPort).toBe(port);
        const { remoteAddress, remotePort } = await accepted;
        expect([remoteAddress, remotePort]).toEqual([socket.localAddress, socket.localPort]);
        await assertEcho(socket);
      });

      test('a function is asked once, for the destination', async () => {
        await echoServer(SERVER, any);
        const asked: unknown[] = [];
        const localAddress = (destination: connectx.Destination) => {
          asked.push({ ...destination });
          return source;
        };
        await connected(connect({ ...target, localAddress }));
        expect(asked).toEqual([{ address: remote, port: SERVER, family: version }]);
      });

      test('new Socket(options).connect(port, host)', async () => {
        await echoServer(SERVER, any);
        const socket = await connected(new Socket({ localAddress: source2 }).connect(SERVER, remote));
        expect(socket.localAddress).toBe(source2);
        await assertEcho(socket);
      });

      test('a source of the other family: family-mismatch', async () => {
        const other = version === 4 ? v6.source : v4.source;
        for (const localAddress of [other, () => other, () => undefined, version === 4 ? '::' : '0.0.0.0']) {
          const error = await failure(connect({ ...target, localAddress }));
          expect(error).toBeInstanceOf(ConnectxError);
          expect(error).toMatchObject({
            code: 'EAFNOSUPPORT',
            syscall: 'connect',
            reason: 'family-mismatch',
            address: remote,
            port: SERVER,
          });
        }
      });

      test('an address that is not on this machine: address-not-local', async () => {
        const localAddress = version === 4 ? '192.0.2.1' : '2001:db9::1';
        const error = await failure(connect({ ...target, localAddress }));
        expect(error).toMatchObject({
          code: 'EADDRNOTAVAIL',
          syscall: 'bind',
          reason: 'address-not-local',
          localAddress,
        });
      });

      test('a port that somebody holds who does not share it: EADDRINUSE', async () => {
        rawBind({ address: source, port: 3000 });
        const error = await failure(connect({ ...target, localAddress: source, localPort: 3000 }));
        expect(error).toMatchObject({ code: 'EADDRINUSE', address: remote, port: SERVER });
      });

      test('nobody listens: as net.connect says it', async () => {
        const mine = await failure(connect({ ...target, localAddress: source, localPort: 3000 }));
        expect(mine).toMatchObject({ code: 'ECONNREFUSED', syscall: 'connect', address: remote, port: SERVER });
        expect('reason' in mine).toBe(false);
      });
    });

    test('what a source function throws is what the socket ends with', async () => {
      const thrown = new Error('mine');
      const localAddress = () => {
        throw thrown;
      };
      expect(await failure(connect({ host: v4.remote, port: SERVER, localAddress }))).toBe(thrown);
    });

    test('an IPv4-mapped destination is reached from the IPv4 source', async () => {
      await echoServer(SERVER, v4.any);
      const localAddress = { ipv4: v4.source2, ipv6: v6.source };
      const socket = await connected(connect({ host: `::ffff:${v4.remote}`, port: SERVER, localAddress }));
      expect(socket.localAddress).toBe(`::ffff:${v4.source2}`);
      const error = await failure(connect({ host: `::ffff:${v4.remote}`, port: SERVER, localAddress: v6.source }));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
    });

    test('a name: each family from its own source, and one without a source is not attempted', async () => {
      await echoServer(SERVER, v4.any);
      const attempted: string[] = [];
      const name = { host: 'name', port: SERVER, lookup: lookup(v6.remote, v4.remote), autoSelectFamily: true };
      const socket = connect({ ...name, localAddress: { ipv4: v4.source2, ipv6: v6.source2 } });
      socket.on('connectionAttempt', (ip: string) => attempted.push(ip));
      expect((await connected(socket)).localAddress).toBe(v4.source2);
      expect(attempted).toEqual([v6.remote, v4.remote]);
      const pinned = connect({ ...name, localAddress: v4.source2 });
      pinned.on('connectionAttempt', (ip: string) => attempted.push(ip));
      expect((await connected(pinned)).localAddress).toBe(v4.source2);
      expect(attempted).toEqual([v6.remote, v4.remote, v4.remote]);
    });

    test('a path', async () => {
      const path = join(tmpdir(), `connectx-fallback-${process.pid}.sock`);
      const server = track(net.createServer((peer) => peer.end('hello')));
      await new Promise<void>((resolve) => server.listen(path, resolve));
      const socket = await connected(connect({ path }));
      const [hello] = await Promise.all([
        new Promise((resolve) => socket.once('data', (data) => resolve(String(data)))),
        closed(socket),
      ]);
      expect(hello).toBe('hello');
    });

    test.each([
      [{ localAddress: 'nonsense' }, 'ERR_INVALID_IP_ADDRESS'],
      [{ localPort: 65536 }, 'ERR_SOCKET_BAD_PORT'],
      [{ localPort: '1' }, 'ERR_INVALID_ARG_TYPE'],
      [{ localPortRange: [2, 1] }, 'ERR_INVALID_ARG_VALUE'],
      [{ mark: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ interface: '' }, 'ERR_INVALID_ARG_VALUE'],
    ])('wrong arguments are wrong: %o, %s', async (wrong, code) => {
      const options = { host: v4.remote, port: SERVER, ...wrong } as connectx.ConnectOptions;
      expect(await errorOf(() => connect(options))).toMatchObject({ code });
    });

    test('createConnection is connect', () => {
      expect(createConnection).toBe(connect);
    });
  });
});

describeIsolated('without the addon', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family: the limit is that of net.connect', ({ any, source, remote, remote2, remote3 }) => {
    test.each([
      { name: 'control: net.connect', connect: net.connect as typeof connectx.connect },
      { name: 'fallback', connect: fallback.connect },
    ])('$name: 4 ports, 4 connections, whatever the destination', async ({ connect }) => {
      await echoServer(SERVER, any);
      let made = 0;
      for (const host of [remote, remote2, remote3]) {
        for (const _ of PORTS) {
          try {
            await connected(connect({ host, port: SERVER, localAddress: source }));
            made++;
          } catch (error) {
            expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'connect' });
          }
        }
      }
      expect(made).toBe(4);
    });
  });

  const refused: Record<string, connectx.SourceOptions> = {
    localPortRange: { localPortRange: [20000, 20003] },
    interface: { interface: 'lo' },
    mark: { mark: 1 },
    freeBind: { freeBind: true },
    transparent: { transparent: true },
    fastOpen: { fastOpen: true },
    reuseTimeWait: { reuseTimeWait: true },
    socketOptions: { socketOptions: [{ level: 1, name: 9, value: 1 }] },
  };

  test.each(Object.entries(refused))('%s is refused, by name', async (name, options) => {
    const target = { host: v4.remote, port: SERVER, ...options };
    const { connect, Socket, ConnectxError } = fallback;
    for (const act of [
      () => connect(target),
      () => new Socket(target).connect(SERVER, v4.remote),
      () => new Socket().connect(target),
    ]) {
      const error = await errorOf(act);
      expect(error).toBeInstanceOf(ConnectxError);
      expect(error).toMatchObject({ code: 'ERR_CONNECTX_UNSUPPORTED', reason: name });
      expect(error.message).toBe(`${name} is not supported here: ${DISABLE} is set, and connectx behaves as off Linux`);
    }
  });

  // A mark of 0 is not the same as none: it was asked for.
  test('mark: 0 is refused', async () => {
    const error = await errorOf(() => fallback.connect({ host: v4.remote, port: SERVER, mark: 0 }));
    expect(error).toMatchObject({ code: 'ERR_CONNECTX_UNSUPPORTED', reason: 'mark' });
  });

  test('connectx/sys imports, has its constants, and every function is refused', async () => {
    const { constants, ...functions } = fallback.sys;
    expect(constants).toEqual(native.sys.constants);
    expect(Object.keys(functions).sort()).toEqual(
      Object.keys(native.sys)
        .filter((name) => name !== 'constants')
        .sort(),
    );
    for (const call of Object.values(functions) as ((...args: unknown[]) => unknown)[]) {
      for (const args of [[], [2, 1, 1, 1]]) {
        expect(await errorOf(() => call(...args))).toMatchObject({
          code: 'ERR_CONNECTX_UNSUPPORTED',
          reason: 'connectx/sys',
        });
      }
    }
  });
});

test('the variable works from outside, for ESM and CommonJS', async () => {
  const script = (load: string) => `
    ${load}
    capabilities().native === false || process.exit(1);
    try {
      connect({ port: 1, mark: 1 });
    } catch (error) {
      console.log(error instanceof ConnectxError, error.code, error.reason);
    }`;
  const env = { ...process.env, [DISABLE]: '1' };
  const run = async (type: string, load: string) =>
    promisify(execFile)(process.execPath, [`--input-type=${type}`, '-e', script(load)], {
      env,
      cwd: import.meta.dirname,
    });
  const expected = 'true ERR_CONNECTX_UNSUPPORTED mark\n';
  const names = '{ capabilities, connect, ConnectxError }';
  expect((await run('module', `import ${names} from 'connectx';`)).stdout).toBe(expected);
  expect((await run('commonjs', `const ${names} = require('connectx');`)).stdout).toBe(expected);
});
