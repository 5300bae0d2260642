// What a socket keeps when it gets the handle of an earlier attempt, and how a race ends.
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import * as net from 'node:net';
import { type ConnectTrace, type ConnectOptions, connect } from 'connectx';
import { describe, expect, test } from 'vitest';
import { load } from '../helpers/fallback.js';
import { names } from '../helpers/parity.js';
import {
  answers,
  dead,
  describeSlow,
  refuses,
  SERVER,
  SOURCE4_2,
  SOURCE6_2,
  unreachable,
} from '../helpers/slow-network.js';
import { closed, connected, type ConnectionError, echoServer, failure, track, until } from '../helpers/sockets.js';

const SOON = { autoSelectFamilyAttemptTimeout: 20 };
const lookup = (...addresses: string[]) => names(...addresses) as net.LookupFunction;

const packages = { 'with the addon': load(undefined), 'without the addon': load('1') };

describe.each(Object.entries(packages))('%s', (which, { connect: open }) => {
  const race = (addresses: string[], options: Partial<ConnectOptions> = {}) =>
    track(open({ host: 'test.example', port: SERVER, lookup: lookup(...addresses), ...SOON, ...options }));
  const LATE = [answers(4, 100), dead(6)];

  describeSlow('a socket whose first attempt wins', () => {
    test('has the source of that attempt', async () => {
      await echoServer(SERVER, '::');
      const localAddress = { ipv4: SOURCE4_2, ipv6: SOURCE6_2 };
      const socket = await connected(race(LATE, { localAddress }));
      expect([socket.localAddress, socket.remoteAddress]).toEqual([SOURCE4_2, LATE[0]]);
      expect(Object.getOwnPropertyNames(socket)).not.toContain('connect');
    });

    test.each(['a buffer', 'a function'])('reads into %s of onread', async (kind) => {
      await echoServer(SERVER, '::');
      let text = '';
      const onread = {
        buffer: kind === 'a buffer' ? Buffer.alloc(64) : () => Buffer.alloc(64),
        callback: (length: number, buffer: Uint8Array) => {
          text += Buffer.from(buffer.subarray(0, length)).toString();
          return true;
        },
      };
      const socket = await connected(race(LATE, { onread }));
      for (const word of ['first', ' second', ' third']) {
        const before = text;
        socket.write(word);
        await until(
          () => text === before + word,
          () => text,
        );
      }
    });

    test('sends what was written and ended before', async () => {
      await echoServer(SERVER, '::');
      const socket = race(LATE);
      let text = '';
      socket.on('data', (data) => (text += String(data)));
      socket.write('early, ');
      socket.on('connectionAttempt', (address) => {
        if (address === LATE[1]) socket.end('late');
      });
      await once(socket, 'end');
      expect(text).toBe('early, late');
    });

    const isReferenced = (socket: net.Socket) =>
      (socket as unknown as { _handle: { hasRef(): boolean } })._handle.hasRef();

    test.each(['connectionAttempt', 'connectionAttemptTimeout', 'call', 'turn'])(
      'is unreferenced: %s',
      async (when) => {
        await echoServer(SERVER, '::');
        for (const addresses of [LATE, [dead(6), answers(4, 10)], [dead(6), refuses(4, 10), answers(6, 150)]]) {
          const socket = race(addresses);
          if (when === 'call') socket.unref();
          else if (when === 'turn') socket.once('connectionAttemptTimeout', () => setImmediate(() => socket.unref()));
          else socket.once(when, () => socket.unref());
          expect(isReferenced(await connected(socket))).toBe(false);
        }
        const socket = race(LATE).unref();
        socket.once('connectionAttemptTimeout', () => setImmediate(() => socket.ref()));
        expect(isReferenced(await connected(socket))).toBe(true);
      },
    );

    test('timeout is for the socket', async () => {
      const socket = race([dead(4), dead(6)], { timeout: 60 });
      await once(socket, 'timeout');
      socket.destroy();
      await closed(socket);
    });

    // Node 20 has no block lists for attempts.
    const hasBlockLists = Number(process.versions.node.split('.')[0]) >= 22;

    test.each(hasBlockLists ? ['last', 'in the middle'] : [])('an address is blocked: %s', async (where) => {
      await echoServer(SERVER, '::');
      const blocked = answers(6, 0);
      const blockList = new net.BlockList();
      blockList.addAddress(blocked, 'ipv6');
      const addresses = [answers(4, 100), blocked, ...(where === 'last' ? [] : [dead(4)])];
      const socket = race(addresses, { blockList } as object);
      const failed = once(socket, 'connectionAttemptFailed');
      const [, , , error] = (await failed) as [string, number, number, ConnectionError];
      expect(error.code).toBe('ERR_IP_BLOCKED');
      expect((await connected(socket)).remoteAddress).toBe(answers(4, 100));
      const all = await failure(race([refuses(4, 60), blocked], { blockList } as object));
      expect((all.errors as ConnectionError[]).map(({ code }) => code)).toEqual(['ECONNREFUSED', 'ERR_IP_BLOCKED']);
    });

    test('every address fails', async () => {
      const [a, b] = [refuses(6, 60), unreachable(4)];
      const error = await failure(race([a, b]));
      expect((error.errors as ConnectionError[]).map(({ code, address }) => [code, address])).toEqual([
        ['ECONNREFUSED', a],
        ['ENETUNREACH', b],
      ]);
    });

    test('an AggregateError of the program’s ends it at once', async () => {
      const socket = race([dead(4), dead(6)]);
      await once(socket, 'connectionAttemptTimeout');
      const mine = new AggregateError([new Error('one'), new Error('two')]);
      const ended = failure(socket);
      socket.destroy(mine);
      expect(await ended).toBe(mine);
    });

    test('localPort: a race with the addon, core’s sequence without', async () => {
      await echoServer(SERVER, '::');
      const socket = race([answers(4, 100), unreachable(6)], { localPort: 20_123 });
      if (which === 'with the addon') expect((await connected(socket)).localPort).toBe(20_123);
      else expect((await failure(socket)).code).toBe('ETIMEDOUT');
    });
  });
});

describeSlow('races', () => {
  test('the trace has every attempt, and the source of the one that won', async () => {
    await echoServer(SERVER, '::');
    const channel = tracingChannel<'connectx:connect', ConnectTrace>('connectx:connect');
    const traces: ConnectTrace[] = [];
    const subscriber = { start: () => {}, end: () => {}, asyncStart: () => {}, error: () => {} };
    const all = { ...subscriber, asyncEnd: (trace: ConnectTrace) => void traces.push(trace) };
    channel.subscribe(all);
    try {
      const localAddress = { ipv4: SOURCE4_2, ipv6: SOURCE6_2 };
      const addresses = [answers(4, 100), dead(6)];
      await connected(
        connect({ host: 'test.example', port: SERVER, lookup: lookup(...addresses), ...SOON, localAddress }),
      );
      expect(traces).toMatchObject([
        {
          source: { address: SOURCE4_2 },
          destination: { address: addresses[0] },
          technique: 'assign',
          attempts: addresses.map((address) => ({ destination: { address } })),
        },
      ]);
    } finally {
      channel.unsubscribe(all);
    }
  });
});
