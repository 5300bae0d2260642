// net.connect() and connectx.connect() side by side: connections that are not made, and sockets destroyed in every phase.
import * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';
import {
  CLOSED,
  close,
  DEAD4,
  DEAD6,
  greet,
  names,
  parity,
  SERVER,
  UNREACHABLE4,
  UNREACHABLE6,
  useParityNetwork,
} from '../helpers/parity.js';

type Lookup = (host: string, options: { all?: boolean }, done: (...answer: unknown[]) => void) => void;

const quiet = (): void => {};

/** To the server, by name or by address. */
const ways = [
  { way: 'an address', target: { host: '127.0.0.1', port: SERVER } },
  { way: 'a name', target: { host: 'one.example', port: SERVER, lookup: names('127.0.0.1') } },
  {
    way: 'a name with two addresses',
    target: { host: 'two.example', port: SERVER, lookup: names('::1', '127.0.0.1') },
  },
];

describeIsolated('connections that are not made', () => {
  useParityNetwork();

  for (const host of ['127.0.0.1', '::1']) {
    parity(`refused: ${host}`, { reaches: 'connectionAttempt connectionAttemptFailed error close' }, (side) => {
      side.to({ host, port: CLOSED }).on('error', quiet);
    });
  }

  for (const host of [UNREACHABLE4, UNREACHABLE6]) {
    parity(`unreachable: ${host}`, { reaches: 'connectionAttempt error close' }, (side) => {
      side.to({ host, port: SERVER }).on('error', quiet);
    });
  }

  parity('refused, by name', { reaches: 'lookup connectionAttempt connectionAttemptFailed error close' }, (side) => {
    side.to({ host: 'one.example', port: CLOSED, lookup: names('127.0.0.1') }).on('error', quiet);
  });

  parity('port 0', { reaches: 'connectionAttempt error close' }, (side) => {
    side.to({ host: '127.0.0.1', port: 0 }).on('error', quiet);
  });

  parity('an error that comes to nobody', { reaches: 'error close' }, async (side) => {
    const socket = side.to({ host: '127.0.0.1', port: CLOSED });
    socket.once('error', (error) => side.note('heard', socket, error === socket.errored));
    await close(socket);
    side.note('afterwards', socket);
  });

  const lookups: Record<string, Lookup> = {
    'an error': (_host, _options, done) => {
      const error = Object.assign(new Error('getaddrinfo ENOTFOUND no.example'), {
        code: 'ENOTFOUND',
        syscall: 'getaddrinfo',
      });
      setImmediate(done, error);
    },
    'an error at once': (_host, _options, done) => done(new Error('no')),
    'a name for an address': (_host, { all }, done) => {
      if (all) setImmediate(done, null, [{ address: 'still.a.name', family: 4 }]);
      else setImmediate(done, null, 'still.a.name', 4);
    },
    'a family that there is not': (_host, { all }, done) => {
      if (all) setImmediate(done, null, [{ address: '127.0.0.1', family: 5 }]);
      else setImmediate(done, null, '127.0.0.1', 5);
    },
    'no address beside a good one': (_host, { all }, done) => {
      const answer = [undefined, '', '127.0.0.1', '127.0.0.1'].map((address) => ({ address, family: 4 }));
      if (all) setImmediate(done, null, answer);
      else setImmediate(done, null, undefined, undefined);
    },
  };
  for (const [answer, lookup] of Object.entries(lookups)) {
    for (const autoSelectFamily of [true, false]) {
      const sources = [{}, { localAddress: '127.0.0.1' }];
      parity(
        `the lookup answers ${answer}, autoSelectFamily ${autoSelectFamily}`,
        { reaches: 'lookup close', sources },
        (side) => {
          const socket = side.to({ host: 'odd.example', port: SERVER, autoSelectFamily, lookup });
          socket.on('error', quiet).on('connect', () => socket.destroy());
        },
      );
    }
  }

  parity('the lookup throws', { reaches: 'thrown' }, (side) => {
    for (const autoSelectFamily of [true, false]) {
      const lookup = () => {
        throw new Error('from the lookup');
      };
      side.throws('thrown', () => side.to({ host: 'odd.example', port: SERVER, autoSelectFamily, lookup }));
    }
  });

  const blockList = new net.BlockList();
  blockList.addAddress('127.0.0.1');
  const blocks = Object.hasOwn(new net.Socket({ blockList } as net.SocketConstructorOpts), 'blockList');
  if (blocks) {
    for (const { way, target } of ways) {
      parity(`a block list, to ${way}`, { reaches: 'connectionAttempt close', server: greet }, (side) => {
        side
          .to({ ...target, blockList })
          .on('error', quiet)
          .resume();
      });
    }
  } else {
    test(`a block list is left to core, and Node ${process.versions.node} has none for sockets`, () => {
      expect(process.versions.node).toMatch(/^2[02]\./);
    });
  }

  parity('a Unix socket that is not there', { reaches: 'connectionAttempt error close', sources: [{}] }, (side) => {
    side.connect('/nowhere/connectx.sock').on('error', quiet);
    side.connect({ path: '/nowhere/connectx.sock' }).on('error', quiet);
  });
});

