// RFC 8305: an attempt goes on when the next one begins, and the first to connect wins, whoever opens the connection.
import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { connect, type ConnectOptions, Socket, type SourceOptions, SourcePool } from 'connectx';
import { HttpAgent, HttpsAgent } from 'connectx/http';
import { buildConnector, type ConnectorOptions, type UndiciModule } from 'connectx/undici';
import type * as undici6 from 'undici6';
import { describe, expect, test } from 'vitest';
import { names } from '../helpers/parity.js';
import {
  answers,
  dead,
  describeSlow,
  refuses,
  SERVER,
  SOURCE4,
  SOURCE4_2,
  SOURCE6,
  SOURCE6_2,
  unreachable,
} from '../helpers/slow-network.js';
import { closed, type ConnectionError, descriptorCount, failure, slowness, track, until } from '../helpers/sockets.js';
import { pem, webServer } from '../helpers/web.js';

const require = createRequire(import.meta.url);
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
/** undici 8 needs Node 22.19. */
const undicis = ['undici6', 'undici7', ...(major > 22 || (major === 22 && minor >= 19) ? ['undici8'] : [])];

/** So that the next attempt begins soon. */
const SOON = { autoSelectFamilyAttemptTimeout: 20 };
const TLS = { ca: pem, servername: 'test.example' };

// A tuple that was used is in TIME-WAIT.
let lastPort = 20_000;

const sources = {
  'no source': () => ({}),
  'an address for each family': () => ({ localAddress: { ipv4: SOURCE4_2, ipv6: SOURCE6_2 } }),
  'a function': () => ({ localAddress: ({ family }: { family: number }) => (family === 4 ? SOURCE4_2 : SOURCE6_2) }),
  'a pool': () => ({ localAddress: new SourcePool([SOURCE4, SOURCE4_2, SOURCE6, SOURCE6_2]) }),
  'a port': () => ({ localPort: ++lastPort }),
} satisfies Record<string, () => SourceOptions>;

/** What came of it: the address that answered, or the error. */
type Opens = (options: ConnectOptions & { lookup: net.LookupFunction }) => Promise<string>;

const ofSocket = async (socket: net.Socket): Promise<string> => {
  track(socket);
  await once(socket, 'connect');
  const { remoteAddress = '' } = socket;
  socket.write('hello');
  await once(socket, 'data');
  socket.destroy();
  await closed(socket);
  return remoteAddress;
};

const ofRequest = async (request: http.ClientRequest): Promise<string> => {
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const { remoteAddress = '' } = response.socket;
  await once(response.resume(), 'close');
  return remoteAddress;
};

const ofUndici =
  (release: string, protocol: string): Opens =>
  async (options) => {
    const undici = require(release) as typeof undici6 & UndiciModule;
    const connector = buildConnector({ undici, ...TLS, ...(options as ConnectorOptions) });
    let remoteAddress = '';
    const dispatcher = new undici.Agent({
      connect: (target: Parameters<typeof connector>[0], callback: Parameters<typeof connector>[1]) =>
        connector(target, (...result) => {
          remoteAddress = result[1]?.remoteAddress ?? '';
          callback(...result);
        }),
    });
    track({ close: () => void dispatcher.destroy() });
    const { body } = await undici.request(`${protocol}://test.example:${SERVER}/`, { dispatcher });
    await body.dump();
    await dispatcher.destroy();
    return remoteAddress;
  };

const entries: Record<string, { tls?: boolean; web?: boolean; opens: Opens }> = {
  connect: { opens: (options) => ofSocket(connect({ ...options, ...SOON })) },
  Socket: {
    opens: ({ host, port, lookup, ...source }) =>
      ofSocket(new Socket(source).connect({ host, port, lookup, ...SOON } as net.SocketConnectOpts)),
  },
  HttpAgent: {
    web: true,
    opens: (options) => {
      const agent = track(new HttpAgent(SOON as object));
      return ofRequest(http.get({ ...options, agent } as http.RequestOptions & { agent: HttpAgent }));
    },
  },
  HttpsAgent: {
    tls: true,
    opens: (options) => {
      const agent = track(new HttpsAgent(SOON as object));
      return ofRequest(https.get({ ...options, ...TLS, agent } as https.RequestOptions & { agent: HttpsAgent }));
    },
  },
};
for (const release of undicis) {
  entries[release] = { web: true, opens: ofUndici(release, 'http') };
  entries[`${release}, TLS`] = { tls: true, opens: ofUndici(release, 'https') };
}

async function serve({ web = false, tls = false }): Promise<void> {
  if (web || tls) {
    await webServer(SERVER, '::', { tls });
    return;
  }
  const server = track(
    net.createServer((socket) =>
      track(socket)
        .on('error', () => {})
        .pipe(socket),
    ),
  );
  server.listen(SERVER, '::');
  await once(server, 'listening');
}

const noConnections = () => !process.getActiveResourcesInfo().some((name) => /^TCP(SocketWrap|ConnectWrap)/.test(name));

const both = [
  [4, 6],
  [6, 4],
] as const;

