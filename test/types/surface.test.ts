// The public surface, type by type: what `npm run types` says of these lines is the test. That none is forgotten is tested here.
import type * as dgram from 'node:dgram';
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { join } from 'node:path';
import type * as net from 'node:net';
import type * as promClient from 'prom-client';
import type * as undici7 from 'undici7';
import ts from 'typescript';
import { describe, expect, expectTypeOf, test } from 'vitest';
import * as adapter from '../../src/http.js';
import * as connectx from '../../src/index.js';
import * as datagrams from '../../src/datagrams.js';
import * as metrics from '../../src/metrics.js';
import * as registration from '../../src/register.js';
import * as sys from '../../src/sys.js';
import * as undici from '../../src/undici.js';

type Optional<T> = { [K in keyof T]?: T[K] | undefined };

/** For what is compiled and not run. */
const uncalled = (_value: unknown): void => {};

describe('connectx', () => {
  test('connect, createConnection, Socket, ConnectOptions, SocketOptions', () => {
    expectTypeOf(connectx.connect).toBeCallableWith({ port: 1, host: 'a', localAddress: '192.0.2.7' }, () => {});
    expectTypeOf(connectx.connect).toBeCallableWith(1, 'a', () => {});
    expectTypeOf(connectx.connect).toBeCallableWith(1, () => {});
    expectTypeOf(connectx.connect).toBeCallableWith('/run/socket', () => {});
    expectTypeOf(connectx.connect).toBeCallableWith({ path: '/run/socket' });
    expectTypeOf(connectx.connect).returns.toEqualTypeOf<connectx.Socket>();
    expectTypeOf(connectx.createConnection).toEqualTypeOf(connectx.connect);
    // @ts-expect-error a port is needed
    uncalled(() => connectx.connect({ host: 'a' }));
    // @ts-expect-error there is no such option
    uncalled(() => connectx.connect({ port: 1, localAdress: '192.0.2.7' }));
    // @ts-expect-error the listener gets nothing
    uncalled(() => connectx.connect(1, (error: Error) => uncalled(error)));

    expectTypeOf<connectx.Socket>().toExtend<net.Socket>();
    expectTypeOf(connectx.Socket).toBeConstructibleWith();
    expectTypeOf(connectx.Socket).toBeConstructibleWith({ localAddress: '192.0.2.7', allowHalfOpen: true });
    expectTypeOf<connectx.Socket['connect']>().toBeCallableWith(1, 'a');
    const listen = (socket: connectx.Socket) => {
      type Failure = Error & Partial<connectx.ErrorDetails>;
      for (const name of ['on', 'once', 'addListener', 'prependListener', 'prependOnceListener'] as const) {
        const listening = socket[name]('error', (error) => expectTypeOf(error).toEqualTypeOf<Failure>());
        expectTypeOf(listening).toEqualTypeOf<connectx.Socket>();
      }
      socket.on('error', ({ code, reason }) => {
        expectTypeOf(code).toEqualTypeOf<string | undefined>();
        expectTypeOf(reason).toEqualTypeOf<connectx.Reason | undefined>();
      });
      socket
        .on('error', (error: Error) => uncalled(error))
        .on('error', (error: NodeJS.ErrnoException) => uncalled(error));
      // The other events are those of net.Socket.
      socket.on('data', (data) => expectTypeOf(data).toExtend<Uint8Array>());
      expectTypeOf(socket.on('close', (hadError) => uncalled(hadError))).toEqualTypeOf<connectx.Socket>();
    };
    uncalled(listen);
    expectTypeOf<connectx.SocketOptions>().toEqualTypeOf<net.SocketConstructorOpts & connectx.SourceOptions>();
    expectTypeOf<connectx.ConnectOptions>().toEqualTypeOf<
      Omit<net.TcpNetConnectOpts, 'localAddress' | 'localPort'> & connectx.SourceOptions
    >();
  });

  test('SourceOptions, SourceAddresses, SourceFunction, SocketOption, Destination', () => {
    expectTypeOf<connectx.SourceOptions>().toEqualTypeOf<
      Optional<{
        localAddress:
          | string
          | { ipv4?: string | undefined; ipv6?: string | undefined }
          | connectx.SourcePool
          | connectx.StickySource
          | connectx.SourceFunction;
        localPort: number;
        localPortRange: readonly [low: number, high: number] | connectx.PortRangeFunction;
        interface: string;
        mark: number;
        freeBind: boolean;
        transparent: boolean;
        fastOpen: boolean;
        reuseTimeWait: boolean;
        autoSelectFamilyOverlap: boolean;
        socketOptions: readonly connectx.SocketOption[];
      }>
    >();
    expectTypeOf<connectx.SourceAddresses>().toEqualTypeOf<{ ipv4?: string | undefined; ipv6?: string | undefined }>();
    expectTypeOf<connectx.SourceFunction>().toEqualTypeOf<
      (
        destination: connectx.Destination,
      ) => string | readonly string[] | connectx.SourcePool | connectx.StickySource | undefined
    >();
    expectTypeOf<connectx.PortRangeFunction>().toEqualTypeOf<
      (
        destination: connectx.Destination,
        localAddress: string | undefined,
      ) => readonly [low: number, high: number] | undefined
    >();
    expectTypeOf<connectx.Destination>().toEqualTypeOf<{ address: string; port: number; family: 4 | 6 }>();
    expectTypeOf<connectx.SocketOption>().toEqualTypeOf<{
      readonly level: number;
      readonly name: number;
      readonly value: number | Uint8Array;
    }>();
    // @ts-expect-error a range has two ends
    uncalled({ localPortRange: [1] } satisfies connectx.SourceOptions);
    // @ts-expect-error a source function gives text
    uncalled({ localAddress: () => 7 } satisfies connectx.SourceOptions);
  });

  test('connectUdp, connectUdpSync, UdpConnectOptions', () => {
    expectTypeOf(connectx.connectUdp).toEqualTypeOf<(options: connectx.UdpConnectOptions) => Promise<dgram.Socket>>();
    expectTypeOf(connectx.connectUdpSync).toEqualTypeOf<(options: connectx.UdpConnectOptions) => dgram.Socket>();
    type Options = connectx.UdpConnectOptions;
    expectTypeOf<Pick<Options, 'host' | 'port' | 'type' | 'exclusive' | 'segmentSize'>>().toEqualTypeOf<{
      host: string;
      port: number;
      type?: dgram.SocketType | undefined;
      exclusive?: boolean | undefined;
      segmentSize?: number | undefined;
    }>();
    expectTypeOf<Options>().toExtend<
      Omit<connectx.SourceOptions, 'fastOpen' | 'reuseTimeWait' | 'autoSelectFamilyOverlap'>
    >();
    expectTypeOf<Options>().toExtend<Pick<dgram.SocketOptions, 'lookup' | 'signal' | 'recvBufferSize' | 'ipv6Only'>>();
    expectTypeOf<Extract<keyof Options, 'fastOpen' | 'reuseTimeWait' | 'reuseAddr' | 'reusePort'>>().toBeNever();
    // @ts-expect-error a host is needed
    uncalled(() => connectx.connectUdp({ port: 1 }));
  });

  test('SourcePool, SourcePoolOptions, PoolSource, PoolStats, PoolSourceStats, ChooseSource', () => {
    expectTypeOf(connectx.SourcePool).toBeConstructibleWith(['192.0.2.7', { address: '192.0.2.16/28', weight: 2 }]);
    expectTypeOf(connectx.SourcePool).toBeConstructibleWith(new Set(['192.0.2.7']), {
      strategy: 'sticky',
      cooldown: 0,
    });
    // @ts-expect-error there is no such strategy
    uncalled(() => new connectx.SourcePool([], { strategy: 'fastest' }));
    expectTypeOf<connectx.SourcePool['add']>().parameters.toEqualTypeOf<[source: string | connectx.PoolSource]>();
    expectTypeOf<connectx.SourcePool['delete']>().toEqualTypeOf<(address: string) => boolean>();
    expectTypeOf<connectx.SourcePool['size']>().toEqualTypeOf<number>();
    expectTypeOf<connectx.SourcePool['capacity']>().toEqualTypeOf<
      (destination?: { readonly address: string; readonly port: number }) => number
    >();
    expectTypeOf<connectx.SourcePool['stats']>().toEqualTypeOf<() => connectx.PoolStats>();
    expectTypeOf<connectx.SourcePool['sticky']>().toEqualTypeOf<(key: string) => connectx.StickySource>();
    expectTypeOf<connectx.SourcePool['rest']>().toEqualTypeOf<
      (address: string, options: connectx.RestOptions) => boolean
    >();
    expectTypeOf<connectx.RestOptions>().toEqualTypeOf<{
      ms: number;
      destination?: { readonly address: string; readonly port?: number | undefined } | undefined;
    }>();
    expectTypeOf<connectx.SourcePool['pause']>().toEqualTypeOf<(address: string) => boolean>();
    expectTypeOf<connectx.SourcePool['resume']>().toEqualTypeOf<(address: string) => boolean>();
    expectTypeOf(connectx.portSlice).toEqualTypeOf<
      (options: connectx.PortSliceOptions) => [low: number, high: number]
    >();
    expectTypeOf<connectx.PortSliceOptions>().toEqualTypeOf<{
      index: number;
      of: number;
      range?: readonly [low: number, high: number] | undefined;
    }>();
    // What portSlice gives fits wherever ports are taken.
    uncalled(() => {
      const ports = connectx.portSlice({ index: 0, of: 2 });
      const pool = new connectx.SourcePool([{ address: '192.0.2.7', ports }]);
      connectx.connect({ port: 1, localAddress: pool.sticky('a'), localPortRange: () => ports });
    });
    expectTypeOf<connectx.PoolSource>().toEqualTypeOf<{
      address: string;
      weight?: number | undefined;
      ports?: readonly [low: number, high: number] | undefined;
    }>();
    expectTypeOf<connectx.SourcePoolOptions>().toEqualTypeOf<
      Optional<{
        strategy: 'round-robin' | 'random' | 'least-used' | 'sticky' | connectx.ChooseSource;
        cooldown: number;
      }>
    >();
    expectTypeOf<connectx.ChooseSource>().toEqualTypeOf<
      (candidates: readonly string[], destination: connectx.Destination) => string | undefined
    >();
    expectTypeOf<connectx.PoolStats>().toEqualTypeOf<{
      inUse: number;
      coolingDown: number;
      sources: connectx.PoolSourceStats[];
    }>();
    expectTypeOf<connectx.PoolSourceStats>().toEqualTypeOf<{
      address: string;
      family: 'IPv4' | 'IPv6';
      weight: number;
      ports?: [low: number, high: number] | undefined;
      paused?: true | undefined;
      inUse: number;
      connections: number;
      exhausted: number;
      unusable: number;
    }>();
  });

  test('portUsage, PortUsage, UsageFilter, listenerConflicts, ListenerConflict, SocketProcess', () => {
    expectTypeOf(connectx.portUsage).toEqualTypeOf<(filter?: connectx.UsageFilter) => Promise<connectx.PortUsage[]>>();
    expectTypeOf<connectx.UsageFilter>().toEqualTypeOf<
      Optional<{ protocol: 'tcp' | 'udp'; localAddress: string; remoteAddress: string; remotePort: number }>
    >();
    expectTypeOf<connectx.PortUsage>().toEqualTypeOf<{
      protocol: 'tcp' | 'udp';
      family: 'IPv4' | 'IPv6';
      localAddress: string;
      remoteAddress: string;
      remotePort: number;
      used: number;
      timeWait: number;
      capacity: number;
      ratio: number;
    }>();
    expectTypeOf(connectx.listenerConflicts).toEqualTypeOf<() => Promise<connectx.ListenerConflict[]>>();
    expectTypeOf<connectx.ListenerConflict>().toEqualTypeOf<{
      protocol: 'tcp' | 'udp';
      family: 'IPv4' | 'IPv6';
      localAddress: string;
      localPort: number;
      uid: number;
      processes: connectx.SocketProcess[];
      processesComplete: boolean;
      remedy: string;
    }>();
    expectTypeOf<connectx.SocketProcess>().toEqualTypeOf<{ pid: number; name: string }>();
  });

  test('PortMonitor, PortMonitorOptions, PortMonitorEvents', () => {
    expectTypeOf<connectx.PortMonitor>().toExtend<EventEmitter<connectx.PortMonitorEvents>>();
    expectTypeOf(connectx.PortMonitor).toBeConstructibleWith();
    expectTypeOf<connectx.PortMonitorOptions>().toEqualTypeOf<
      Optional<{ interval: number; high: number; low: number; filter: connectx.UsageFilter }>
    >();
    expectTypeOf<connectx.PortMonitorEvents>().toEqualTypeOf<{
      sample: [usage: connectx.PortUsage[]];
      high: [usage: connectx.PortUsage];
      low: [usage: connectx.PortUsage];
      error: [error: Error];
    }>();
    const listen = (monitor: connectx.PortMonitor) => {
      monitor.on('sample', (usage) => expectTypeOf(usage).toEqualTypeOf<connectx.PortUsage[]>());
      monitor.on('high', (usage) => expectTypeOf(usage).toEqualTypeOf<connectx.PortUsage>());
      monitor.once('error', (error) => expectTypeOf(error).toEqualTypeOf<Error>());
      // @ts-expect-error 'high' has a usage
      monitor.on('high', (usage: string) => uncalled(usage));
    };
    uncalled(listen);
    expectTypeOf<connectx.PortMonitor['close']>().returns.resolves.toBeVoid();
    expectTypeOf<connectx.PortMonitor>().toExtend<AsyncDisposable>();
  });

  test('capabilities, Capabilities, Runtime', () => {
    expectTypeOf(connectx.capabilities).toEqualTypeOf<() => connectx.Capabilities>();
    expectTypeOf<connectx.Runtime>().toEqualTypeOf<{ name: 'node' | 'bun' | 'deno'; version: string }>();
    expectTypeOf<connectx.Capabilities>().toEqualTypeOf<{
      runtime: connectx.Runtime;
      tcp: boolean;
      udp: boolean;
      udpSync: boolean;
      native: boolean;
      nativeError: Error | undefined;
      platform: NodeJS.Platform;
      bindAddressNoPort: boolean;
      localPortRange: boolean;
      boundPortsReturn: boolean;
      fastOpen: boolean;
      udpShared: boolean;
      udpSegment: boolean;
      udpReceiveOffload: boolean;
      portUsage: boolean;
      ephemeralRange: { low: number; high: number } | undefined;
    }>();
  });

  test('ConnectxError, ErrorDetails, Reason', () => {
    expectTypeOf<connectx.ConnectxError>().toExtend<Error>();
    expectTypeOf<Omit<connectx.ConnectxError, keyof Error>>().toEqualTypeOf<{
      code: string;
      errno?: number;
      syscall?: string;
      address?: string;
      port?: number;
      localAddress?: string;
      localPort?: number;
      reason?: connectx.Reason;
      errors?: readonly connectx.ConnectxError[];
    }>();
    expectTypeOf<connectx.ErrorDetails>().toExtend<{ code: string; reason?: connectx.Reason | undefined }>();
    expectTypeOf<'ports-exhausted' | 'tuple-in-use' | 'port-locked'>().toExtend<connectx.Reason>();
    expectTypeOf<'address-not-local' | 'family-mismatch' | 'pool-exhausted'>().toExtend<connectx.Reason>();
  });

  test('ConnectTrace, TracedAttempt, TracedTechnique', () => {
    expectTypeOf<connectx.ConnectTrace>().toEqualTypeOf<{
      transport: 'tcp' | 'udp';
      host: string;
      port: number;
      source: { address: string; port: number } | undefined;
      destination: connectx.Destination | undefined;
      technique: connectx.TracedTechnique | undefined;
      attempts: connectx.TracedAttempt[];
      error: unknown;
    }>();
    expectTypeOf<connectx.TracedAttempt>().toEqualTypeOf<{
      destination: connectx.Destination;
      localAddress: string | undefined;
      technique: connectx.TracedTechnique | undefined;
      reason: string | undefined;
    }>();
    expectTypeOf<connectx.TracedTechnique>().toEqualTypeOf<
      'assign' | 'pin' | 'bind' | 'search' | 'take-over' | 'core' | 'shared' | 'exclusive'
    >();
  });
});

