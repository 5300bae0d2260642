// connectx/register in this very process: what connections get from it, what errors say, and what stays as core has it.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, ConnectxError } from 'connectx';
import { register } from 'connectx/register';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { fails, leavesNothing } from '../helpers/leaks.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { assertEcho, closed, connected, echoServer, errorOf, exhaust, failure, track } from '../helpers/sockets.js';

const [v4, v6] = families as [(typeof families)[0], (typeof families)[0]];
const undone: (() => void)[] = [];
const choose = (sources?: readonly string[]) => {
  const undo = register(sources && { sources });
  undone.push(undo);
  return undo;
};
afterEach(() => {
  for (const undo of undone.splice(0)) undo();
});

/** How many connections there can be to three destinations. */
async function reach({ source, remote, remote2, remote3 }: (typeof families)[0]): Promise<number> {
  let total = 0;
  for (const host of [remote, remote2, remote3]) {
    const open = async () => connected(net.connect({ host, port: SERVER, localAddress: source }));
    total += (await exhaust(PORTS.length, open)).made.length;
  }
  return total;
}

const [CORE, SHARED] = [PORTS.length, 3 * PORTS.length];

describeIsolated('what is in force', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', (cast) => {
    const { version, any, source, source2 } = cast;
    beforeEach(async () => {
      await echoServer(SERVER, any);
    });

    test('by the import: every source', async () => {
      expect(await reach(cast)).toBe(SHARED);
    });

    test('control: none', async () => {
      choose([]);
      expect(await reach(cast)).toBe(CORE);
    });

    test('the latest that has not been undone', async () => {
      const first = choose([]);
      const second = choose();
      first();
      expect(await reach(cast)).toBe(SHARED);
      second();
      second();
      expect(await reach({ ...cast, source: source2 })).toBe(SHARED);
    });

    test('undone: what was before', async () => {
      choose([]);
      choose()();
      expect(await reach(cast)).toBe(CORE);
    });

    const block = version === 4 ? '127.0.0.0/29' : '2001:db8::/125';
    test.each([
      { sources: [source] },
      { sources: ['192.0.2.7', block] },
      { sources: [block, '2001:db8:1::/48', '10.0.0.0/8'] },
    ])('$sources: this source', async ({ sources }) => {
      choose(sources);
      expect(await reach(cast)).toBe(SHARED);
      expect(await reach({ ...cast, source: source2 })).toBe(CORE);
    });
  });

  test.each([
    [7, 'ERR_INVALID_ARG_TYPE'],
    ['127.0.0.1', 'ERR_INVALID_ARG_TYPE'],
    [[7], 'ERR_INVALID_ARG_TYPE'],
    [['nonsense'], 'ERR_INVALID_ARG_VALUE'],
    [[''], 'ERR_INVALID_ARG_VALUE'],
    [['127.0.0.1/33'], 'ERR_INVALID_ARG_VALUE'],
    [['127.0.0.1/'], 'ERR_INVALID_ARG_VALUE'],
    [['127.0.0.1/8/8'], 'ERR_INVALID_ARG_VALUE'],
    [['::/129'], 'ERR_INVALID_ARG_VALUE'],
    [['fe80::1%lo'], 'ERR_INVALID_ARG_VALUE'],
  ])('sources: %j is wrong', async (sources, code) => {
    const error = await errorOf(() => register({ sources: sources as string[] }));
    expect(error).toMatchObject({ code, message: expect.stringContaining('options.sources') });
  });

  test('none: nothing is left in core', () => {
    const hooked = net.Socket.prototype.connect.toString();
    const undo = choose([]);
    const core = net.Socket.prototype.connect.toString();
    expect(core).not.toBe(hooked);
    choose(['192.0.2.7']);
    expect(net.Socket.prototype.connect.toString()).toBe(hooked);
    choose([]);
    expect(net.Socket.prototype.connect.toString()).toBe(core);
    undo();
    expect(net.Socket.prototype.connect.toString()).toBe(core);
  });

  test('somebody has put a method of his own over it: it lets everything pass', async () => {
    await echoServer(SERVER, v4.any);
    const registered = net.Socket.prototype.connect;
    const over = function (this: net.Socket, ...args: unknown[]): net.Socket {
      return Reflect.apply(registered, this, args) as net.Socket;
    };
    net.Socket.prototype.connect = over;
    try {
      expect(await reach(v4)).toBe(SHARED);
      choose([]);
      expect(net.Socket.prototype.connect === over).toBe(true);
      expect(await reach({ ...v4, source: v4.source2 })).toBe(CORE);
    } finally {
      net.Socket.prototype.connect = registered;
    }
  });
});