describeSlow('a late first address connects', () => {
  describe.each(Object.entries(entries))('%s', (_entry, { web, tls, opens }) => {
    test.each(Object.entries(sources))('%s', async (_source, source) => {
      await serve({ ...(web && { web }), ...(tls && { tls }) });
      // What is opened once and for all, at the first connection.
      await opens({
        port: SERVER,
        host: 'test.example',
        ...source(),
        lookup: names(answers(4, 0)) as net.LookupFunction,
      });
      await until(noConnections);
      const before = descriptorCount();
      for (const [first, second] of both) {
        for (const other of [dead(second), unreachable(second), refuses(second, 10)]) {
          const options = { port: SERVER, host: 'test.example', ...source() };
          const late = answers(first, 100);
          const got = await opens({ ...options, ...SOON, lookup: names(late, other) as net.LookupFunction });
          expect(net.isIPv6(got) ? got.replace('::1:0:', '::1:') : got).toBe(late);
          const { localAddress: pool } = options as ConnectOptions;
          if (pool instanceof SourcePool) await until(() => pool.stats().inUse === 0);
        }
      }
      await until(noConnections);
      expect(descriptorCount()).toBe(before);
    });
  });
});

const plainOrPinned = [
  ['the kernel’s source', {}],
  ['a source', { localAddress: { ipv4: SOURCE4_2, ipv6: SOURCE6_2 } }],
] as const;

/** The events of a connect, and when they came. */
function follow(socket: net.Socket): [event: string, address: unknown, ms: number][] {
  const began = performance.now();
  const events: [string, unknown, number][] = [];
  for (const event of ['', 'Failed', 'Timeout']) {
    socket.on(`connectionAttempt${event}`, (address: string) => {
      events.push([`attempt${event}`, address, performance.now() - began]);
    });
  }
  for (const event of ['connect', 'error']) {
    socket.on(event, () => events.push([event, undefined, performance.now() - began]));
  }
  return events;
}

const open = (addresses: string[], options: object = {}) =>
  track(
    connect({
      host: 'test.example',
      port: SERVER,
      ...SOON,
      lookup: names(...addresses) as net.LookupFunction,
      ...options,
    }),
  );

const codes = ({ errors }: ConnectionError) =>
  (errors as ConnectionError[]).map(({ code, address }) => [code, address]);

describeSlow('every address fails', () => {
  describe.each(both)('IPv%s first', (first, second) => {
    test.each(plainOrPinned)('the error is core’s, with what has really happened: %s', async (_name, source) => {
      const [a, b, c] = [refuses(first, 150), unreachable(second), refuses(first, 60)];
      const socket = open([a, b, c], source);
      const events = follow(socket);
      const error = await failure(socket);
      await closed(socket);
      expect(error).toBeInstanceOf(AggregateError);
      expect(error.code).toBe('ECONNREFUSED');
      expect(codes(error)).toEqual([
        ['ECONNREFUSED', a],
        ['ENETUNREACH', b],
        ['ECONNREFUSED', c],
      ]);
      expect(events.map(([event, address]) => [event, address])).toEqual([
        ['attempt', a],
        ['attemptTimeout', a],
        ['attempt', b],
        ['attemptFailed', b],
        ['attempt', c],
        ['attemptFailed', c],
        ['attemptFailed', a],
        ['error', undefined],
      ]);
    });

    test('the first has failed before the last', async () => {
      const [a, b] = [refuses(first, 40), refuses(second, 120)];
      const error = await failure(open([a, b]));
      expect(codes(error)).toEqual([
        ['ECONNREFUSED', a],
        ['ECONNREFUSED', b],
      ]);
      expect([error.code, error.message]).toEqual(['ECONNREFUSED', '']);
    });

    test('a dead address is given up 5 seconds after the last one has failed', async () => {
      const [a, b] = [dead(first), refuses(second, 50)];
      const socket = open([a, b]);
      const events = follow(socket);
      const error = await failure(socket);
      expect(codes(error)).toEqual([
        ['ETIMEDOUT', a],
        ['ECONNREFUSED', b],
      ]);
      expect(error.code).toBe('ETIMEDOUT');
      const at = (wanted: string) => events.find(([event]) => event === wanted)?.[2] ?? 0;
      const waited = at('error') - at('attemptFailed');
      expect(waited).toBeGreaterThan(4900);
      expect(waited).toBeLessThan(5000 + 500 * slowness);
    }, 20_000);
  });

  test('autoSelectFamilyOverlap: false is core’s sequence', async () => {
    await serve({});
    const [a, b] = [answers(4, 100), unreachable(6)];
    for (const socket of [
      open([a, b], { autoSelectFamilyOverlap: false }),
      track(new Socket({ autoSelectFamilyOverlap: false })).connect({
        host: 'test.example',
        port: SERVER,
        ...SOON,
        lookup: names(a, b) as net.LookupFunction,
      } as net.SocketConnectOpts),
    ]) {
      expect(codes(await failure(socket))).toEqual([
        ['ETIMEDOUT', a],
        ['ENETUNREACH', b],
      ]);
    }
    const agent = track(new HttpAgent({ autoSelectFamilyOverlap: false, ...SOON }));
    const request = http.get({ host: 'test.example', port: SERVER, lookup: names(a, b) as net.LookupFunction, agent });
    const [error] = (await once(request, 'error')) as [ConnectionError];
    expect(error.code).toBe('ETIMEDOUT');
  });
});