test('connectx/http: HttpAgent, HttpsAgent and their options', () => {
  expectTypeOf<adapter.HttpAgent>().toExtend<http.Agent>();
  expectTypeOf<adapter.HttpsAgent>().toExtend<https.Agent>();
  expectTypeOf(adapter.HttpAgent).toBeConstructibleWith({ keepAlive: true, localAddress: '192.0.2.7' });
  expectTypeOf(adapter.HttpsAgent).toBeConstructibleWith({ keepAlive: true, localPortRange: [1024, 2047] });
  expectTypeOf<adapter.SourceOptions>().toEqualTypeOf<connectx.SourceOptions>();
  expectTypeOf<adapter.HttpAgentOptions>().toExtend<connectx.SourceOptions>();
  expectTypeOf<adapter.HttpsAgentOptions>().toExtend<connectx.SourceOptions>();
  expectTypeOf<adapter.HttpAgent['createConnection']>().parameter(0).toEqualTypeOf<adapter.HttpConnectionOptions>();
  expectTypeOf<adapter.HttpsAgent['createConnection']>().parameter(0).toEqualTypeOf<adapter.HttpsConnectionOptions>();
  expectTypeOf<adapter.HttpAgent['createConnection']>().returns.toEqualTypeOf<net.Socket>();
  // @ts-expect-error a port is a number
  uncalled(() => new adapter.HttpAgent({ localPort: '7' }));
});

