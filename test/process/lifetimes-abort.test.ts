// An AbortSignal in every phase of a connection, beside core: the same events, the same error, nothing left open, and no listener left
// on the signal that core does not leave as well.
import { getEventListeners, once } from 'node:events';
import * as net from 'node:net';
import { connect, connectUdp, SourcePool, type UdpConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { closed, descriptorCount, echoServer, errorOf, track, until } from '../helpers/sockets.js';
import { closeNow, RawUdp } from '../helpers/udp.js';

type Open = (options: net.TcpNetConnectOpts) => net.Socket;
type Abort = (socket: net.Socket, abort: () => void) => void;

interface Ended {
  events: string[];
  destroyed: boolean;
  /** On the signal. */
  listeners: number;
}

const EVENTS = [
  'lookup',
  'connectionAttempt',
  'connectionAttemptFailed',
  'connect',
  'ready',
  'timeout',
  'error',
  'close',
];

/** When the signal is aborted. (Not within 'connectionAttempt': core throws a TypeError where a socket is destroyed there.) */
const phases: { phase: string; when: Abort }[] = [
  { phase: 'at once', when: (_, abort) => abort() },
  { phase: 'in the next tick', when: (_, abort) => process.nextTick(abort) },
  { phase: 'in the lookup', when: (socket, abort) => socket.once('lookup', abort) },
  {
    phase: 'while it connects',
    when: (socket, abort) => socket.once('connectionAttempt', () => process.nextTick(abort)),
  },
  {
    phase: 'in the second attempt',
    when: (socket, abort) =>
      socket.once('connectionAttemptFailed', () => socket.once('connectionAttempt', () => process.nextTick(abort))),
  },
  { phase: 'when it has connected', when: (socket, abort) => socket.once('connect', abort) },
  { phase: 'some time after', when: (socket, abort) => socket.once('connect', () => setTimeout(abort, 2)) },
];

async function run(open: Open, options: net.TcpNetConnectOpts, when: Abort): Promise<Ended> {
  const controller = new AbortController();
  const { signal } = controller;
  const socket = track(open({ ...options, signal }));
  const events: string[] = [];
  for (const name of EVENTS) {
    socket.on(name, (first: unknown) => {
      events.push(first instanceof Error ? `${name} ${first.name} ${(first as NodeJS.ErrnoException).code}` : name);
    });
  }
  when(socket, () => controller.abort());
  await closed(socket);
  // libuv closes a handle at the end of a turn, and core takes its listener away in a tick.
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  return { events, destroyed: socket.destroyed, listeners: getEventListeners(signal, 'abort').length };
}

describeIsolated('AbortSignal', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ version, any, source, remote, remote2 }) => {
    const lookup: net.LookupFunction = (_host, options, callback) => {
      // The first of them refuses, so that there is a second attempt.
      const addresses = [{ address: remote2, family: version }].concat({ address: remote, family: version });
      setImmediate(() => {
        if (options.all) callback(null, addresses);
        else callback(null, remote, version);
      });
    };
    const ours: { given: string; open: (pool: SourcePool) => Open }[] = [
      { given: 'a source', open: () => (options) => connect({ ...options, localAddress: source }) },
      {
        given: 'a source and a port',
        open: () => (options) => connect({ ...options, localAddress: source, localPort: 20001 }),
      },
      { given: 'a pool', open: (pool) => (options) => connect({ ...options, localAddress: pool }) },
    ];

    describe.each(ours)('TCP, $given', ({ open }) => {
      test.each(phases)('$phase', async ({ when }) => {
        await echoServer(SERVER, remote);
        const pool = new SourcePool([source]);
        const named = { host: 'server.test', port: SERVER, lookup, autoSelectFamilyAttemptTimeout: 2000 };
        // What is kept open to ask the kernel with.
        const first = connect({ host: remote, port: SERVER, localAddress: source, localPort: 20003 });
        await once(track(first), 'connect');
        first.resetAndDestroy();
        await closed(first);
        await run(open(pool), named, when);
        await until(() => pool.stats().inUse === 0);
        const before = descriptorCount();
        const core = await run((options) => net.connect(options), named, when);
        const mine = await run(open(pool), named, when);
        expect(core.events.at(-1)).toBe('close');
        expect(mine).toEqual(core);
        expect(pool.stats().inUse).toBe(0);
        await until(
          () => descriptorCount() <= before,
          () => `${descriptorCount()} descriptors where there were ${before}`,
        );
      });
    });

    // Core makes the connection all the same, and reports an error before that.
    test('TCP, aborted before: the events are those of core', async () => {
      await echoServer(SERVER, any);
      const seen: string[][] = [];
      for (const open of [net.connect, connect] as Open[]) {
        const socket = track(open({ host: remote, port: SERVER, signal: AbortSignal.abort() }));
        const events: string[] = [];
        for (const name of EVENTS) socket.on(name, () => events.push(name));
        await new Promise((resolve) => setTimeout(resolve, 50));
        seen.push(events);
      }
      expect(seen[1]).toEqual(seen[0]);
    });

    test.each([0, 1, 2, 3, 5, 8, 13, 21])(
      'UDP, with a name, aborted after %d microtasks: an AbortError or a socket, and the port is free',
      async (steps) => {
        const options = { host: 'server.test', port: SERVER, localAddress: source, localPort: 20001 };
        const controller = new AbortController();
        const found: unknown = (_host: string, _options: object, callback: (error: null, all: object[]) => void) =>
          callback(null, [{ address: remote, family: version }]);
        const attempt = connectUdp({
          ...options,
          lookup: found as UdpConnectOptions['lookup'],
          signal: controller.signal,
        });
        const outcome = attempt.then(
          (socket) => socket,
          (error: unknown) => error,
        );
        for (let step = 0; step < steps; step++) await Promise.resolve();
        controller.abort();
        const ended = await outcome;
        if (ended instanceof Error) expect(ended).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
        else await errorOf(async () => closeNow(await attempt));
        await until(() => getEventListeners(controller.signal, 'abort').length === 0);
        // Bound without SO_REUSEADDR: nobody else has it.
        new RawUdp(version, { bind: { address: source, port: 20001 } });
      },
    );
  });
});