/** Whether the handle's methods are core's own. */
function isCores(socket: net.Socket): boolean {
  const { _handle: handle } = socket as unknown as { _handle: Record<string, unknown> };
  const methods = Object.getPrototypeOf(handle) as Record<string, unknown>;
  return ['bind', 'bind6', 'connect', 'connect6', 'getsockname'].every((name) => handle[name] === methods[name]);
}

type Make = (options: net.TcpNetConnectOpts) => net.Socket;
const makes: Record<string, Make> = {
  'net.connect': (options) => net.connect(options),
  'new net.Socket().connect': (options) => new net.Socket().connect(options),
  'a class of its own': (options) => new (class extends net.Socket {})().connect(options, () => {}),
};

describeIsolated('connections', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ version, any, source, remote, remote2, remote3 }) => {
    const target = { host: remote, port: SERVER, localAddress: source };

    test.each(Object.entries(makes))('%s: carries data, and tells its ends', async (_, make) => {
      const server = await echoServer(SERVER, any);
      const accepted = once(server, 'connection') as Promise<[net.Socket]>;
      const socket = await connected(make(target));
      const [{ remoteAddress, remotePort }] = await accepted;
      expect([remoteAddress, remotePort]).toEqual([source, socket.localPort]);
      expect(socket.localAddress).toBe(source);
      expect(socket.localPort).toBeGreaterThanOrEqual(RANGE[0]);
      await assertEcho(socket);
    });

    describe('a name', () => {
      const answers: Record<string, net.LookupFunction> = {
        'at once': (_host, _options, callback) => callback(null, remote, version),
        later: (_host, _options, callback) => process.nextTick(callback, null, remote, version),
      };
      test.each(Object.entries(answers))('whose lookup answers %s', async (_, lookup) => {
        await echoServer(SERVER, any);
        const asked: unknown[] = [];
        const asking: net.LookupFunction = (host, options, callback) => {
          asked.push([host, options.all]);
          lookup(host, options, callback);
        };
        for (let n = 0; n < 3; n++) {
          const open = async () => connected(net.connect({ ...target, host: 'name', lookup: asking }));
          expect((await exhaust(PORTS.length + 1, open)).made.length).toBe(n === 0 ? PORTS.length : 0);
          const other = async () => connected(net.connect({ ...target, host: remote2 }));
          expect((await exhaust(PORTS.length + 1, other)).made.length).toBe(n === 0 ? PORTS.length : 0);
        }
        // As core asks when there is a localAddress: no Happy Eyeballs.
        for (const question of asked) expect(question).toEqual(['name', undefined]);
      });

      test.each([7, 'lookup', false])('a lookup that is none (%j): as core says it', async (lookup) => {
        const wrong = { ...target, host: 'name', lookup } as unknown as net.TcpNetConnectOpts;
        expect(await errorOf(() => net.connect(wrong))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
      });
    });

    describe('with a localPort', () => {
      test('one port to many destinations, also where the kernel has taken it', async () => {
        await echoServer(SERVER, any);
        const { made } = await exhaust(PORTS.length, async () => connected(net.connect(SERVER, remote)));
        const pinned = { port: SERVER, localAddress: made[0]?.localAddress, localPort: 20001 };
        for (const host of [remote2, remote3]) {
          const socket = await connected(net.connect({ ...pinned, host }));
          expect([socket.localAddress, socket.localPort]).toEqual([pinned.localAddress, 20001]);
          await assertEcho(socket);
        }
      });

      test('twice to one destination', async () => {
        await echoServer(SERVER, any);
        await connected(net.connect({ ...target, localPort: 20001 }));
        const twice = await failure(net.connect({ ...target, localPort: 20001 }));
        expect(twice).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use', localPort: 20001 });
      });

      test('control: core does not get a port that the kernel has taken', async () => {
        choose([]);
        await echoServer(SERVER, any);
        const { made } = await exhaust(PORTS.length, async () => connected(net.connect(SERVER, remote)));
        const pinned = { port: SERVER, localAddress: made[0]?.localAddress, localPort: 20001 };
        const error = await failure(net.connect({ ...pinned, host: remote2 }));
        expect(error).toMatchObject({ code: 'EADDRINUSE' });
      });

      test('a port that somebody listens on', async () => {
        await echoServer(SERVER, any);
        await echoServer(3000, any);
        const error = await failure(net.connect({ ...target, localPort: 3000 }));
        expect(error).toMatchObject({ code: 'EADDRINUSE', reason: 'port-locked' });
      });

      test.each(['7', {}])('that is none (%j): as core says it', async (localPort) => {
        const wrong = { ...target, localPort } as unknown as net.TcpNetConnectOpts;
        expect(await errorOf(() => net.connect(wrong))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
      });
    });

    describe('errors', () => {
      test('all ports taken', async () => {
        await echoServer(SERVER, any);
        const { made, error } = await exhaust(9, async () => connected(net.connect(target)));
        expect(made.length).toBe(PORTS.length);
        expect(error).toBeInstanceOf(ConnectxError);
        expect(error).toMatchObject({
          code: 'EADDRNOTAVAIL',
          syscall: 'connect',
          reason: 'ports-exhausted',
          address: remote,
          port: SERVER,
          localAddress: source,
          message: expect.stringContaining('every usable port of 20000-20003 is taken'),
        });
      });

      test('a source that is not on this machine', async () => {
        const localAddress = version === 4 ? '192.0.2.1' : '2001:db9::1';
        const error = await failure(net.connect({ ...target, localAddress }));
        expect(error).toMatchObject({
          code: 'EADDRNOTAVAIL',
          syscall: 'bind',
          reason: 'address-not-local',
          localAddress,
        });
      });

      test('a source of the other family', async () => {
        const localAddress = version === 4 ? v6.source : v4.source;
        const error = await failure(net.connect({ ...target, localAddress }));
        expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
      });

      test('a source that is no address: as core says it', async () => {
        const error = await errorOf(() => net.connect({ ...target, localAddress: 'nonsense' }));
        expect(error).toMatchObject({ code: 'ERR_INVALID_IP_ADDRESS' });
      });

      test('nobody listens: as core says it', async () => {
        const error = await failure(net.connect({ ...target, port: 9, localPort: 3000 }));
        const undo = choose([]);
        const control = await failure(net.connect({ ...target, port: 9, localPort: 3000 }));
        undo();
        expect({ ...error }).toEqual({ ...control });
        expect(error.message).toBe(control.message);
      });

      test('nobody listens, once and again within a second: the local end is named', async () => {
        for (let n = 0; n < 2; n++) {
          const error = await failure(net.connect({ ...target, port: 9 }));
          const { localAddress, localPort } = error;
          expect(error.code).toBe('ECONNREFUSED');
          expect(error.message).toMatch(` - Local (${String(localAddress)}:${String(localPort)})`);
          expect(localPort).toBeGreaterThan(0);
        }
      });

      test('leave the socket as it was', async () => {
        const socket = net.connect({ ...target, localAddress: version === 4 ? '192.0.2.1' : '2001:db9::1' });
        const error = await failure(socket);
        expect(socket.errored).toBe(error);
        expect(Object.hasOwn(socket, 'destroy')).toBe(false);
        await closed(socket);
      });

      test('reach a destroy() that the program has put on the socket', async () => {
        const socket = new net.Socket();
        const heard: unknown[] = [];
        const own = (error?: Error) => {
          heard.push(error);
          net.Socket.prototype.destroy.call(socket, error);
          return socket;
        };
        socket.destroy = own;
        const error = await failure(
          socket.connect({ ...target, localAddress: version === 4 ? '192.0.2.1' : '2001:db9::1' }),
        );
        expect(heard[0]).toBe(error);
        expect(error.reason).toBe('address-not-local');
        expect(socket.destroy).toBe(own);
      });
    });

    /** What a connection says of itself, in order. */
    async function events(options: net.TcpNetConnectOpts): Promise<unknown[]> {
      const said: unknown[] = [];
      const socket = track(new net.Socket());
      const emit = socket.emit.bind(socket);
      socket.emit = (event: string, ...args: unknown[]) => {
        // What errors say is tested above.
        said.push([event, args.map((argument) => (argument instanceof Error ? 'error' : argument))]);
        return emit(event, ...args);
      };
      socket.on('error', () => {});
      socket.on('connect', () => socket.destroy());
      socket.connect(options);
      await closed(socket);
      return said;
    }

    test.each([{ port: SERVER }, { port: 9 }, { port: SERVER, host: 'name' }])(
      'events are those of core: %o',
      async (to) => {
        await echoServer(SERVER, any);
        const lookup: net.LookupFunction = (_host, _options, callback) => callback(null, remote, version);
        const options = { ...target, lookup, ...to };
        const ours = await events(options);
        choose([]);
        expect(ours).toEqual(await events(options));
      },
    );

    test('net.client.socket hears of each socket once', async () => {
      await echoServer(SERVER, any);
      const heard: unknown[] = [];
      const listener = (message: unknown) => void heard.push(message);
      subscribe('net.client.socket', listener);
      try {
        await connected(net.connect(target));
      } finally {
        unsubscribe('net.client.socket', listener);
      }
      expect(heard.length).toBe(1);
    });

    test('a socket connects again', async () => {
      await echoServer(SERVER, any);
      const socket = await connected(net.connect(target));
      socket.destroy();
      await closed(socket);
      await connected(socket.connect({ ...target, host: remote2 }));
      expect([socket.localAddress, socket.remoteAddress]).toEqual([source, remote2]);
    });

    test('the wildcard pins the family, and no port', async () => {
      await echoServer(SERVER, any);
      const open = (host: string) => async () => connected(net.connect({ host, port: SERVER, localAddress: any }));
      for (const host of [remote, remote2, remote3]) {
        expect((await exhaust(9, open(host))).made.length).toBe(PORTS.length);
      }
    });

    test("connectx's own are not handled twice", async () => {
      await echoServer(SERVER, any);
      const socket = await connected(connect({ ...target, localPort: 20002 }));
      expect(socket.localPort).toBe(20002);
      await expect(failure(connect({ ...target, localPort: 20002 }))).resolves.toMatchObject({
        reason: 'tuple-in-use',
      });
      expect(isCores(socket)).toBe(true);
    });
  });

  test('a name that dns.lookup() finds', async () => {
    await echoServer(SERVER, v4.any);
    const socket = await connected(
      net.connect({ host: 'localhost', port: SERVER, localAddress: v4.source2, family: 4 }),
    );
    expect(socket.localAddress).toBe(v4.source2);
  });

  test('what has no localAddress is left alone', async () => {
    await echoServer(SERVER, v4.any);
    const plain = net.connect(SERVER, v4.remote);
    expect(isCores(plain)).toBe(true);
    const taken = net.connect({ host: v4.remote, port: SERVER, localAddress: v4.source });
    expect(isCores(taken)).toBe(false);
    await Promise.all([connected(plain), connected(taken)]);
    expect(isCores(taken)).toBe(true);
    const path = join(tmpdir(), `connectx-register-${process.pid}.sock`);
    const server = track(net.createServer((peer) => peer.end()).listen(path));
    await once(server, 'listening');
    await connected(net.connect({ path, localAddress: v4.source } as net.IpcNetConnectOpts));
    expect(await errorOf(() => net.connect({ localAddress: v4.source } as never))).toMatchObject({
      code: 'ERR_MISSING_ARGS',
    });
  });
});