test('connectx/http: HttpRequestOptions, HttpsRequestOptions: source options for one request, with an agent of ours only', () => {
  const pool = new connectx.SourcePool(['192.0.2.7']);
  const [agent, tlsAgent] = [new adapter.HttpAgent(), new adapter.HttpsAgent()];
  expectTypeOf<adapter.HttpRequestOptions>().toExtend<connectx.SourceOptions & { agent: adapter.HttpAgent }>();
  expectTypeOf<adapter.HttpsRequestOptions>().toExtend<connectx.SourceOptions & { agent: adapter.HttpsAgent }>();
  uncalled((url: URL) => [
    http.get({ host: 'a', agent, localAddress: pool }, (response) =>
      expectTypeOf(response).toEqualTypeOf<http.IncomingMessage>(),
    ),
    http.get('http://a/', { agent, localPortRange: [1024, 2047] }),
    http.request({ host: 'a', agent, localAddress: () => '192.0.2.7' }),
    http.request(url, { agent, localAddress: pool, method: 'POST' }),
    https.get({ host: 'a', agent: tlsAgent, localAddress: pool, rejectUnauthorized: false }),
    https.get(url, { agent: tlsAgent, localAddress: pool }),
    https.request({ host: 'a', agent: tlsAgent, interface: 'eth0' }),
    https.request('https://a/', { agent: tlsAgent, localAddress: { ipv4: '192.0.2.7' } }),
    // As before:
    http.get('http://a/', () => {}),
    http.get({ host: 'a', agent, localAddress: '192.0.2.7' }),
    https.request(url, { agent: tlsAgent, localAddress: '192.0.2.7' }),
  ]);
  // @ts-expect-error core's agents know an address only
  uncalled(() => http.get({ host: 'a', localAddress: pool }));
  // @ts-expect-error core's agents know an address only
  uncalled(() => https.get({ host: 'a', agent: new https.Agent(), localAddress: pool }));
});

