// connectx/metrics with prom-client.
import { once } from 'node:events';
import { connect, connectUdp, connectUdpSync, SourcePool } from 'connectx';
import { collectConnects, collectPortUsage } from 'connectx/metrics';
import { Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { valueOf } from '../helpers/exporter.js';
import { SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { closed, connected, echoServer, errorOf, track } from '../helpers/sockets.js';
import { subscribersOf } from '../helpers/channels.js';

const [A, B, SOURCE] = ['127.0.0.2', '127.0.0.3', '127.0.0.1'] as const;
const to = (host: string) => connected(connect({ host, port: SERVER, localAddress: SOURCE }));

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function collect(options: Parameters<typeof collectConnects>[0] = {}): Registry {
  const register = new Registry();
  stops.push(collectConnects({ register, ...options }));
  return register;
}

describeIsolated('metrics', () => {
  useNetwork(smallNetwork);

  test('ports in use, up to a limit, and the sum of the rest', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const register = new Registry();
    collectPortUsage({ register, limit: 1 });
    const line = (text: string) => text.split('\n').filter((one) => one.startsWith('connectx_ports_used{'));
    const rest = async () => valueOf(await register.metrics(), 'connectx_ports_rest_used{protocol="tcp"}');
    expect(line(await register.metrics())).toEqual([]);
    const sockets = [await to(A), await to(A), await to(B)];
    expect(line(await register.metrics())).toEqual([expect.stringMatching(/remote_address="127\.0\.0\.2".*\} 2$/)]);
    expect(await rest()).toBe(1);
    for (const socket of sockets) {
      socket.resetAndDestroy();
      await once(socket, 'close');
    }
    expect(line(await register.metrics())).toEqual([]);
    expect(await rest()).toBe(0);
    expect(() => collectPortUsage({ register })).toThrow(/already been registered/);
    expect(() => collectPortUsage({ limit: 0 })).toThrow(TypeError);
  });

  test('connects by outcome and reason, each once, and the time of those that connected', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const register = collect();
    const count = async (labels: string) => valueOf(await register.metrics(), `connectx_connects_total{${labels}}`);
    const outcome = (protocol: string, of: string, reason: string) =>
      count(`protocol="${protocol}",outcome="${of}",reason="${reason}"`);
    for (const host of [A, A, A, A, B]) await to(host);
    expect(await outcome('tcp', 'connected', '')).toBe(5);
    await errorOf(() => to(A));
    expect(await outcome('tcp', 'failed', 'ports-exhausted')).toBe(1);
    await errorOf(() => connected(connect({ host: B, port: 9 })));
    expect(await outcome('tcp', 'failed', 'ECONNREFUSED')).toBe(1);
    const controller = new AbortController();
    const aborted = connect({
      host: 'localhost',
      port: SERVER,
      signal: controller.signal,
      lookup: () => controller.abort(),
    });
    await errorOf(() => connected(aborted));
    expect(await outcome('tcp', 'aborted', 'ABORT_ERR')).toBe(1);
    const given = connect({ host: 'localhost', port: SERVER, lookup: () => {} });
    given.destroy();
    await closed(given);
    expect(await outcome('tcp', 'aborted', '')).toBe(1);
    // Within the call, and thrown by it.
    track(await connectUdp({ host: A, port: SERVER, localAddress: SOURCE, localPort: 30000 }));
    track(connectUdpSync({ host: B, port: SERVER, localAddress: SOURCE, localPort: 30000 }));
    expect(await outcome('udp', 'connected', '')).toBe(2);
    expect(() => connectUdpSync({ host: A, port: SERVER, localAddress: SOURCE, localPort: 30000 })).toThrow();
    await errorOf(() => connectUdp({ host: A, port: SERVER, localAddress: SOURCE, localPort: 30000 }));
    expect(await outcome('udp', 'failed', 'tuple-in-use')).toBe(2);
    expect(valueOf(await register.metrics(), 'connectx_connect_duration_seconds_count{protocol="tcp"}')).toBe(5);
    expect(valueOf(await register.metrics(), 'connectx_connect_duration_seconds_count{protocol="udp"}')).toBe(2);
    const sum = valueOf(await register.metrics(), 'connectx_connect_duration_seconds_sum{protocol="tcp"}') ?? NaN;
    expect(sum > 0 && sum < 60).toBe(true);
  });

  test('reasons of others are bounded', async () => {
    const register = collect();
    for (let n = 0; n < 100; n++) {
      const lookup = (_host: string, _options: unknown, callback: (error: Error) => void) =>
        callback(Object.assign(new Error('no'), { code: `E${n}` }));
      await errorOf(() => connected(connect({ host: 'name', port: 1, lookup: lookup as never })));
    }
    const series = (await register.metrics()).match(/^connectx_connects_total\{/gm) ?? [];
    // 64 reasons, the others as one, and the four that are there from the beginning.
    expect(series.length).toBe(69);
    expect(await register.metrics()).toContain('reason="other"} 36\n');
  });

  test('pools: what each source holds, and how often it had no port', async () => {
    await echoServer(SERVER, '0.0.0.0');
    const pool = new SourcePool([SOURCE, '127.0.0.9']);
    const other = new SourcePool([SOURCE]);
    const register = collect({ pools: [pool, other] });
    const through = (localAddress: SourcePool) => connected(connect({ host: A, port: SERVER, localAddress }));
    const first = await through(other);
    for (let n = 0; n < 7; n++) await through(pool);
    const inUse = async (source: string) =>
      valueOf(await register.metrics(), `connectx_pool_in_use{source="${source}"}`);
    expect([await inUse(SOURCE), await inUse('127.0.0.9')]).toEqual([4, 4]);
    await errorOf(() => through(pool));
    expect(valueOf(await register.metrics(), `connectx_pool_exhausted_total{source="${SOURCE}"}`)).toBeGreaterThan(0);
    first.resetAndDestroy();
    await closed(first);
    expect(await inUse(SOURCE)).toBe(3);
    expect(() => collectConnects({ register: new Registry(), pools: ['127.0.0.1'] as never })).toThrow(TypeError);
    expect(() => collectConnects({ register: new Registry(), pools: pool as never })).toThrow(TypeError);
    expect(() => collectConnects({ register })).toThrow(/already been registered/);
  });

  test('listeners in the way', async () => {
    await echoServer(20001, SOURCE);
    const register = collect();
    expect(valueOf(await register.metrics(), 'connectx_listener_conflicts{protocol="tcp"}')).toBe(1);
  });

  test('nobody listens before it is called, nor after it was ended', async () => {
    expect(subscribersOf('tracing:connectx:connect')).toBe(0);
    const register = new Registry();
    const stop = collectConnects({ register });
    expect(subscribersOf('tracing:connectx:connect')).toBe(3);
    stop();
    expect(subscribersOf('tracing:connectx:connect')).toBe(0);
    await echoServer(SERVER, '0.0.0.0');
    await to(A);
    expect(await register.metrics()).not.toContain('outcome="connected"');
  });
});
