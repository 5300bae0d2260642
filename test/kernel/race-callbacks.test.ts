// What a program does to a socket in each of its events, while several attempts are under way: the process lives, the socket ends or connects,
// and neither a descriptor nor a lease is left.
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { connect, type ConnectOptions, SourcePool } from 'connectx';
import { HttpsAgent } from 'connectx/http';
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
import { descriptorCount, slowness, track, until } from '../helpers/sockets.js';
import { pem } from '../helpers/web.js';

const EVENTS = [
  ...['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connectionAttemptTimeout', 'connect', 'ready'],
  ...['timeout', 'error', 'close'],
];

const again = { host: 'other.example', lookup: names(answers(4, 40), answers(6, 10)) as net.LookupFunction };
const SOON = { autoSelectFamilyAttemptTimeout: 20 };

type Deed = (socket: net.Socket, controller: AbortController) => unknown;

const deeds: Record<string, Deed> = {
  'destroy()': (socket) => socket.destroy(),
  'destroy(error)': (socket) => socket.destroy(new Error('mine')),
  'destroy(AggregateError)': (socket) => socket.destroy(new AggregateError([new Error('mine'), new Error('too')])),
  'destroy() in the next tick': (socket) => process.nextTick(() => socket.destroy()),
  'destroy() in the next turn': (socket) => setImmediate(() => socket.destroy()),
  abort: (_socket, controller) => controller.abort(),
  'connect(address)': (socket) => socket.connect({ port: SERVER, host: answers(4, 10) }),
  'connect(name)': (socket) => socket.connect({ port: SERVER, ...SOON, ...again }),
  'destroy(), connect(name)': (socket) => socket.destroy().connect({ port: SERVER, ...SOON, ...again }),
  'end()': (socket) => socket.end(),
  'write()': (socket) => socket.write('hello'),
  'destroySoon()': (socket) => socket.destroySoon(),
  'setTimeout(), destroy()': (socket) => socket.setTimeout(15, () => socket.destroy()),
  'setTimeout()': (socket) => socket.setTimeout(5),
  'unref(), ref()': (socket) => socket.unref().ref(),
  'unref()': (socket) => socket.unref(),
  'setNoDelay(), setKeepAlive()': (socket) => socket.setNoDelay(true).setKeepAlive(true, 1000),
  'pause()': (socket) => socket.pause(),
  'resetAndDestroy()': (socket) => socket.resetAndDestroy(),
};

