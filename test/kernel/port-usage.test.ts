// Ports in use, listeners in the way, and the alarm, against real sockets.
import { spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import * as net from 'node:net';
import {
  capabilities,
  connect,
  connectUdp,
  listenerConflicts,
  PortMonitor,
  type PortMonitorOptions,
  portUsage,
  type PortUsage,
} from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, shell, sysctl, useNetwork } from '../helpers/netns.js';
import { fixture, runUnprivileged } from '../helpers/run.js';
import { closed, connected, echoServer, errorOf, exhaust, track, until } from '../helpers/sockets.js';

async function listening(options: net.ListenOptions): Promise<net.Server> {
  const server = track(net.createServer((socket) => track(socket)));
  server.listen(options);
  await once(server, 'listening');
  return server;
}

async function bound(type: dgram.SocketType, port: number, address?: string): Promise<dgram.Socket> {
  const socket = track(dgram.createSocket({ type, ipv6Only: type === 'udp6' }));
  socket.bind(port, address);
  await once(socket, 'listening');
  return socket;
}

describeIsolated('ports in use', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ family, version, any, source, source2, remote, remote2 }) => {
    const udpType = version === 4 ? 'udp4' : 'udp6';
    const to = (host: string, localAddress = source) => connected(connect({ host, port: SERVER, localAddress }));

    test('until there are none', async () => {
      // (source --> remote) # 1, 2, 3, 4 and no more; (source --> remote2) # 1
      await echoServer(SERVER, any);
      await to(remote2);
      const group = { protocol: 'tcp', family, localAddress: source, remotePort: SERVER, timeWait: 0, capacity: 4 };
      for (const used of [1, 2, 3, 4]) {
        await to(remote);
        const usage = await portUsage({ remoteAddress: remote });
        expect(usage).toEqual([{ ...group, remoteAddress: remote, used, ratio: used / 4 }]);
      }
      expect(await errorOf(() => to(remote))).toMatchObject({ reason: 'ports-exhausted' });
      expect(await portUsage()).toEqual([
        { ...group, remoteAddress: remote, used: 4, ratio: 1 },
        { ...group, remoteAddress: remote2, used: 1, ratio: 0.25 },
      ]);
    });

    test('TIME-WAIT is in use, and told apart', async () => {
      await echoServer(SERVER, any);
      const first = await to(remote);
      await to(remote);
      const { localPort = 0 } = first;
      first.end();
      await closed(first);
      await until(() => shell(`ss -Htan state time-wait sport = :${localPort}`) !== '');
      expect(await portUsage()).toMatchObject([{ used: 2, timeWait: 1, capacity: 4 }]);
    });

    test('the capacity is what can be had: not reserved ports, not those of listeners, of whatever address', async () => {
      await echoServer(SERVER, any);
      sysctl('ipv4.ip_local_reserved_ports', '20001');
      await listening({ port: 20002, host: source2 });
      const { made, error } = await exhaust(9, () => to(remote));
      expect(made).toHaveLength(2);
      expect(error).toMatchObject({ reason: 'ports-exhausted' });
      expect(await portUsage()).toMatchObject([{ used: 2, capacity: 2, ratio: 1 }]);
    });

    test('what a listener inside the range has accepted, and a source port outside, are nothing of this', async () => {
      await listening({ port: 20003, host: remote });
      await connected(connect({ host: remote, port: 20003, localAddress: source, localPort: 30000 }));
      expect(await portUsage()).toEqual([]);
      await connected(connect({ host: remote, port: 20003, localAddress: source }));
      expect(await portUsage()).toMatchObject([{ remotePort: 20003, used: 1, capacity: 3 }]);
    });

    test('UDP', async () => {
      await bound(udpType, SERVER, remote);
      await bound(udpType, 20000, source);
      const open = async () => track(await connectUdp({ host: remote, port: SERVER, localAddress: source }));
      const { made, error } = await exhaust(9, open);
      expect(made).toHaveLength(3);
      expect(error).toMatchObject({ reason: 'ports-exhausted' });
      const expected = { protocol: 'udp', family, localAddress: source, used: 3, timeWait: 0, capacity: 3, ratio: 1 };
      expect(await portUsage()).toMatchObject([expected]);
      expect(await portUsage({ protocol: 'tcp' })).toEqual([]);
      const other = await connectUdp({ host: remote, port: SERVER, localAddress: source2 });
      track(other);
      expect(await portUsage({ localAddress: source2 })).toMatchObject([{ used: 1, capacity: 4 }]);
    });

    test('UDP: the wildcard is every address', async () => {
      await bound(udpType, SERVER, remote);
      await bound(udpType, 20000, any);
      const { made } = await exhaust(9, async () =>
        track(await connectUdp({ host: remote, port: SERVER, localAddress: source })),
      );
      expect(made).toHaveLength(3);
      expect(await portUsage()).toMatchObject([{ used: 3, capacity: 3 }]);
    });

    test('listeners in the way', async () => {
      await listening({ port: SERVER, host: any });
      await listening({ port: 20002, host: source });
      sysctl('ipv4.ip_local_reserved_ports', '8080,20001');
      await listening({ port: 20001, host: source });
      await bound(udpType, 20003, source);
      const conflicts = await listenerConflicts();
      const self = { pid: process.pid, name: expect.any(String) as string };
      const remedy = 'sysctl -w net.ipv4.ip_local_reserved_ports=8080,20001-20003';
      const common = { family, localAddress: source, uid: 0, processes: [self], remedy };
      expect(conflicts).toMatchObject([
        { ...common, protocol: 'tcp', localPort: 20002 },
        { ...common, protocol: 'udp', localPort: 20003 },
      ]);
      shell(remedy);
      expect(await listenerConflicts()).toEqual([]);
    });
  });

  test('a filter that is none', () => {
    const code = (filter: unknown) => errorOf(() => portUsage(filter as never)).then((error) => error.code);
    return expect(
      Promise.all([
        code(null),
        code('tcp'),
        code({ protocol: 'sctp' }),
        code({ localAddress: 'localhost' }),
        code({ remoteAddress: 1 }),
        code({ remotePort: '80' }),
        code({ remotePort: 65536 }),
      ]),
    ).resolves.toEqual([
      'ERR_INVALID_ARG_TYPE',
      'ERR_INVALID_ARG_TYPE',
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_IP_ADDRESS',
      'ERR_INVALID_ARG_TYPE',
      'ERR_INVALID_ARG_TYPE',
      'ERR_SOCKET_BAD_PORT',
    ]);
  });

  test('thrown, not rejected', () => {
    expect(() => portUsage({ remotePort: -1 })).toThrow(RangeError);
  });

  test("without privilege: all but the names of other users' processes, and it says so", async () => {
    await echoServer(SERVER, '0.0.0.0');
    await listening({ port: 20002, host: '127.0.0.1' });
    await connected(connect({ host: '127.0.0.2', port: SERVER, localAddress: '127.0.0.1' }));
    const told = (await runUnprivileged('ports.mjs', {})) as { usage: unknown; conflicts: unknown };
    expect(told.usage).toMatchObject([{ remoteAddress: '127.0.0.2', used: 1, capacity: 3 }]);
    expect(told.conflicts).toMatchObject([{ localPort: 20002, processes: [], processesComplete: false }]);
  });

  test('a process that a socket was handed to is named', async () => {
    const child = spawn('sleep', ['100'], { stdio: [await socketFd(), 'ignore', 'ignore'] });
    try {
      await once(child, 'spawn');
      // Until exec(2) has been made, it is a copy of this one.
      await until(() => shell(`cat /proc/${child.pid}/comm`).trim() === 'sleep');
      const [conflict] = await listenerConflicts();
      expect(conflict?.processes).toEqual(expect.arrayContaining([{ pid: child.pid, name: 'sleep' }]));
    } finally {
      child.kill();
    }
  });

  test('capabilities', () => {
    expect(capabilities().portUsage).toBe(true);
  });
});