test('connectx/undici: buildConnector and its options', () => {
  expectTypeOf(undici.buildConnector).toEqualTypeOf<(options?: undici.ConnectorOptions) => undici.Connector>();
  expectTypeOf<undici.ConnectorOptions>().toExtend<undici.SourceOptions>();
  expectTypeOf<undici.Connector>().toEqualTypeOf<
    (target: undici.ConnectorTarget, callback: undici.ConnectorCallback) => net.Socket
  >();
  expectTypeOf<undici.ConnectorCallback>().toBeCallableWith(new Error(), null);
  expectTypeOf<typeof undici7>().toExtend<undici.UndiciModule>();
  expectTypeOf<undici.ConnectorTarget['port']>().toEqualTypeOf<string>();
});

test('connectx/register: register, RegisterOptions', () => {
  expectTypeOf(registration.register).toEqualTypeOf<(options?: registration.RegisterOptions) => () => void>();
  expectTypeOf<registration.RegisterOptions>().toEqualTypeOf<
    Optional<{ sources: readonly string[]; assign: readonly registration.Assignment[] }>
  >();
});

test('connectx/metrics: collectPortUsage, CollectPortUsageOptions', () => {
  expectTypeOf(metrics.collectPortUsage).toEqualTypeOf<(options?: metrics.CollectPortUsageOptions) => void>();
  expectTypeOf<metrics.CollectPortUsageOptions>().toEqualTypeOf<
    Optional<{ register: promClient.Registry; filter: connectx.UsageFilter; limit: number }>
  >();
  expectTypeOf(metrics.collectConnects).toEqualTypeOf<(options?: metrics.CollectConnectsOptions) => () => void>();
  expectTypeOf<metrics.CollectConnectsOptions>().toEqualTypeOf<
    Optional<{ register: promClient.Registry; pools: Iterable<connectx.SourcePool>; buckets: number[] }>
  >();
});

