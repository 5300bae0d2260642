// connectx/register with `assign`: connections that set no source get one, by their destination; all others stay as they are.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { connect, portSlice, SourcePool } from 'connectx';
import { HttpAgent } from 'connectx/http';
import { type Assignment, register } from 'connectx/register';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import {
  assertEcho,
  closed,
  connected,
  descriptorCount,
  echoServer,
  errorOf,
  exhaust,
  failure,
  track,
  until,
} from '../helpers/sockets.js';

const undone: (() => void)[] = [];
const assign = (...entries: Assignment[]) => {
  const undo = register({ assign: entries });
  undone.push(undo);
  return undo;
};
afterEach(() => {
  for (const undo of undone.splice(0)) undo();
});

const casts = families.map((cast) => ({
  ...cast,
  sources: cast.version === 4 ? ['127.0.0.11', '127.0.0.12'] : ['2001:db8::11', '2001:db8::12'],
  range: cast.version === 4 ? '127.0.0.11-127.0.0.12' : '2001:db8::11-2001:db8::12',
  block: cast.version === 4 ? '127.0.0.0/29' : '2001:db8::/125',
  foreign: cast.version === 4 ? '192.0.2.7' : '2001:db8:7::7',
  other: cast.version === 4 ? '::1' : '127.0.0.1',
}));

const network = { ...smallNetwork, addresses: [...(smallNetwork.addresses ?? []), '2001:db8::11', '2001:db8::12'] };

const from = (made: readonly net.Socket[]) => made.map(({ localAddress }) => localAddress).sort();
const twice = (sources: readonly string[]) => sources.flatMap((one) => [one, one, one, one]);

const pem = readFileSync(fixture('tls.pem'));

/** Ways to connect without a word of a source; they resolve with what the server sees, or reject. */
const programs: Record<string, (host: string) => Promise<string>> = {
  'net.connect(options)': async (host) => (await connected(net.connect({ host, port: SERVER }))).localAddress ?? '',
  'net.connect(port, host)': async (host) => (await connected(net.connect(SERVER, host))).localAddress ?? '',
  'new net.Socket().connect': async (host) =>
    (await connected(new net.Socket().connect({ port: SERVER, host }))).localAddress ?? '',
  'a class of its own': async (host) =>
    (await connected(new (class extends net.Socket {})().connect(SERVER, host))).localAddress ?? '',
};