describeIsolated('aborted, timed out, destroyed', () => {
  useParityNetwork();

  const dead = { sources: [{}, { localAddress: { ipv4: '192.0.2.1', ipv6: '2001:db8:1::1' } }] };

  for (const host of [DEAD4, DEAD6]) {
    parity(
      `no answer from ${host}: the timeout option`,
      { ...dead, reaches: 'connectionAttempt timeout close' },
      (side) => {
        const socket = side.to({ host, port: SERVER, timeout: 15 });
        socket.on('timeout', () => socket.destroy());
      },
    );

    parity(
      `no answer from ${host}: setTimeout()`,
      { ...dead, reaches: 'connectionAttempt timeout set error close' },
      (side) => {
        const socket = side.to({ host, port: SERVER }).on('error', quiet);
        socket.setTimeout(15, () => {
          side.note('set', socket);
          socket.destroy(new Error('too late'));
        });
      },
    );

    parity(
      `no answer from ${host}: timeouts come again and again`,
      { ...dead, reaches: 'timeout timeout close' },
      (side) => {
        const socket = side.to({ host, port: SERVER, timeout: 5 });
        socket.once('timeout', () => socket.setTimeout(7, () => socket.destroy()));
      },
    );

    parity(`no answer from ${host}: aborted`, { ...dead, reaches: 'connectionAttempt error close' }, (side) => {
      const controller = new AbortController();
      const socket = side.to({ host, port: SERVER, signal: controller.signal }).on('error', quiet);
      socket.on('connectionAttempt', () => setImmediate(() => controller.abort()));
    });

    parity(
      `no answer from ${host}: written, ended and destroyed`,
      { ...dead, reaches: 'connectionAttempt close written' },
      (side) => {
        const socket = side.to({ host, port: SERVER });
        socket.write('hello', (error) => side.note('written', socket, error));
        socket.end((error?: Error) => side.note('ended', socket, error));
        socket.on('connectionAttempt', () => setImmediate(() => socket.destroy()));
      },
    );
  }

  for (const { way, target } of ways) {
    describe(`to ${way}`, () => {
      parity('aborted before', { reaches: 'error close' }, (side) => {
        side.to({ ...target, signal: AbortSignal.abort(new Error('never mind')) }).on('error', quiet);
      });

      parity('aborted at once', { reaches: 'error close' }, (side) => {
        const controller = new AbortController();
        side.to({ ...target, signal: controller.signal }).on('error', quiet);
        controller.abort();
      });

      for (const event of ['lookup', 'connectionAttempt', 'connect', 'ready', 'data']) {
        if (event === 'lookup' && way === 'an address') continue;

        parity(`aborted after ${event}`, { reaches: `${event} error close` }, (side) => {
          const controller = new AbortController();
          const socket = side.to({ ...target, signal: controller.signal }).on('error', quiet);
          socket.once(event, () => process.nextTick(() => controller.abort()));
          socket.write('hello');
          socket.resume();
        });

        parity(`destroyed after ${event}`, { reaches: `${event} close` }, (side) => {
          const socket = side.to(target);
          socket.once(event, () => process.nextTick(() => socket.destroy()));
          socket.write('hello', (error) => side.note('written', socket, error));
          socket.resume();
        });

        // In core too a socket must not be destroyed in this very listener.
        if (event === 'connectionAttempt') continue;

        parity(`destroyed in ${event}`, { reaches: `${event} close` }, (side) => {
          const socket = side.to(target);
          socket.once(event, () => socket.destroy());
          socket.write('hello', (error) => side.note('written', socket, error));
          socket.resume();
        });

        parity(`destroyed in ${event} with an error`, { reaches: `${event} error close` }, (side) => {
          const socket = side.to(target).on('error', quiet);
          socket.once(event, () => socket.destroy(new Error('mine')));
          socket.write('hello', (error) => side.note('written', socket, error));
          socket.resume();
        });
      }

      parity('destroyed at once', { reaches: 'returned close' }, (side) => {
        const socket = side.to(target);
        socket.destroy();
        side.note('returned', socket);
      });

      parity('destroyed at once with an error, and again', { reaches: 'error close' }, (side) => {
        const socket = side.to(target).on('error', quiet);
        socket.destroy(new Error('mine')).destroy(new Error('too late'));
      });

      parity('destroyed before it connects, and then connected', { reaches: 'connect close' }, (side) => {
        const socket = side.socket();
        socket.destroy();
        socket.connect(target as unknown as net.SocketConnectOpts, () => socket.destroy());
      });

      parity('destroySoon()', { reaches: 'close' }, (side) => side.to(target).destroySoon());

      parity(
        'resetAndDestroy() at once',
        { reaches: 'close' },
        (side) => void side.to(target).on('error', quiet).resetAndDestroy(),
      );

      parity('resetAndDestroy() when connected', { reaches: 'connect close' }, (side) => {
        const socket = side.to(target, () => socket.resetAndDestroy());
      });
    });
  }
});