test('connectx/datagrams: UdpBatch, Batch, Target, UdpServer, UdpFlow, UdpBatchStats and the options', () => {
  uncalled(() => new datagrams.UdpBatch());
  uncalled(() => new datagrams.UdpBatch({ slots: 32, maxDatagramsPerTurn: 512, maxPeers: 65536 }));
  expectTypeOf<datagrams.UdpBatchOptions>().toEqualTypeOf<
    Optional<{ slots: number; maxDatagramsPerTurn: number; maxPeers: number }>
  >();
  expectTypeOf<datagrams.UdpBatch['bind']>().toEqualTypeOf<
    (options: datagrams.UdpBindOptions) => datagrams.UdpServer
  >();
  expectTypeOf<datagrams.UdpBindOptions>().toEqualTypeOf<{
    host: string;
    port: number;
    recvBufferSize?: number | undefined;
    sendBufferSize?: number | undefined;
    reusePort?: boolean | undefined;
  }>();
  expectTypeOf<datagrams.UdpBatch['connect']>().toEqualTypeOf<
    (options: datagrams.UdpFlowOptions) => Promise<datagrams.UdpFlow>
  >();
  expectTypeOf<Pick<datagrams.UdpFlowOptions, 'host' | 'port'>>().toEqualTypeOf<{ host: string; port: number }>();
  expectTypeOf<datagrams.UdpBatch['trySend']>().toEqualTypeOf<
    (target: datagrams.Target, buffer: Uint8Array, options?: datagrams.UdpSendOptions) => number
  >();
  expectTypeOf<datagrams.UdpSendOptions>().toEqualTypeOf<
    Optional<{ offset: number; length: number; segmentSize: number }>
  >();
  expectTypeOf<datagrams.Batch['forward']>().toEqualTypeOf<(index: number, target: datagrams.Target) => number>();
  expectTypeOf<datagrams.Batch['peer']>().toEqualTypeOf<Uint32Array>();
  expectTypeOf<datagrams.UdpServer['target']>().toEqualTypeOf<(peer: number) => datagrams.Target>();
  expectTypeOf<datagrams.UdpFlow['target']>().toEqualTypeOf<number>();
  expectTypeOf<datagrams.UdpBatchStats['dropped']['blocked']>().toEqualTypeOf<number>();
});