/** Deeds that core itself does not survive. */
function isDeadly(event: string, deed: string, isTls: boolean): boolean {
  // "Cannot read properties of null (reading 'connect')"
  if (event === 'connectionAttempt' && /^(destroy\(|abort)/.test(deed)) return !deed.includes('in the next');
  // A TLSSocket connects once; and cannot be reset.
  return isTls && /connect\(|resetAndDestroy/.test(deed);
}

const scenes: Record<string, string[]> = {
  'late, dead': [answers(4, 80), dead(6)],
  'late, unreachable': [answers(6, 80), unreachable(4)],
  'late, refused': [answers(4, 80), refuses(6, 10)],
  'late, dead, refused, late': [answers(6, 90), dead(4), refuses(6, 10), answers(4, 300)],
  'all refuse': [refuses(6, 70), refuses(4, 10), refuses(6, 80)],
  'late refused, refused': [refuses(6, 100), refuses(4, 20)],
  'dead, answers': [dead(6), answers(4, 10)],
  'late refused, answers': [refuses(6, 40), answers(4, 60)],
  'two late': [answers(4, 80), answers(6, 60)],
};

interface Way {
  options(pool: SourcePool): object;
  open(options: ConnectOptions): net.Socket;
  isTls?: boolean;
}

const ways: Record<string, Way> = {
  'no source': { options: () => ({}), open: connect },
  'a pool': { options: (pool) => ({ localAddress: pool }), open: connect },
  // Outside of the ephemeral range: the attempts take turns.
  'a search': { options: (pool) => ({ localAddress: pool, localPortRange: [2000, 2999] }), open: connect },
  TLS: {
    options: (pool) => ({ localAddress: pool, ca: pem, servername: 'test.example' }),
    open: (options) => new HttpsAgent(SOON).createConnection(options),
    isTls: true,
  },
};

/** All of them with a pool; these with every source. */
const some = /^(late, unreachable|late refused, refused|late, dead, refused, late)$/;

const AT_ONCE = 100;

describeSlow('in each event of a race', () => {
  describe.each(Object.entries(ways))('%s', (way, { options, open, isTls = false }) => {
    const own = Object.entries(scenes).filter(([scene]) => way === 'a pool' || some.test(scene));

    test.each(own)(
      '%s',
      async (_scene, addresses) => {
        const server = track(
          isTls ? tls.createServer({ key: pem, cert: pem }) : net.createServer({ allowHalfOpen: false }),
        );
        // The network ends with the test, and with it what was still on its way: nobody but this would close them.
        server.on('connection', track);
        server.on(isTls ? 'secureConnection' : 'connection', (socket: net.Socket) =>
          socket.on('error', () => {}).pipe(socket),
        );
        server.on('tlsClientError', () => {});
        server.listen(SERVER, '::');
        await once(server, 'listening');
        const uncaught: unknown[] = [];
        const caught = (error: unknown) => uncaught.push(error);
        const others = process.listeners('uncaughtException');
        process.removeAllListeners('uncaughtException').on('uncaughtException', caught);
        try {
          const pool = new SourcePool([SOURCE4, SOURCE4_2, SOURCE6, SOURCE6_2]);
          const one = async (event: string, nth: number, name: string): Promise<string | undefined> => {
            const controller = new AbortController();
            const socket = open({
              host: 'test.example',
              port: SERVER,
              lookup: names(...addresses) as net.LookupFunction,
              signal: controller.signal,
              ...SOON,
              ...options(pool),
            });
            const seen: string[] = [];
            let isDone = event === 'call';
            if (isDone) deeds[name]?.(socket, controller);
            socket.on('error', () => {});
            for (const heard of EVENTS) {
              let times = 0;
              socket.on(heard, () => {
                seen.push(heard);
                if (heard !== event || isDone || times++ !== nth) return;
                isDone = true;
                seen.push(`> ${name}`);
                deeds[name]?.(socket, controller);
              });
            }
            socket.on('connect', () => setTimeout(() => socket.destroy(), 10));
            const isOver = () => socket.destroyed || !socket.connecting;
            // Nothing here takes longer than the latest answer, and a machine that is busy.
            for (let n = 0; n < 100 * slowness && !isOver(); n++)
              await new Promise((resolve) => setTimeout(resolve, 30));
            const left = isOver() ? undefined : `${name} in ${event}: ${seen.join(', ')}`;
            await new Promise((resolve) => setTimeout(resolve, 20));
            socket.destroy();
            return left;
          };
          const noConnections = () =>
            !process.getActiveResourcesInfo().some((name) => /^TCP(SocketWrap|ConnectWrap)/.test(name));
          await one('call', 0, 'pause()');
          await until(noConnections);
          const before = descriptorCount();
          const cases = ['call', ...EVENTS].flatMap((event) =>
            Object.keys(deeds)
              .filter((deed) => !isDeadly(event, deed, isTls))
              .flatMap((deed) => [0, ...(event === 'call' ? [] : [1])].map((nth) => [event, nth, deed] as const)),
          );
          const left: string[] = [];
          for (let begin = 0; begin < cases.length; begin += AT_ONCE) {
            const ended = await Promise.all(cases.slice(begin, begin + AT_ONCE).map((given) => one(...given)));
            left.push(...ended.filter((text) => text !== undefined));
          }
          await until(noConnections);
          expect({ left, uncaught, inUse: pool.stats().inUse, descriptors: descriptorCount() }).toEqual({
            left: [],
            uncaught: [],
            inUse: 0,
            descriptors: before,
          });
        } finally {
          process.removeListener('uncaughtException', caught);
          for (const other of others) process.on('uncaughtException', other);
        }
      },
      60_000 * slowness,
    );
  });
});