describeIsolated('a connection that sets no source', () => {
  useNetwork(network);

  describe.each(casts)(
    '$family',
    ({ version, any, source, source2, sources, range, block, foreign, other, remote, remote2 }) => {
      describe.each(Object.entries(programs))('%s', (_name, open) => {
        beforeEach(async () => {
          await echoServer(SERVER, any);
        });

        test('control: the kernel chooses', async () => {
          const { made, error } = await exhaust(100, async () => open(remote));
          expect(made).toHaveLength(4);
          expect(made).not.toContain(sources[0]);
          expect(error).toMatchObject({ code: 'EADDRNOTAVAIL' });
        });

        test.each<[string, Assignment['source']]>([
          ['a list', sources.join(', ')],
          ['a range', range],
          ['a pool', new SourcePool(sources)],
          ['a function', () => sources],
          ['a key of a pool', new SourcePool(sources).sticky('me')],
        ])('has the ports of each source of %s', async (_what, given) => {
          assign({ source: given });
          const { made, error } = await exhaust(100, async () => open(remote));
          expect([...made].sort()).toEqual(twice(sources));
          expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'pool-exhausted', address: remote });
        });

        test('by destination, the first entry that has it', async () => {
          assign({ source, to: [remote2] }, { source: source2, to: [block] }, { source: sources[0] ?? '', to: [] });
          expect([await open(remote), await open(remote2)]).toEqual([source2, source]);
        });

        test('none for this destination: core’s', async () => {
          assign({ source: foreign, to: [remote2] });
          expect((await exhaust(100, async () => open(remote))).made).toHaveLength(4);
        });

        test.each<[string, Assignment['source']]>([
          ['an address', other],
          ['a pool', new SourcePool([other])],
          ['what a function gives', () => other],
          ['what a function gives as a list', () => [other]],
          ['a function that gives nothing', () => undefined],
        ])('of the other family only, %s: core’s', async (_what, given) => {
          assign({ source: given });
          expect(await open(remote)).not.toBe('');
        });
      });

      test('every destination of the other family: core’s', async () => {
        await echoServer(SERVER, any);
        // As a list for both families has it, ::/0 is all of IPv4, too.
        assign({ source: foreign, to: [version === 4 ? '::/0' : '0.0.0.0/0'] });
        await connected(net.connect({ host: remote, port: SERVER }));
      });

      test('an address that is not on this machine is an error, not another address', async () => {
        await echoServer(SERVER, any);
        assign({ source: foreign });
        const error = await failure(net.connect({ host: remote, port: SERVER }));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'pool-exhausted' });
        expect((error as unknown as AggregateError).errors).toMatchObject([{ reason: 'address-not-local' }]);
      });

      test('taken back: core’s', async () => {
        await echoServer(SERVER, any);
        const undo = assign({ source: source2 });
        expect((await connected(net.connect({ host: remote, port: SERVER }))).localAddress).toBe(source2);
        undo();
        expect((await connected(net.connect({ host: remote, port: SERVER }))).localAddress).not.toBe(source2);
      });

      test('a function is asked with the destination; what it throws is the error', async () => {
        await echoServer(SERVER, any);
        const asked: unknown[] = [];
        const thrown = new Error('mine');
        assign({
          source: (destination) => {
            asked.push({ ...destination });
            if (asked.length > 1) throw thrown;
            return source2;
          },
        });
        expect((await connected(net.connect({ host: remote, port: SERVER }))).localAddress).toBe(source2);
        expect(asked).toEqual([{ address: remote, port: SERVER, family: version }]);
        expect(await failure(net.connect({ host: remote, port: SERVER }))).toBe(thrown);
      });

      test('slices', async () => {
        await echoServer(SERVER, any);
        const ports = portSlice({ index: 1, of: 2 });
        assign({ source: new SourcePool([{ address: source2, ports }]) });
        const { made } = await exhaust(100, () => connected(net.connect({ host: remote, port: SERVER })));
        expect(made.map(({ localPort }) => localPort).sort()).toEqual([20002, 20003]);
      });

      test('leases end with the connections, and nothing is left over', async () => {
        await echoServer(SERVER, any);
        const pool = new SourcePool(sources);
        assign({ source: pool });
        const before = descriptorCount();
        const { made } = await exhaust(100, () => connected(net.connect({ host: remote, port: SERVER })));
        await assertEcho(made[0] as net.Socket);
        expect(pool.stats().inUse).toBe(8);
        for (const socket of made) socket.removeAllListeners().resetAndDestroy();
        await until(() => pool.stats().inUse === 0);
        await until(() => descriptorCount() === before);
      });

      test('what has a localAddress, a localPort or a path is left alone', async () => {
        await echoServer(SERVER, any);
        assign({ source: foreign });
        const end = { host: remote, port: SERVER };
        expect((await connected(net.connect({ ...end, localAddress: source2 }))).localAddress).toBe(source2);
        expect((await connected(net.connect({ ...end, localPort: 3000 }))).localPort).toBe(3000);
        const path = join(tmpdir(), `connectx-assign-${process.pid}-${version}.sock`);
        await once(track(net.createServer((peer) => track(peer))).listen(path), 'listening');
        await connected(net.connect(path));
        await connected(net.connect({ path }));
      });

      test('connectx’s own connect and agents are left alone', async () => {
        const seen: (string | undefined)[] = [];
        const server = track(
          http.createServer((request, response) => {
            seen.push(request.socket.remoteAddress);
            response.end();
          }),
        );
        server.on('connection', (socket) => track(socket));
        await once(server.listen(SERVER, any), 'listening');
        assign({ source: foreign });
        const own = await connected(connect({ host: remote, port: SERVER, localAddress: source2 }));
        expect(own.localAddress).toBe(source2);
        await connected(connect({ host: remote, port: SERVER }));
        for (const agent of [new HttpAgent({ localAddress: source2 }), new HttpAgent()]) {
          const [response] = (await once(http.get({ host: remote, port: SERVER, agent }), 'response')) as [
            http.IncomingMessage,
          ];
          response.resume();
          agent.destroy();
        }
        expect(seen[0]).toBe(source2);
        expect(seen).toHaveLength(2);
      });

      test('TLS, http and https', async () => {
        const servers = {
          tls: tls.createServer({ key: pem, cert: pem }, (socket) => socket.end(socket.remoteAddress ?? '')),
          http: http.createServer((request, response) => response.end(request.socket.remoteAddress)),
          https: https.createServer({ key: pem, cert: pem }, (request, response) =>
            response.end(request.socket.remoteAddress),
          ),
        };
        const ports: Record<string, number> = {};
        for (const [n, [name, server]] of Object.entries(servers).entries()) {
          ports[name] = SERVER + n;
          server.on('connection', (socket: net.Socket) => track(socket));
          await once(track(server).listen(SERVER + n, any), 'listening');
        }
        assign({ source: source2 });
        const read = async (stream: NodeJS.ReadableStream) => {
          let text = '';
          for await (const chunk of stream) text += String(chunk);
          return text;
        };
        const secure = tls.connect({ host: remote, port: ports.tls ?? 0, rejectUnauthorized: false });
        expect(await read(track(secure))).toBe(source2);
        for (const [name, get] of [
          ['http', http.get],
          ['https', https.get],
        ] as const) {
          const request = get({ host: remote, port: ports[name], agent: false, rejectUnauthorized: false } as object);
          const [response] = (await once(request, 'response')) as [http.IncomingMessage];
          expect(await read(response)).toBe(source2);
        }
      });

      test('a name: each attempt gets the source of its family', async () => {
        await echoServer(SERVER, any);
        const lookup: net.LookupFunction = (_host, _options, callback) =>
          process.nextTick(callback, null, [
            { address: version === 4 ? '2001:db8::3' : '127.0.0.3', family: version === 4 ? 6 : 4 },
            { address: remote, family: version },
          ]);
        assign({ source: source2 });
        const socket = net.connect({ host: 'some.example', port: SERVER, lookup, autoSelectFamily: true });
        await connected(socket);
        if (socket.remoteAddress === remote) expect(socket.localAddress).toBe(source2);
        else expect(any).toBe('::');
      });

      test.each(['destroy', 'abort'])('%s in a function', async (how) => {
        await echoServer(SERVER, any);
        const before = descriptorCount();
        const controller = new AbortController();
        assign({
          source: () => {
            if (how === 'destroy') socket.destroy();
            else controller.abort();
            return source2;
          },
        });
        const socket: net.Socket = net.connect({ host: remote, port: SERVER, signal: controller.signal });
        socket.on('error', () => {});
        await closed(socket);
        await until(() => descriptorCount() === before);
      });

      test('bad arguments are core’s, and leave nothing on the socket', async () => {
        assign({ source: source2 });
        const socket = new net.Socket();
        const error = await errorOf(() => socket.connect({ host: remote, port: 65536 }));
        expect(error).toMatchObject({ code: 'ERR_SOCKET_BAD_PORT' });
        expect([Object.hasOwn(socket, 'emit'), Object.hasOwn(socket, 'destroy')]).toEqual([false, false]);
      });

      test('a socket of a refused connection can connect again', async () => {
        assign({ source: source2 });
        const socket = new net.Socket();
        expect(await failure(socket.connect(SERVER, remote))).toMatchObject({ code: 'ECONNREFUSED' });
        await closed(socket);
        await echoServer(SERVER, any);
        await connected(socket.connect(SERVER, remote));
        expect(socket.localAddress).toBe(source2);
        expect(from([socket])).toEqual([source2]);
      });
    },
  );

  test.each<[unknown, string]>([
    [7, 'ERR_INVALID_ARG_TYPE'],
    [[7], 'ERR_INVALID_ARG_TYPE'],
    [[null], 'ERR_INVALID_ARG_TYPE'],
    [[{}], 'ERR_INVALID_ARG_TYPE'],
    [[{ source: 7 }], 'ERR_INVALID_ARG_TYPE'],
    [[{ source: '' }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: 'nonsense' }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: '127.0.0.9-127.0.0.2' }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: '127.0.0.9-::1' }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: '127.0.0.0/8-127.0.0.9' }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: '127.0.0.1', to: '127.0.0.1' }], 'ERR_INVALID_ARG_TYPE'],
    [[{ source: '127.0.0.1', to: [7] }], 'ERR_INVALID_ARG_TYPE'],
    [[{ source: '127.0.0.1', to: ['nonsense'] }], 'ERR_INVALID_ARG_VALUE'],
    [[{ source: '127.0.0.1', to: ['10.0.0.0/33'] }], 'ERR_INVALID_ARG_VALUE'],
  ])('assign: %j is wrong', async (entries, code) => {
    const error = await errorOf(() => register({ assign: entries as Assignment[] }));
    expect(error).toMatchObject({ code, message: expect.stringContaining('options.assign') });
  });
});