test('connectx/sys: one function for each system call, udpLookup, constants, SocketAddress, Endpoint, UdpOwner', () => {
  expectTypeOf(sys.socket).toEqualTypeOf<(domain: number, type: number, protocol?: number) => number>();
  expectTypeOf(sys.close).toEqualTypeOf<(fd: number) => void>();
  expectTypeOf(sys.setsockopt).toEqualTypeOf<
    (fd: number, level: number, name: number, value: number | Uint8Array) => void
  >();
  expectTypeOf<typeof sys.getsockopt>().toBeCallableWith(0, 1, 2);
  expectTypeOf<typeof sys.getsockopt>().toBeCallableWith(0, 1, 2, 8);
  expectTypeOf(sys.bind).toEqualTypeOf<(fd: number, address: sys.SocketAddress) => void>();
  expectTypeOf(sys.connect).toEqualTypeOf<(fd: number, address: sys.SocketAddress) => void>();
  expectTypeOf(sys.getsockname).toEqualTypeOf<(fd: number) => sys.Endpoint>();
  expectTypeOf(sys.getpeername).toEqualTypeOf<(fd: number) => sys.Endpoint>();
  expectTypeOf(sys.udpLookup).toEqualTypeOf<
    (
      local: sys.SocketAddress,
      remote: sys.SocketAddress,
      options?: { interface?: string | number | undefined },
    ) => sys.UdpOwner | undefined
  >();
  expectTypeOf<sys.SocketAddress>().toEqualTypeOf<{ address: string; port: number }>();
  expectTypeOf<sys.Endpoint>().toEqualTypeOf<{
    family: 'IPv4' | 'IPv6';
    address: string;
    port: number;
    scope?: number;
  }>();
  expectTypeOf<sys.UdpOwner>().toEqualTypeOf<{
    state: number;
    cookie: bigint;
    interface: number;
    inode: number;
    uid: number;
  }>();
  expectTypeOf(sys.constants.SO_REUSEADDR).toEqualTypeOf<2>();
});

