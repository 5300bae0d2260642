// net.connect() and connectx.connect() side by side: the ways to call it, and connections that are made.
import * as net from 'node:net';
import { expect, test } from 'vitest';
import { Socket } from 'connectx';
import { socket as descriptor, constants } from 'connectx/sys';
import { describeIsolated } from '../helpers/netns.js';
import {
  CLOSED,
  close,
  greet,
  mine,
  names,
  parity,
  record,
  SERVER,
  serve,
  useParityNetwork,
} from '../helpers/parity.js';
import { connected, fdOf, track } from '../helpers/sockets.js';

const GREETED = 'connectionAttempt connect ready data end close';
const FOUND = `lookup ${GREETED}`;

describeIsolated('connections that are made', () => {
  useParityNetwork();

  parity(
    'to an IPv4 literal',
    { reaches: GREETED, server: greet, sources: [{}, { localAddress: '127.0.0.1' }] },
    (side) => {
      const socket = side.to({ host: '127.0.0.1', port: SERVER });
      side.note('returned', socket);
      socket.resume();
    },
  );

  parity('to an IPv6 literal', { reaches: GREETED, server: greet, sources: [{}, { localAddress: '::1' }] }, (side) => {
    side.to({ host: '::1', port: SERVER }).resume();
  });

  parity(
    'to an IPv4-mapped literal',
    { reaches: GREETED, server: greet, sources: [{}, { localAddress: '127.0.0.1' }] },
    (side) => {
      side.to({ host: '::ffff:127.0.0.1', port: SERVER }).resume();
    },
  );

  parity('to a name that dns.lookup knows', { reaches: FOUND, server: greet }, (side) => {
    side.to({ host: 'localhost', port: SERVER }).resume();
  });

  parity('with no host', { reaches: FOUND, server: greet }, (side) => {
    side.to({ port: SERVER }).resume();
  });

  parity('to a name with one address', { reaches: FOUND, server: greet }, (side) => {
    side.to({ host: 'one.example', port: SERVER, lookup: names('127.0.0.1') }).resume();
  });

  parity('to a name that is looked up at once', { reaches: FOUND, server: greet }, (side) => {
    const lookup = (_host: string, { all }: { all?: boolean }, done: (...answer: unknown[]) => void) => {
      if (all) done(null, [{ address: '127.0.0.1', family: 4 }]);
      else done(null, '127.0.0.1', 4);
    };
    const socket = side.to({ host: 'one.example', port: SERVER, lookup });
    side.note('returned', socket);
    socket.resume();
  });

  for (const autoSelectFamily of [true, false]) {
    parity(
      `the lookup is asked the same, autoSelectFamily ${autoSelectFamily}`,
      { reaches: 'lookup() connect' },
      async (side) => {
        for (const family of [undefined, 0, 4, 6]) {
          const lookup = (host: string, options: object, done: (...answer: unknown[]) => void) => {
            side.note('lookup()', undefined, host, options);
            names(family === 6 ? '::1' : '127.0.0.1')(host, options, done);
          };
          const options = { host: 'one.example', port: SERVER, family, hints: 0, autoSelectFamily, lookup };
          const socket = side.to(options, () => socket.destroy());
          await close(socket);
        }
      },
    );
  }

  parity(
    'family: 4 and family: 6, by dns.lookup',
    { reaches: 'lookup connect close lookup connect close' },
    async (side) => {
      for (const family of [4, 6]) {
        const host = family === 4 ? '127.0.0.1' : '::1';
        const lookup = names(host);
        const socket = side.to({ host: 'one.example', port: SERVER, family, lookup }, () => socket.destroy());
        await close(socket);
      }
    },
  );

  parity('a port as a string', { reaches: GREETED, server: greet }, (side) => {
    side.to({ host: '127.0.0.1', port: `${SERVER}` }).resume();
  });

  parity('the listener is called once, as a listener of connect', { reaches: 'connect listener' }, (side) => {
    const socket = side.to({ host: '127.0.0.1', port: SERVER }, function (this: unknown, ...args: unknown[]) {
      side.note('listener', socket, this === socket, args);
      socket.destroy();
    });
  });

  parity(
    'connect(port), connect(port, host), and with a listener',
    { reaches: 'connect', server: greet, sources: [{}] },
    async (side) => {
      for (const args of [[SERVER], [`${SERVER}`], [SERVER, '127.0.0.1'], [SERVER, undefined], [SERVER, '::1']]) {
        for (const listener of [[], [() => side.note('listener')]]) {
          await close(side.connect(...args, ...listener).resume());
        }
      }
    },
  );

  parity('new Socket().connect(), in every form', { reaches: 'connect', server: greet }, async (side) => {
    const options = { host: '127.0.0.1', port: SERVER };
    const forms = [[SERVER], [SERVER, '127.0.0.1'], [options]];
    for (const args of forms) {
      for (const listener of [[], [() => side.note('listener')]]) {
        const socket = side.socket();
        side.note('made', socket);
        const answer: unknown = Reflect.apply(socket.connect, socket, [...args, ...listener]);
        side.note('returned', socket, answer === socket);
        await close(socket.resume());
      }
    }
  });

  parity('the arguments as core hands them on', { reaches: 'connect', server: greet }, (side) => {
    const { _normalizeArgs: normalize } = net as unknown as { _normalizeArgs(args: unknown[]): unknown[] };
    const socket = side.socket();
    Reflect.apply(socket.connect, socket, [
      normalize([{ host: '127.0.0.1', port: SERVER }, () => side.note('listener')]),
    ]);
    socket.resume();
  });

  parity(
    'the same socket again after it has closed',
    { reaches: 'connect close returned connect close', server: greet },
    async (side) => {
      const options = { host: '127.0.0.1', port: SERVER };
      const socket = side.to(options).resume();
      await close(socket);
      for (const args of [[options], [SERVER, '::1']]) {
        Reflect.apply(socket.connect, socket, args);
        side.note('returned', socket);
        await close(socket.resume());
      }
    },
  );

  parity(
    'the same socket again after it was refused',
    { reaches: 'error close connect end close', server: greet },
    async (side) => {
      const socket = side.to({ host: '127.0.0.1', port: CLOSED }).on('error', () => {});
      await close(socket);
      socket.connect({ host: '127.0.0.1', port: SERVER }).resume();
      await close(socket);
    },
  );

  parity(
    'the same socket again and again from its own error listener',
    { reaches: 'error connectionAttempt error close', sources: [{}] },
    (side) => {
      let left = 2;
      const socket = side.to({ host: '127.0.0.1', port: CLOSED });
      socket.on('error', () => {});
      socket.on('close', () => {
        if (left-- > 0) socket.connect({ host: '127.0.0.1', port: left === 0 ? SERVER : CLOSED });
      });
      socket.on('connect', () => socket.destroy());
    },
  );

  parity('connect() twice: the second while the first is under way', { reaches: 'error close' }, (side) => {
    const options = { host: '127.0.0.1', port: SERVER };
    side
      .to(options)
      .on('error', () => {})
      .connect(options);
  });

  parity('connect() on a connected socket', { reaches: 'connect connectionAttempt connect close' }, (side) => {
    const options = { host: '127.0.0.1', port: SERVER };
    const socket = side.to(options, () => {
      // Core asks the kernel again, and is content with EISCONN.
      socket.connect(options, () => socket.destroy());
    });
  });

  parity('options on the prototype', { reaches: GREETED, server: greet }, (side) => {
    class Options {
      get host() {
        return '127.0.0.1';
      }
      get port() {
        return SERVER;
      }
      get timeout() {
        return 5000;
      }
      get allowHalfOpen() {
        return true;
      }
    }
    const options = Object.assign(new Options(), side.source);
    side
      .connect(options)
      .resume()
      .on('end', function (this: net.Socket) {
        this.destroy();
      });
  });

  parity(
    'options without a prototype, and frozen ones',
    { reaches: `${GREETED} ${GREETED}`, server: greet },
    async (side) => {
      const options = { host: '127.0.0.1', port: SERVER, ...side.source };
      await close(side.connect(Object.assign(Object.create(null) as object, options)).resume());
      await close(side.connect(Object.freeze(options)).resume());
    },
  );

  test('new Socket() with what core also takes', async () => {
    await serve(greet);
    for (const nothing of [undefined, null]) {
      await connected(new Socket(nothing as undefined).connect(SERVER, '127.0.0.1'));
    }
    const fd = descriptor(constants.AF_INET, constants.SOCK_STREAM);
    const socket = await connected(new Socket(fd as unknown as object).connect(SERVER, '127.0.0.1'));
    expect(fdOf(socket)).toBe(fd);
  });

  test('the options are left as they were', async () => {
    await serve(greet);
    const options = { host: 'one.example', port: SERVER, lookup: names('127.0.0.1'), localAddress: '127.0.0.1' };
    const before = { ...options };
    await record(mine({}), (side) => void side.connect(options).resume());
    expect(options).toEqual(before);
  });

  parity(
    'an adopted descriptor that is connected',
    { reaches: 'made data end close', server: greet, sources: [{}] },
    async (side) => {
      const { _handle: handle } = track(net.connect(SERVER, '127.0.0.1')) as unknown as { _handle: object };
      await new Promise(setImmediate);
      const socket = side.socket({ handle });
      side.note('made', socket);
      socket.resume();
    },
  );

  parity(
    'an adopted descriptor that is yet to be connected',
    { reaches: 'connect data end close', server: greet, sources: [{}] },
    (side) => {
      const fd = descriptor(constants.AF_INET, constants.SOCK_STREAM);
      side.socket({ fd }).connect(SERVER, '127.0.0.1').resume();
    },
  );
});
