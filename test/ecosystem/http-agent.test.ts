// HttpAgent and HttpsAgent beside core's agents: sources, pools of connections, queueing, time, errors.
import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import { ConnectxError, SourcePool } from 'connectx';
import { HttpAgent, HttpsAgent } from 'connectx/http';
import { expect, test } from 'vitest';
import { families, smallNetwork } from '../helpers/families.js';
import { CALLS, leavesNothing } from '../helpers/leaks.js';
import { describeIsolated, shell, sysctl, useNetwork } from '../helpers/netns.js';
import { errorOf, track, until } from '../helpers/sockets.js';
import { get, pem, webServer } from '../helpers/web.js';

const WEB = 8080;
const trusted = { ca: pem, servername: 'test.example' };

/** Both kinds, each with core's. */
const kinds = [
  { kind: 'HttpAgent', secure: false, Agent: HttpAgent, Core: http.Agent },
  { kind: 'HttpsAgent', secure: true, Agent: HttpsAgent, Core: https.Agent },
] as const;

const ended = (agent: http.Agent): http.Agent => track(agent);

for (const { kind, secure, Agent, Core } of kinds) {
  const options = secure ? trusted : {};
  const ask = (more: object) => get({ port: WEB, ...options, ...more }, secure);

  describeIsolated(kind, () => {
    useNetwork(smallNetwork);

    for (const { family, any, source, source2, remote, remote2, remote3 } of families) {
      test(`the source is the agent's, or the request's: ${family}`, async () => {
        await webServer(WEB, any, { tls: secure });
        const agent = ended(new Agent({ localAddress: source2 }));
        expect(await ask({ agent, host: remote })).toMatchObject({ address: source2 });
        expect(await ask({ agent, host: remote, localAddress: source })).toMatchObject({ address: source });
        expect(await ask({ agent, host: remote, localPort: 20002 })).toMatchObject({ address: source2, port: 20002 });
        const plain = ended(new Agent());
        expect(await ask({ agent: plain, host: remote, localAddress: source2 })).toMatchObject({ address: source2 });
        const localAddress = { ipv4: '127.0.0.14', ipv6: '2001:db8::14' };
        expect(await ask({ agent: plain, host: remote, localAddress })).toMatchObject({ address: source2 });
        const choose = ({ address }: { address: string }) => (address === remote ? source2 : source);
        expect(await ask({ agent: plain, host: remote, localAddress: choose })).toMatchObject({ address: source2 });
        expect(await ask({ agent: plain, host: remote2, localAddress: choose })).toMatchObject({ address: source });
      });

      // range of 4 ports: source --> remote, remote2, remote3, four times each
      test(`a source has more connections than there are ports: ${family}`, async () => {
        const web = await webServer(WEB, any, { tls: secure });
        const hosts = [remote, remote2, remote3].flatMap((host) => [host, host, host, host]);
        web.hold = hosts.length;
        const agent = ended(new Agent({ keepAlive: true, localAddress: source }));
        const seen = await Promise.all(hosts.map(async (host) => ask({ agent, host })));
        expect(new Set(seen.map(({ address }) => address))).toEqual(new Set([source]));
        expect(new Set(seen.map(({ connection }) => connection)).size).toBe(12);
        const refused = await errorOf(() => ask({ agent, host: remote, localPort: 20000 }));
        expect(refused).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'tuple-in-use' });
        // And the thirteenth, while the pool has no place for it.
        web.hold = Infinity;
        for (let n = 0; n < 4; n++) void ask({ agent, host: remote }).catch(() => {});
        const error = await errorOf(() => ask({ agent, host: remote }));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
        expect(error).toBeInstanceOf(ConnectxError);
      });

      test(`the control, core's agent: no more than there are ports: ${family}`, async () => {
        const web = await webServer(WEB, any, { tls: secure });
        const agent = ended(new Core({ keepAlive: true, localAddress: source }));
        web.hold = 4;
        await Promise.all([remote, remote, remote2, remote2].map(async (host) => ask({ agent, host })));
        web.hold = 0;
        // Free connections are not in the way of this destination.
        expect(await errorOf(() => ask({ agent, host: remote3 }))).toMatchObject({ code: 'EADDRINUSE' });
      });
    }

    test('a pool: source after source, and all of it is given back', async () => {
      const web = await webServer(WEB, '0.0.0.0', { tls: secure });
      const pool = new SourcePool(['127.0.0.11', '127.0.0.12', '127.0.0.13']);
      const agent = ended(new Agent({ keepAlive: true, localAddress: pool }));
      web.hold = 12;
      const seen = await Promise.all(Array.from({ length: 12 }, async () => ask({ agent, host: '127.0.0.2' })));
      expect(new Set(seen.map(({ address }) => address)).size).toBe(3);
      expect(pool.stats().inUse).toBe(12);
      web.hold = 0;
      // Free connections of this very pool are used again; another pool has none, and no port either.
      await ask({ agent, host: '127.0.0.2' });
      expect(pool.stats().inUse).toBe(12);
      const same = new SourcePool(['127.0.0.11', '127.0.0.12', '127.0.0.13']);
      const error = await errorOf(() => ask({ agent, host: '127.0.0.2', localAddress: same }));
      expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'pool-exhausted' });
      agent.destroy();
      await until(() => pool.stats().inUse === 0);
      expect(same.stats().inUse).toBe(0);
    });

    test('kept-alive connections are for equal sources only', async () => {
      await webServer(WEB, '0.0.0.0', { tls: secure });
      const agent = ended(new Agent({ keepAlive: true }));
      const first = () => '127.0.0.1';
      const second = () => '127.0.0.1';
      class Sources {
        ipv4 = '127.0.0.1';
      }
      const [one, other] = [new Sources(), new Sources()];
      const priority = (value: number | Uint8Array) => ({ socketOptions: [{ level: 1, name: 12, value }] });
      const sources: object[] = [
        {},
        { localAddress: '127.0.0.1' },
        { localAddress: '127.0.0.14' },
        { localAddress: { ipv4: '127.0.0.1' } },
        { localAddress: { ipv4: '127.0.0.1', ipv6: '::1' } },
        { localAddress: first },
        { localAddress: second },
        { localAddress: one },
        { localAddress: other },
        { localPortRange: [20000, 20003] },
        { localPortRange: [20000, 20002] },
        { interface: 'lo' },
        { mark: 1 },
        { mark: 2 },
        { freeBind: true },
        { transparent: true },
        priority(1),
        priority(2),
        priority(new Uint8Array([1, 0, 0, 0])),
        { localAddress: '127.0.0.14', localPort: 20001 },
        { localAddress: '127.0.0.14', localPort: 20002 },
      ];
      sysctl('ipv4.ip_local_port_range', '20000 20999');
      const used = async (source: object) => (await ask({ agent, host: '127.0.0.2', ...source })).connection;
      const connections: number[] = [];
      for (const source of sources) connections.push(await used(source));
      expect(new Set(connections).size).toBe(sources.length);
      // Every one of them is used again, also for a source that is merely equal.
      for (const [index, source] of sources.entries()) expect(await used({ ...source })).toBe(connections[index]);
      expect(await used({ localAddress: { ipv4: '127.0.0.1' } })).toBe(connections[3]);
      expect(await used(priority(Buffer.from([1, 0, 0, 0])))).toBe(connections[18]);
      expect(await used({ freeBind: false, localAddress: undefined })).toBe(connections[0]);
    });

    test('without a source, and with an address, the name is that of core', () => {
      const [mine, cores] = [new Agent(), new Core()];
      for (const given of [
        undefined,
        {},
        { host: 'example.org', port: 80 },
        { host: 'example.org', port: 80, localAddress: '192.0.2.7', family: 6 },
        { socketPath: '/run/x.sock', servername: 'x', ca: 'y' },
      ]) {
        expect(mine.getName(given)).toBe(cores.getName(given));
      }
    });

    test('requests queue for each source as for each host', async () => {
      const stories = [];
      for (const Kind of [Agent, Core]) {
        const web = await webServer(WEB, Kind === Agent ? '127.0.0.2' : '127.0.0.3', { tls: secure });
        const host = Kind === Agent ? '127.0.0.2' : '127.0.0.3';
        web.hold = 3;
        const agent = ended(new Kind({ keepAlive: true, maxSockets: 1, maxTotalSockets: 3 }));
        const sources = ['127.0.0.1', '127.0.0.1', '127.0.0.14', '127.0.0.15', '127.0.0.14'];
        const answers = sources.map(async (localAddress) => ask({ agent, host, localAddress }));
        const counts = () => ({
          open: Object.values(agent.sockets).map((sockets) => sockets?.length),
          waiting: Object.values(agent.requests).map((requests) => requests?.length),
        });
        const before = counts();
        await Promise.all([answers[0], answers[2], answers[3]]);
        web.hold = 0;
        // Those that have waited, once there is one to release the others.
        void ask({ agent, host, localAddress: '127.0.0.16' }).catch(() => {});
        const seen = await Promise.all(answers);
        const names = seen.map(({ address, connection }) => [address, connection]);
        stories.push({ before, names, connections: web.connections >= 3 });
      }
      expect(stories[0]).toEqual(stories[1]);
      expect(stories[0]).toMatchObject({ before: { open: [1, 1, 1], waiting: [1, 1] } });
    });

    test('errors have a reason, and nothing is left', async () => {
      const agent = ended(new Agent({ keepAlive: true }));
      const failing = [
        { localAddress: '198.51.100.1', code: 'EADDRNOTAVAIL', reason: 'address-not-local' },
        { localAddress: '::1', code: 'EINVAL' },
        { localAddress: () => undefined, code: 'EAFNOSUPPORT', reason: 'family-mismatch' },
        { localAddress: '127.0.0.1', code: 'ECONNREFUSED' },
      ];
      for (const { localAddress, code, reason } of failing) {
        const error = await errorOf(() => ask({ agent, host: '127.0.0.2', localAddress }));
        if (code === 'EINVAL') expect(error).toMatchObject({ code: 'EAFNOSUPPORT', reason: 'family-mismatch' });
        else expect(error).toMatchObject({ code, ...(reason && { reason }), address: '127.0.0.2', port: WEB });
      }
      const thrown = new Error('of the function');
      const choose = () => {
        throw thrown;
      };
      expect(await errorOf(() => ask({ agent, host: '127.0.0.2', localAddress: choose }))).toBe(thrown);
      await until(() => Object.keys({ ...agent.sockets, ...agent.freeSockets, ...agent.requests }).length === 0);
    });

    test('bad options throw at once', () => {
      expect(() => new Agent({ localAddress: 'nowhere' })).toThrow(
        expect.objectContaining({ code: 'ERR_INVALID_IP_ADDRESS' }),
      );
      // Also of a request that would have to wait.
      const agent = ended(new Agent({ maxTotalSockets: 1, localPortRange: [20000, 20001] }));
      const module = secure ? https : http;
      const request = (more: object) => () => module.get({ agent, port: WEB, host: '127.0.0.2', ...options, ...more });
      request({})().on('error', () => {});
      for (const [given, code] of [
        [{ localPort: 70000 }, 'ERR_SOCKET_BAD_PORT'],
        [{ localPort: 20000 }, 'ERR_INVALID_ARG_VALUE'],
        [{ localPortRange: [1] }, 'ERR_INVALID_ARG_VALUE'],
        [{ localAddress: 7 }, 'ERR_INVALID_ARG_TYPE'],
        [{ mark: 'x' }, 'ERR_INVALID_ARG_TYPE'],
      ] as const) {
        expect(request(given)).toThrow(expect.objectContaining({ code }));
      }
      expect(Object.keys(agent.requests)).toEqual([]);
    });

    test('a socket of the user has its own source', () => {
      const agent = new Agent({ localAddress: '127.0.0.1' });
      const socket = track(new net.Socket());
      const act = () => agent.createConnection({ host: '127.0.0.2', port: WEB, socket });
      expect(act).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }));
    });

    test('requests are aborted, and time out, as with core', async () => {
      // Each of them leaves a port in TIME-WAIT, of which core's agent has its share.
      sysctl('ipv4.ip_local_port_range', '20000 20999');
      const web = await webServer(WEB, '0.0.0.0', { tls: secure });
      web.hold = Infinity;
      const module = secure ? https : http;
      const stories = [];
      for (const Kind of [Agent, Core]) {
        const story: unknown[] = [];
        for (const how of ['abort', 'destroy', 'timeout', 'agent timeout', 'early abort'] as const) {
          const agent = ended(
            new Kind({ keepAlive: true, localAddress: '127.0.0.1', ...(how === 'agent timeout' && { timeout: 50 }) }),
          );
          const abort = new AbortController();
          const { signal } = abort;
          const timeout = how === 'timeout' ? { timeout: 50 } : {};
          const request = module.get({ agent, port: WEB, host: '127.0.0.2', signal, ...timeout, ...options });
          const error = new Promise((resolve) => request.once('error', resolve));
          if (how === 'early abort') abort.abort();
          else {
            if (how.endsWith('timeout')) {
              await once(request, 'timeout');
              story.push(request.socket?.timeout);
            } else {
              await until(() => web.open > 0);
            }
            if (how === 'abort') abort.abort();
            else request.destroy();
          }
          const { name, code, message } = (await error) as NodeJS.ErrnoException;
          await until(() => Object.keys(agent.sockets).length === 0);
          // When it was aborted early enough, newer Nodes keep the connection.
          agent.destroy();
          await until(() => web.open === 0);
          story.push([how, name, code, message, agent.requests]);
        }
        stories.push(story);
      }
      expect(stories[0]).toEqual(stories[1]);
    });

    test('a connection that has died is replaced', async () => {
      await webServer(WEB, '0.0.0.0', { tls: secure });
      const agent = ended(new Agent({ keepAlive: true, localAddress: '127.0.0.1' }));
      const { connection } = await ask({ agent, host: '127.0.0.2' });
      const [socket] = Object.values(agent.freeSockets)[0] ?? [];
      socket?.destroy();
      await until(() => Object.keys(agent.freeSockets).length === 0);
      const again = await ask({ agent, host: '127.0.0.2' });
      expect(again.connection).not.toBe(connection);
    });

    test('sockets are like those of core', async () => {
      await webServer(WEB, '0.0.0.0', { tls: secure });
      const looks = [];
      for (const Kind of [Agent, Core]) {
        const agent = ended(new Kind({ keepAlive: true, localAddress: '127.0.0.1', keepAliveMsecs: 5000 }));
        await ask({ agent, host: '127.0.0.2', highWaterMark: 4096 });
        await until(() => Object.keys(agent.freeSockets).length === 1);
        const [socket] = Object.values(agent.freeSockets)[0] ?? [];
        if (socket === undefined) throw new Error('there is no free connection');
        const listeners = socket.eventNames().map((name) => [name, socket.listenerCount(name)]);
        const { allowHalfOpen, timeout, writableHighWaterMark, localAddress } = socket;
        looks.push({
          kind: socket.constructor.name,
          keys: Object.keys(socket).sort(),
          listeners: listeners.sort(),
          ...{ allowHalfOpen, timeout, writableHighWaterMark, localAddress },
          tcp: shell('ss -Hto dst 127.0.0.2')
            .replace(/keepalive,[\d.]+(m?s)/, (timer) => (timer.includes('ms') ? 'seconds' : 'more'))
            .trim()
            .split(/\s+/)
            .slice(4),
        });
        agent.destroy();
        await until(() => shell('ss -Ht state established') === '');
      }
      expect(looks[0]).toEqual(looks[1]);
    });

    test(`nothing is left of ${CALLS} requests that fail`, async () => {
      const agent = ended(new Agent({ keepAlive: true, localAddress: '198.51.100.1' }));
      const context = secure ? { secureContext: (await import('node:tls')).createSecureContext({ ca: pem }) } : {};
      await leavesNothing(async () => errorOf(() => ask({ agent, host: '127.0.0.2', ...context })));
      expect(Object.keys({ ...agent.sockets, ...agent.freeSockets, ...agent.requests })).toEqual([]);
    });
  });
}
