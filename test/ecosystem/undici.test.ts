// buildConnector() beside undici's own, in undici 6, 7 and 8.
import { execFileSync } from 'node:child_process';
import * as http from 'node:http';
import * as net from 'node:net';
import { createRequire } from 'node:module';
import { ConnectxError } from 'connectx';
import { buildConnector, type ConnectorOptions, type UndiciModule } from 'connectx/undici';
import type * as undici6 from 'undici6';
import type * as undici7 from 'undici7';
import type * as undici8 from 'undici8';
import { describe, expect, test } from 'vitest';
import { smallNetwork } from '../helpers/families.js';
import { CALLS, leavesNothing } from '../helpers/leaks.js';
import { describeIsolated, OUTSIDE, sysctl, useNetwork } from '../helpers/netns.js';
import { DEAD4, names } from '../helpers/parity.js';
import { folderWith } from '../helpers/programs.js';
import { descriptorCount, errorOf, track, until } from '../helpers/sockets.js';
import { pem, type Seen, webServer, type WebServer } from '../helpers/web.js';

type Undici = typeof undici6;
type Dispatcher = undici6.Dispatcher;

const require = createRequire(import.meta.url);
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
/** undici 8 needs Node 22.19. */
const releases = ['undici6', 'undici7', ...(major > 22 || (major === 22 && minor >= 19) ? ['undici8'] : [])];

const [WEB, TLS] = [8080, 8443];
const [SOURCE, SOURCE2, A, B, C] = ['127.0.0.1', '127.0.0.14', '127.0.0.2', '127.0.0.3', '127.0.0.4'];
const HTTP = `http://${A}:${WEB}`;
const HTTPS = `https://${A}:${TLS}`;
const trust = { ca: pem, servername: 'test.example' };