describeIsolated('wrong arguments', () => {
  useParityNetwork();

  const host = '127.0.0.1';
  const wrong: Record<string, unknown[]> = {
    nothing: [],
    undefined: [undefined],
    null: [null],
    'a boolean': [true],
    'no port': [{ host }],
    'an array': [[SERVER, host]],
    'port -1': [{ host, port: -1 }],
    'port 65536': [{ host, port: 65536 }],
    'port 1.5': [{ host, port: 1.5 }],
    'port NaN': [NaN],
    'port ""': [{ host, port: '' }],
    'port "x"': [{ host, port: 'x' }],
    'port null': [{ host, port: null }],
    'port {}': [{ host, port: {} }],
    'a host that is a number': [{ host: 5, port: SERVER }],
    'a lookup that is no function': [{ host: 'x.example', port: SERVER, lookup: 'dns' }],
    'a lookup that is false': [{ host: 'x.example', port: SERVER, lookup: false }],
    'hints that there are not': [{ host: 'x.example', port: SERVER, hints: 0x7fff }],
    'a family that there is not': [{ host: 'x.example', port: SERVER, family: 7 }],
    'autoSelectFamily "yes"': [{ host, port: SERVER, autoSelectFamily: 'yes' }],
    'autoSelectFamilyAttemptTimeout 0': [{ host, port: SERVER, autoSelectFamilyAttemptTimeout: 0 }],
    'a path that is a number': [{ path: 5 }],
    'a timeout that is a string': [{ host, port: SERVER, timeout: 'soon' }],
    'a negative timeout': [{ host, port: SERVER, timeout: -1 }],
    'a signal that is none': [{ host, port: SERVER, signal: {} }],
    objectMode: [{ host, port: SERVER, objectMode: true }],
    readableObjectMode: [{ host, port: SERVER, readableObjectMode: true }],
    'keepAliveInitialDelay "1"': [{ host, port: SERVER, keepAliveInitialDelay: '1' }],
    'localAddress "x"': [{ host, port: SERVER, localAddress: 'x' }],
    'localPort "1"': [{ host, port: SERVER, localPort: '1' }],
    'a block list that is none': [{ host, port: SERVER, blockList: {} }],
    'fd -1': [{ host, port: SERVER, fd: -1 }],
    'fd "0"': [{ host, port: SERVER, fd: '0' }],
  };
  for (const [what, args] of Object.entries(wrong)) {
    // Some of them are wrong in some releases of Node only.
    parity(what, { reaches: 'outcome', sources: [{}] }, async (side) => {
      let socket: net.Socket;
      try {
        socket = side.connect(...args);
      } catch (error) {
        side.note('outcome', undefined, error);
        return;
      }
      side.note('outcome', socket);
      socket.on('error', quiet).on('connect', () => socket.destroy());
      await close(socket);
    });

    // A wrong source is thrown by the constructor, which is earlier than in core.
    if (what.startsWith('local')) continue;

    parity(`${what}, of new Socket()`, { reaches: 'outcome', sources: [{}] }, async (side) => {
      let socket: net.Socket;
      try {
        socket = side.socket(args[0] as object);
      } catch (error) {
        side.note('outcome', undefined, error);
        return;
      }
      socket.on('error', quiet).on('connect', () => socket.destroy());
      const closed = close(socket);
      try {
        Reflect.apply(socket.connect, socket, args);
        side.note('outcome', socket);
      } catch (error) {
        side.note('outcome', socket, error);
        socket.destroy();
      }
      await closed;
    });
  }
});