test('every export of every entry point is above', () => {
  const root = join(import.meta.dirname, '../..');
  const text = readFileSync(import.meta.filename, 'utf8');
  const namespaces = {
    index: 'connectx',
    http: 'adapter',
    undici: 'undici',
    register: 'registration',
    datagrams: 'datagrams',
    metrics: 'metrics',
    sys: 'sys',
  };
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, string | { types: string }>;
  };
  const entries = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [] : [entry.types]));
  expect(entries.map((path) => path.replace(/^\.\/dist\/(.*)\.d\.ts$/, '$1')).sort()).toEqual(
    Object.keys(namespaces).sort(),
  );
  const files = Object.fromEntries(Object.keys(namespaces).map((name) => [name, join(root, `src/${name}.ts`)]));
  const program = ts.createProgram(Object.values(files), { module: ts.ModuleKind.Node20, types: [] });
  const checker = program.getTypeChecker();
  const forgotten = Object.entries(namespaces).flatMap(([name, namespace]) => {
    const source = program.getSourceFile(files[name] ?? '');
    const symbol = source && checker.getSymbolAtLocation(source);
    if (symbol === undefined) throw new Error(`${name} is no module`);
    const names = checker.getExportsOfModule(symbol).map((one) => one.getName());
    expect(names.length).toBeGreaterThan(0);
    return names
      .filter((one) => !new RegExp(`\\b${namespace}\\.${one}\\b`).test(text))
      .map((one) => `${namespace}.${one}`);
  });
  expect(forgotten).toEqual([]);
});