describe.each(releases)('%s', (release) => {
  const undici = require(release) as Undici & UndiciModule;
  const closing = <D extends undici6.Dispatcher>(dispatcher: D): D => {
    track({ close: () => void dispatcher.destroy() });
    return dispatcher;
  };
  /** Of a type that all of them accept. */
  const connector = (options: ConnectorOptions) =>
    buildConnector({ undici, ...options }) satisfies undici7.buildConnector.connector &
      undici8.buildConnector.connector;
  const agent = (options: ConnectorOptions, more: object = {}) =>
    closing(new undici.Agent({ connect: connector(options), ...more }));
  const ask = async (dispatcher: Dispatcher, origin: string, more: object = {}): Promise<Seen> => {
    const { body } = await undici.request(`${origin}/path`, { dispatcher, ...more });
    return (await body.json()) as Seen;
  };

  describeIsolated('buildConnector', () => {
    useNetwork({ ...smallNetwork, addresses: ['2001:db8::2', '2001:db8::14'] });
    const sources = { ipv4: SOURCE2, ipv6: '2001:db8::14' };

    const servers = async (): Promise<[WebServer, WebServer]> => [
      await webServer(WEB, '0.0.0.0'),
      await webServer(TLS, '0.0.0.0', { h2: true }),
    ];

    test('gives the source to Client, Pool, Agent, request and fetch', async () => {
      sysctl('ipv4.ip_local_port_range', '20000 20099');
      await servers();
      const connect = connector({ ...trust, localAddress: SOURCE2 });
      const made = [
        new undici.Client(HTTP, { connect }),
        new undici.Pool(HTTP, { connect }),
        new undici.Agent({ connect }),
      ];
      for (const dispatcher of made) {
        expect(await ask(closing(dispatcher), HTTP)).toMatchObject({ address: SOURCE2 });
      }
      const dispatcher = agent({ ...trust, localAddress: SOURCE2 });
      for (const origin of [HTTP, HTTPS]) {
        const response = await undici.fetch(`${origin}/path`, { dispatcher: dispatcher });
        expect(await response.json()).toMatchObject({ address: SOURCE2, path: '/path' });
      }
      // Options of a dispatcher come before those of the connector.
      const client = closing(new undici.Client(HTTP, { connect, localAddress: '127.0.0.15' }));
      expect(await ask(client, HTTP)).toMatchObject({ address: '127.0.0.15' });
      expect(await ask(agent({ localPort: 20002 }), HTTP)).toMatchObject({ address: SOURCE, port: 20002 });
      expect(await ask(agent({ localAddress: () => SOURCE2 }), HTTP)).toMatchObject({ address: SOURCE2 });
    });

    test('works through a proxy, which sees the source', async () => {
      await servers();
      const seen: string[] = [];
      const proxy = http.createServer((request, response) => {
        seen.push(`${request.method} ${request.socket.remoteAddress}`);
        request.pipe(http.request(request.url ?? '', { headers: request.headers }, (answer) => answer.pipe(response)));
      });
      proxy.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
        seen.push(`${request.method} ${request.socket.remoteAddress}`);
        const [host, port] = (request.url ?? '').split(':');
        const upstream = track(net.connect(Number(port), host));
        upstream.on('connect', () => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.pipe(upstream).pipe(socket);
        });
        for (const end of [track(socket), upstream]) end.on('error', () => {});
      });
      track(proxy).listen(3128, A);
      await until(() => proxy.listening);
      const connect = connector({ localAddress: SOURCE2 });
      const uri = `http://${A}:3128`;
      const throughSource = (origin: string | URL, options: object) => new undici.Pool(origin, { ...options, connect });
      const dispatcher = closing(
        new undici.ProxyAgent({
          uri,
          requestTls: trust,
          // To the proxy, for a tunnel; and without one, as a request for the proxy itself.
          clientFactory: throughSource,
          factory: (origin: string | URL, options: object) =>
            new URL(origin).origin === uri ? throughSource(origin, options) : new undici.Pool(origin, options),
        }),
      );
      for (const origin of [HTTP, HTTPS]) expect(await ask(dispatcher, origin)).toMatchObject({ path: '/path' });
      const plain = release === 'undici8' ? 'GET' : 'CONNECT';
      expect(seen).toEqual([`${plain} ${SOURCE2}`, `CONNECT ${SOURCE2}`]);
    });

    // range of 4 ports: source --> A, B, C, four times each
    test.each(['http', 'https'])('has more connections than there are ports: %s', async (scheme) => {
      const [plain, tls] = await servers();
      const [port, web] = scheme === 'http' ? [WEB, plain] : [TLS, tls];
      const origins = [A, B, C].flatMap((host) => Array<string>(4).fill(`${scheme}://${host}:${port}`));
      const options = { ...trust, localAddress: SOURCE, allowH2: false };
      web.hold = origins.length;
      const dispatcher = agent(options);
      const seen = await Promise.all(origins.map(async (origin) => ask(dispatcher, origin)));
      expect(new Set(seen.map(({ address }) => address))).toEqual(new Set([SOURCE]));
      expect(new Set(seen.map(({ connection }) => connection)).size).toBe(12);
      const error = await errorOf(() => ask(agent(options), origins[0] ?? ''));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
      expect(error).toBeInstanceOf(ConnectxError);
    });

    test('the control, undici by itself: no more than there are ports', async () => {
      const [web] = await servers();
      const dispatcher = closing(new undici.Agent({ localAddress: SOURCE }));
      const origins = [A, A, B, B].map((host) => `http://${host}:${WEB}`);
      web.hold = 4;
      await Promise.all(origins.map(async (origin) => ask(dispatcher, origin)));
      expect(await errorOf(() => ask(dispatcher, `http://${C}:${WEB}`))).toMatchObject({ code: 'EADDRINUSE' });
    });

    /** With our connector and with undici's own; the same must come of it. */
    async function same<T>(options: ConnectorOptions, act: (dispatcher: Dispatcher) => Promise<T>): Promise<T> {
      const mine = await act(agent({ localAddress: SOURCE2, ...options }));
      const { undici: _, ...own } = options;
      const connect = undici.buildConnector({ localAddress: SOURCE2, ...own } as never);
      const core = await act(closing(new undici.Agent({ connect })));
      expect(mine).toEqual(core);
      return mine;
    }

    test.each([
      { allowH2: true, alpn: release === 'undici8' ? ['http/1.1', 'h2'] : ['h2', 'http/1.1'] },
      { allowH2: false, alpn: ['http/1.1'] },
      { allowH2: undefined, alpn: undefined },
    ])('agrees on the protocol as undici does: allowH2 $allowH2', async ({ allowH2 }) => {
      await servers();
      const seen = await same({ ...trust, allowH2 }, async (dispatcher) => {
        const { tls, headers } = await ask(dispatcher, HTTPS);
        return { tls, headers };
      });
      if (allowH2 === false) expect(seen.tls?.alpn).toBe('http/1.1');
    });

    test.each([{}, { maxCachedSessions: 0 }, { maxCachedSessions: 1, maxVersion: 'TLSv1.2' }] as const)(
      'resumes sessions as undici does: %o',
      async (options) => {
        await servers();
        const reused = await same({ ...trust, allowH2: false, ...options }, async (dispatcher) => {
          const answers: unknown[] = [];
          for (let n = 0; n < 3; n++) {
            const { tls } = await ask(dispatcher, HTTPS, { reset: true });
            answers.push(tls?.reused, tls?.servername);
          }
          return answers;
        });
        expect(reused).toContain('maxCachedSessions' in options && options.maxCachedSessions === 0 ? false : true);
      },
    );

    test('keeps alive, and sets the socket up, as undici does', async () => {
      sysctl('ipv4.ip_local_port_range', '20000 20099');
      await servers();
      for (const options of [{}, { keepAlive: false }, { keepAliveInitialDelay: 5000 }]) {
        await same({ ...trust, ...options }, async (dispatcher) => {
          const sockets: unknown[] = [];
          for (const origin of [HTTP, HTTPS]) {
            const connected = new Promise((resolve) => dispatcher.once('connect', resolve));
            const first = await ask(dispatcher, origin);
            await connected;
            const second = await ask(dispatcher, origin);
            sockets.push(first.connection === second.connection);
          }
          return sockets;
        });
        // What was asked of the kernel.
        const asked = async (connect: (target: never, callback: never) => net.Socket) => {
          const calls: unknown[] = [];
          const target = { hostname: A, host: `${A}:${WEB}`, protocol: 'http:', port: `${WEB}` };
          const socket = await new Promise<net.Socket>((resolve, reject) => {
            const made = connect(
              target as never,
              ((error: Error | null, socket: net.Socket) => (error ? reject(error) : resolve(socket))) as never,
            );
            const { _handle: handle } = made as unknown as { _handle: Record<string, unknown> };
            for (const name of ['setKeepAlive', 'setNoDelay']) {
              const call = handle[name] as (...args: unknown[]) => unknown;
              handle[name] = (...args: unknown[]) => (calls.push([name, ...args]), call.apply(handle, args));
            }
          });
          const { writableHighWaterMark, allowHalfOpen, timeout } = track(socket);
          return { calls, writableHighWaterMark, allowHalfOpen, timeout, events: socket.eventNames() };
        };
        const mine = await asked(connector(options));
        expect(mine).toEqual(await asked(undici.buildConnector(options as never) as never));
        expect(mine.calls.length).toBeGreaterThan(0);
      }
    });

    test('the port may be empty, or text', async () => {
      await webServer(80, A);
      await webServer(443, A, { tls: true });
      const dispatcher = agent({ ...trust, localAddress: SOURCE2 });
      expect(await ask(dispatcher, `http://${A}`)).toMatchObject({ address: SOURCE2 });
      expect(await ask(dispatcher, `https://${A}`)).toMatchObject({ address: SOURCE2 });
    });

    test('a name with an address of each family gets the source of the family', async () => {
      await webServer(WEB, '2001:db8::2');
      await webServer(TLS, A, { tls: true });
      const lookup = names('2001:db8::2', A) as never;
      const dispatcher = agent({ ...trust, localAddress: sources, lookup, autoSelectFamily: true });
      expect(await ask(dispatcher, `http://two.example:${WEB}`)).toMatchObject({ address: sources.ipv6 });
      expect(await ask(dispatcher, `https://two.example:${TLS}`)).toMatchObject({ address: sources.ipv4 });
      // Only one family has a source.
      const ipv4 = agent({ ...trust, localAddress: SOURCE2, lookup, autoSelectFamily: true });
      expect(await ask(ipv4, `https://two.example:${TLS}`)).toMatchObject({ address: SOURCE2 });
      const none = agent({ localAddress: SOURCE2, lookup: names('2001:db8::2') as never, autoSelectFamily: true });
      const error = await errorOf(() => ask(none, `http://two.example:${WEB}`));
      expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch', port: WEB });
    });

    test('an address with a server name, as the DNS interceptor asks for it', async () => {
      await servers();
      const connect = buildConnector({ undici, localAddress: SOURCE2 });
      const socket = await new Promise<net.Socket>((resolve, reject) => {
        const target = {
          hostname: A,
          host: 'some.example',
          protocol: 'http:',
          port: `${WEB}`,
          servername: 'some.example',
        };
        connect(target, (error, socket) => (error ? reject(error) : resolve(socket)));
      });
      expect(track(socket).localAddress).toBe(SOURCE2);
    });

    test('errors have a reason, and bad options throw', async () => {
      await servers();
      for (const origin of [HTTP, HTTPS]) {
        const error = await errorOf(() => ask(agent({ localAddress: '198.51.100.1' }), origin));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local', address: A });
        const refused = await errorOf(() => ask(agent({ localAddress: SOURCE }), origin.replace(/\d+$/, '9')));
        expect(refused).toMatchObject({ code: 'ECONNREFUSED', localAddress: SOURCE });
      }
      expect(() => buildConnector({ undici, localPort: -1 })).toThrow(
        expect.objectContaining({ code: 'ERR_SOCKET_BAD_PORT' }),
      );
      expect(() => buildConnector({ undici, maxCachedSessions: -1 })).toThrow(undici.errors.InvalidArgumentError);
      expect(() => buildConnector({ undici: {} as UndiciModule })).toThrow(
        expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
      );
    });

    test('a request is aborted while it connects, and nothing is left', async () => {
      const before = descriptorCount();
      const dispatcher = agent({ localAddress: SOURCE });
      const web = await webServer(WEB, A);
      web.hold = Infinity;
      const abort = new AbortController();
      const error = errorOf(() => ask(dispatcher, HTTP, { signal: abort.signal }));
      await until(() => web.open === 1);
      abort.abort();
      expect((await error).name).toBe('AbortError');
      await dispatcher.destroy();
      await until(() => web.open === 0);
      // The server itself.
      expect(descriptorCount()).toBeLessThanOrEqual(before + 1);
    });

    test(`nothing is left of ${CALLS} connections that fail`, async () => {
      const connect = buildConnector({ undici, localAddress: '198.51.100.1' });
      const target = { hostname: A, protocol: 'http:', port: `${WEB}` };
      await leavesNothing(async () => {
        const error = await new Promise<NodeJS.ErrnoException | null>((resolve) =>
          connect(target, (...[failure]) => resolve(failure)),
        );
        if (error?.code !== 'EADDRNOTAVAIL') throw error ?? new Error('connected');
      });
    });
  });

  describeIsolated('time', () => {
    useNetwork({
      range: [20000, 20099],
      commands: [...OUTSIDE, `ip neigh add ${DEAD4} lladdr 02:00:00:00:00:09 dev v0`],
    });

    test.each(['http', 'https'])('a connect that takes too long ends as with undici: %s', async (scheme) => {
      const origin = `${scheme}://${DEAD4}:${WEB}`;
      const stories = [];
      for (const connect of [
        connector({ timeout: 200, localAddress: '192.0.2.1' }),
        undici.buildConnector({ timeout: 200 } as never) as never,
      ]) {
        const error = await errorOf(() => ask(closing(new undici.Agent({ connect })), origin));
        stories.push([error.name, error.code, error.message]);
      }
      expect(stories[0]).toEqual(stories[1]);
      expect(stories[0]?.[1]).toBe('UND_ERR_CONNECT_TIMEOUT');
    });
  });
});