/** A listening descriptor that a child can inherit. */
async function socketFd(): Promise<number> {
  const server = await listening({ port: 20001, host: '127.0.0.1' });
  return (server as unknown as { _handle: { fd: number } })._handle.fd;
}

describeIsolated('the monitor', () => {
  useNetwork(smallNetwork);

  function watch(options: PortMonitorOptions) {
    const monitor = new PortMonitor({ interval: 1, ...options });
    track({ close: () => void monitor.close() });
    const events: string[] = [];
    const note = (name: string) => (usage: PortUsage) => events.push(`${name} ${usage.remoteAddress} ${usage.used}`);
    monitor.on('high', note('high'));
    monitor.on('low', note('low'));
    /** When the table has been read anew, from beginning to end. */
    const sample = async () => {
      await once(monitor, 'sample');
      const [usage] = (await once(monitor, 'sample')) as [PortUsage[]];
      return usage;
    };
    return { monitor, events, sample };
  }

  const to = (host = '127.0.0.2') => connected(connect({ host, port: SERVER, localAddress: '127.0.0.1' }));
  const reset = async (socket: net.Socket) => {
    socket.resetAndDestroy();
    await closed(socket);
  };

  test('high once, low once', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const { events, sample } = watch({ high: 0.75, low: 0.5 });
    expect(await sample()).toEqual([]);
    const sockets = [await to(), await to()];
    await to('127.0.0.3');
    expect(await sample()).toHaveLength(2);
    expect(events).toEqual([]);
    sockets.push(await to());
    await sample();
    expect(events).toEqual(['high 127.0.0.2 3']);
    await reset(sockets.pop() as net.Socket);
    await sample();
    sockets.push(await to());
    await sample();
    expect(events).toEqual(['high 127.0.0.2 3']);
    for (const socket of sockets.splice(0, 2)) await reset(socket);
    await sample();
    expect(events).toEqual(['high 127.0.0.2 3', 'low 127.0.0.2 1']);
  });

  test('low when nothing is left', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const socket = await to();
    const { events, sample } = watch({ high: 0.25, filter: { protocol: 'tcp' } });
    await sample();
    await reset(socket);
    await sample();
    expect(events).toEqual(['high 127.0.0.2 1', 'low 127.0.0.2 0']);
  });

  test('only what the filter lets through', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await to();
    await to('127.0.0.3');
    const { events, sample } = watch({ high: 0.1, filter: { remoteAddress: '127.0.0.3' } });
    expect(await sample()).toHaveLength(1);
    expect(events).toEqual(['high 127.0.0.3 1']);
  });

  test('closed: nothing more', async () => {
    const { monitor, sample } = watch({});
    await sample();
    let samples = 0;
    monitor.on('sample', () => samples++);
    await monitor[Symbol.asyncDispose]();
    const before = samples;
    const other = watch({});
    for (let n = 0; n < 5; n++) await other.sample();
    expect(samples).toBe(before);
    await monitor.close();
  });

  test('bad options', async () => {
    const code = (options: unknown) => errorOf(() => new PortMonitor(options as never)).then((error) => error.code);
    expect(await code(null)).toBe('ERR_INVALID_ARG_TYPE');
    expect(await code({ interval: 0 })).toBe('ERR_OUT_OF_RANGE');
    expect(await code({ interval: '1' })).toBe('ERR_INVALID_ARG_TYPE');
    expect(await code({ high: 1.1 })).toBe('ERR_OUT_OF_RANGE');
    expect(await code({ high: 0.5, low: 0.6 })).toBe('ERR_OUT_OF_RANGE');
    expect(await code({ low: NaN })).toBe('ERR_OUT_OF_RANGE');
    expect(await code({ filter: { protocol: 'x' } })).toBe('ERR_INVALID_ARG_VALUE');
  });

  test('does not keep a process running', async () => {
    const child = spawn(process.execPath, [fixture('ports.mjs'), JSON.stringify({ monitor: true })]);
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(0);
  });

  test("an error is an 'error' event, and the next sample is taken", async () => {
    const child = spawn(process.execPath, [fixture('ports.mjs'), JSON.stringify({ withoutDescriptors: true })]);
    child.stdout.setEncoding('utf8');
    let output = '';
    child.stdout.on('data', (data: string) => (output += data));
    await once(child, 'close');
    expect(JSON.parse(output)).toEqual({ code: 'EMFILE', syscall: 'open', then: 'sample' });
  });
});