describeIsolated('10,000 calls leave nothing behind', () => {
  useNetwork(smallNetwork);
  const [target, lookup] = [
    { host: v4.remote, port: 9, localAddress: v4.source },
    ((_host, _options, callback) => callback(null, v4.remote, 4)) as net.LookupFunction,
  ];

  test.each([
    { name: 'refused', options: target, expected: { code: 'ECONNREFUSED' } },
    { name: 'refused, by name', options: { ...target, host: 'name', lookup }, expected: { code: 'ECONNREFUSED' } },
    { name: 'refused, from a port', options: { ...target, localPort: 3000 }, expected: { code: 'ECONNREFUSED' } },
    {
      name: 'a foreign source',
      options: { ...target, localAddress: '192.0.2.1' },
      expected: { code: 'EADDRNOTAVAIL', reason: 'address-not-local' },
    },
  ])('$name', async ({ options, expected }) => {
    await leavesNothing(async () => fails(net.connect(options), expected));
  });

  test('destroyed at once, and at each event', async () => {
    await leavesNothing(async (index) => {
      const socket = net.connect({ ...target, host: 'name', lookup });
      if (index % 3 === 0) socket.destroy();
      if (index % 3 === 1) socket.once('connectionAttempt', () => process.nextTick(() => socket.destroy()));
      if (index % 3 === 2) queueMicrotask(() => socket.destroy());
      socket.on('error', () => {});
      await closed(socket);
    });
  });
});