test('fetch of Node itself takes a dispatcher of the undici that it was made of', async () => {
  const web = await webServer(0, '127.0.0.1');
  const release = `undici${process.versions.undici?.split('.')[0]}`;
  const undici = require(release) as Undici & UndiciModule;
  const dispatcher = new undici.Agent({ connect: buildConnector({ undici, localAddress: '127.0.0.14' }) });
  track({ close: () => void dispatcher.destroy() });
  const options = { dispatcher } as unknown as RequestInit;
  const response = await fetch(`http://127.0.0.1:${web.port}/`, options);
  expect(await response.json()).toMatchObject({ address: '127.0.0.14' });
});

test('without undici it says what is missing', () => {
  const folder = folderWith({ 'undici.cjs': '' });
  // A copy of the package that finds no undici, whatever is installed around it.
  const program = `
    const { Module } = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...more) {
      if (name === 'undici') throw Object.assign(new Error('not found'), { code: 'MODULE_NOT_FOUND' });
      return resolve.call(this, name, ...more);
    };
    const { buildConnector } = require(${JSON.stringify(require.resolve('connectx/undici'))});
    try { buildConnector(); } catch ({ code, reason, cause }) { console.log(code, reason, cause.code); }`;
  const printed = execFileSync(process.execPath, ['-e', program], { cwd: folder, encoding: 'utf8' });
  expect(printed).toBe('ERR_CONNECTX_UNSUPPORTED undici MODULE_NOT_FOUND\n');
});
