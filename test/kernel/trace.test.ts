// The tracing channel `connectx:connect`: what subscribers hear of each connect.
import { tracingChannel } from 'node:diagnostics_channel';
import type * as net from 'node:net';
import { connect, connectUdp, connectUdpSync, type ConnectTrace, Socket, SourcePool } from 'connectx';
import { HttpAgent } from 'connectx/http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { closed, connected, echoServer, errorOf, failure, track } from '../helpers/sockets.js';
import { keep } from '../helpers/udp.js';
import { get, webServer } from '../helpers/web.js';

const channel = tracingChannel<'connectx:connect', ConnectTrace>('connectx:connect');
const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;

let heard: { event: string; trace: ConnectTrace; then: ConnectTrace }[] = [];
const listeners = Object.fromEntries(
  // As it was then, too: the object fills.
  EVENTS.map((event) => [event, (trace: ConnectTrace) => heard.push({ event, trace, then: { ...trace } })]),
) as unknown as Parameters<typeof channel.subscribe>[0];

const events = () => heard.map(({ event }) => event);
const last = () => heard.at(-1)?.trace;

describeIsolated('connectx:connect', () => {
  useNetwork(smallNetwork);
  beforeEach(() => {
    heard = [];
    channel.subscribe(listeners);
  });
  afterEach(() => channel.unsubscribe(listeners));

  describe.each(families)('$family', ({ any, version, source, source2, remote }) => {
    const to = { host: remote, port: SERVER };
    const destination = { address: remote, port: SERVER, family: version };

    test.each([
      { given: {}, technique: 'assign' },
      { given: { localAddress: source2 }, technique: 'assign' },
      { given: { localAddress: source2, localPort: 20001 }, technique: hasPortRange() ? 'pin' : 'bind' },
      { given: { localAddress: source2, localPort: 30000 }, technique: 'bind' },
      { given: { localAddress: source2, localPortRange: [30000, 30001] as const }, technique: 'search' },
    ])('a connect with $given: $technique', async ({ given, technique }) => {
      await echoServer(SERVER, any);
      const socket = await connected(connect({ ...to, ...given }));
      expect(events()).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
      expect(new Set(heard.map(({ trace }) => trace)).size).toBe(1);
      expect(heard[0]?.then).toEqual({
        transport: 'tcp',
        host: remote,
        port: SERVER,
        source: undefined,
        destination: undefined,
        technique: undefined,
        attempts: [],
        error: undefined,
      });
      const { localAddress, localPort } = socket;
      expect(last()).toMatchObject({
        source: { address: localAddress, port: localPort },
        destination,
        technique,
        attempts: [{ destination, technique, reason: undefined }],
        error: undefined,
      });
    });

    test('a failure', async () => {
      const error = await failure(new Socket({ localAddress: '192.0.2.7' }).connect(SERVER, '127.0.0.2'));
      expect(events()).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
      expect(last()?.error).toBe(error);
      expect(last()).toMatchObject({
        source: undefined,
        attempts: [{ localAddress: '192.0.2.7', reason: 'address-not-local' }],
      });
    });

    test('a pool: the source that it came to', async () => {
      await echoServer(SERVER, any);
      const foreign = version === 4 ? '192.0.2.7' : '2001:db8:7::7';
      const pool = new SourcePool([foreign, source2], { strategy: (candidates) => candidates[0] });
      await connected(connect({ ...to, localAddress: pool }));
      expect(last()).toMatchObject({ source: { address: source2 }, attempts: [{ localAddress: source2 }] });
    });

    test('a connect that is given up', async () => {
      const socket = track(connect(to));
      socket.destroy();
      await closed(socket);
      expect(events()).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
      expect(last()).toMatchObject({ source: undefined, error: undefined });
    });

    test('an agent', async () => {
      await webServer(8080, any);
      const agent = track(new HttpAgent({ localAddress: source2 }));
      await get({ agent, host: remote, port: 8080 }, false);
      expect(events()).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
      expect(last()).toMatchObject({ transport: 'tcp', host: remote, port: 8080, source: { address: source2 } });
    });

    test('connectUdp', async () => {
      const socket = keep(await connectUdp({ ...to, localAddress: source }));
      expect(events()).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
      const { address, port } = socket.address();
      expect(last()).toEqual({
        transport: 'udp',
        host: remote,
        port: SERVER,
        source: { address, port },
        destination,
        technique: 'shared',
        attempts: [{ destination, localAddress: source, technique: 'shared', reason: undefined }],
        error: undefined,
      });
      heard = [];
      const error = await errorOf(() => connectUdp({ ...to, localAddress: source, localPort: port }));
      expect(events()).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
      expect(last()).toMatchObject({
        error,
        attempts: [{ destination, localAddress: source, reason: 'tuple-in-use' }],
      });
    });

    test('connectUdpSync', async () => {
      const socket = keep(connectUdpSync({ ...to, localAddress: source, exclusive: true }));
      expect(events()).toEqual(['start', 'end']);
      const { address, port: localPort } = socket.address();
      expect(last()).toMatchObject({ source: { address, port: localPort }, technique: 'exclusive' });
      heard = [];
      const error = await errorOf(() => connectUdpSync({ ...to, localAddress: source, localPort }));
      expect(events()).toEqual(['start', 'error', 'end']);
      expect(last()?.error).toBe(error);
    });
  });

  test('each address of a name', async () => {
    await echoServer(SERVER, '127.0.0.2');
    const lookup = ((_host, _options, callback) => {
      callback(null, [
        { address: '2001:db8::2', family: 6 },
        { address: '127.0.0.2', family: 4 },
      ]);
    }) as NonNullable<net.TcpNetConnectOpts['lookup']>;
    await connected(connect({ host: 'both.test', port: SERVER, lookup }));
    expect(last()).toMatchObject({
      host: 'both.test',
      destination: { address: '127.0.0.2' },
      attempts: [{ destination: { address: '2001:db8::2' } }, { destination: { address: '127.0.0.2' } }],
    });
  });

  test('what core throws of bad arguments', async () => {
    const error = await errorOf(() => connect({ host: '127.0.0.2', port: 70_000 }));
    expect(error).toMatchObject({ code: 'ERR_SOCKET_BAD_PORT' });
    expect(events()).toEqual(['start', 'error', 'end']);
    expect(last()?.error).toBe(error);
  });

  test('nobody listens: nothing is published, and nothing goes wrong', async () => {
    channel.unsubscribe(listeners);
    await echoServer(SERVER, '127.0.0.2');
    await connected(connect({ host: '127.0.0.2', port: SERVER }));
    keep(await connectUdp({ host: '127.0.0.2', port: SERVER }));
    expect(heard).toEqual([]);
  });
});
