// net.connect() and connectx.connect() side by side: the stream, its options, and what goes over it.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as sys from 'connectx/sys';
import { afterAll, expect, test } from 'vitest';
import { describeIsolated } from '../helpers/netns.js';
import {
  CLOSED,
  close,
  core,
  DEAD4,
  DEAD6,
  echo,
  greet,
  mine,
  names,
  parity,
  record,
  SERVER,
  serve,
  type Side,
  useParityNetwork,
} from '../helpers/parity.js';
import { fdOf, track } from '../helpers/sockets.js';

const folder = mkdtempSync(join(tmpdir(), 'connectx-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
const PATH = join(folder, 'server.sock');

const quiet = (): void => {};
const to = { host: '127.0.0.1', port: SERVER };
const MEGABYTE = Buffer.alloc(1 << 20, 'x');

const { IPPROTO_TCP, SOL_SOCKET } = sys.constants;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const SO_KEEPALIVE = 9;

function kernelSees(socket: net.Socket): object {
  const fd = fdOf(socket);
  return {
    noDelay: sys.getsockopt(fd, IPPROTO_TCP, TCP_NODELAY),
    keepAlive: sys.getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE),
    keepIdle: sys.getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE),
  };
}

describeIsolated('the stream', () => {
  useParityNetwork();

  parity('written and read', { reaches: 'connect written data' }, (side) => {
    const socket = side.to(to, () => {
      socket.write('hello', () => side.note('written', socket));
    });
    socket.on('data', () => socket.destroy());
  });

  parity('written before it connects', { reaches: 'returned connect written data' }, (side) => {
    const socket = side.to(to);
    side.note(
      'returned',
      socket,
      socket.write('hel', () => side.note('written', socket)),
      socket.write('lo'),
    );
    side.note('returned', socket, socket.writableLength);
    socket.on('data', () => {
      if (socket.bytesRead === 5) socket.destroy();
    });
  });

  parity('ended before it connects', { reaches: 'returned connect ended data end close' }, (side) => {
    const socket = side.to(to).resume();
    socket.end('hello', () => side.note('ended', socket));
    side.note('returned', socket);
  });

  parity('written after the end', { reaches: 'refused error close ended' }, (side) => {
    const socket = side.to(to).on('error', quiet).resume();
    socket.end('hello', () => side.note('ended', socket));
    socket.write('more', (error) => side.note('refused', socket, error));
  });

  parity('written after destroy()', { reaches: 'connect refused' }, (side) => {
    const socket = side.to(to, () => {
      socket.destroy();
      socket.write('hello', (error) => side.note('refused', socket, error));
    });
    socket.on('error', quiet);
  });

  parity('cork() and uncork()', { reaches: 'connect data close' }, (side) => {
    const socket = side.to(to, () => {
      socket.cork();
      for (const letter of 'hello') socket.write(letter);
      side.note('corked', socket, socket.writableLength);
      process.nextTick(() => socket.uncork());
    });
    socket.on('data', () => {
      if (socket.bytesRead === 5) socket.destroy();
    });
  });

  for (const allowHalfOpen of [undefined, false, true]) {
    parity(
      `allowHalfOpen: ${allowHalfOpen}, the other end ends first`,
      { reaches: 'connect data end close', server: greet },
      (side) => {
        const socket = side.to({ ...to, allowHalfOpen }).resume();
        socket.on('end', () => side.note('ended by the server', socket, socket.writable));
        if (allowHalfOpen) socket.on('end', () => setImmediate(() => socket.end('bye')));
      },
    );

    parity(`allowHalfOpen: ${allowHalfOpen}, this end ends first`, { reaches: 'connect end close' }, (side) => {
      side
        .to({ ...to, allowHalfOpen })
        .resume()
        .end('bye');
    });
  }

  parity('nobody reads: paused, then resumed', { reaches: 'connect resume data end close', server: greet }, (side) => {
    const socket = side.to(to).pause();
    socket.once('ready', () => setImmediate(() => socket.resume()));
  });

  parity('paused in the middle', { reaches: 'data pause resume end close' }, async (side) => {
    const socket = side.to(to);
    socket.write('hello');
    await once(socket, 'data');
    socket.pause();
    socket.end('more');
    await new Promise(setImmediate);
    socket.resume();
  });

  parity('readable and read()', { reaches: 'readable end read close', server: greet }, (side) => {
    const socket = side.to(to);
    let read = '';
    socket.on('readable', () => {
      for (let piece; (piece = socket.read(1) as Buffer | null);) read += piece.toString();
    });
    socket.on('end', () => side.note('read', socket, read));
  });

  parity('setEncoding()', { reaches: 'data end close' }, (side) => {
    const socket = side.to(to).setEncoding('utf8');
    socket.on('data', (text) => side.note('heard', undefined, typeof text));
    socket.setDefaultEncoding('latin1');
    socket.write('h\u00e9');
    socket.end('68c3a9', 'hex');
  });

  parity('onread with a buffer', { reaches: 'connect onread end close', server: greet }, (side) => {
    const buffer = Buffer.alloc(3);
    const callback = (length: number, into: Buffer) => {
      side.note('onread', undefined, length, into === buffer, into.toString('latin1', 0, length));
      return true;
    };
    side.to({ ...to, onread: { buffer, callback } }).resume();
  });

  parity('onread with a function', { reaches: 'connect buffer onread end close', server: greet }, (side) => {
    const callback = (length: number, into: Uint8Array) => {
      side.note('onread', undefined, length, Buffer.from(into).toString('latin1', 0, length));
      return true;
    };
    const buffer = () => {
      side.note('buffer');
      return new Uint8Array(4);
    };
    side.to({ ...to, onread: { buffer, callback } }).resume();
  });

  parity('onread that pauses', { reaches: 'onread resumed onread end close', server: greet }, (side) => {
    const buffer = Buffer.alloc(2);
    const callback = (length: number) => {
      side.note('onread', undefined, length, buffer.toString('latin1', 0, length));
      setImmediate(() => {
        side.note('resumed', socket);
        socket.resume();
      });
      return false;
    };
    const socket = side.to({ ...to, onread: { buffer, callback } });
    socket.on('end', () => socket.end());
  });

  const count = (socket: net.Socket) => {
    let bytes = 0;
    socket.on('data', (piece) => {
      bytes += piece.length;
      if (bytes === MEGABYTE.length + 1) socket.end(`${bytes}`);
    });
  };

  parity(
    'highWaterMark, drain, bytesRead and bytesWritten',
    { reaches: 'full connect drain data end close', server: count },
    (side) => {
      const marks = { highWaterMark: 100, writableHighWaterMark: 200, readableHighWaterMark: 300 };
      const socket = side.to({ ...to, ...marks });
      side.note('marks', undefined, socket.writableHighWaterMark, socket.readableHighWaterMark);
      side.note('full', socket, socket.write(MEGABYTE));
      socket.resume().once('drain', () => socket.write('.'));
    },
  );

  parity('stream.pipeline', { reaches: 'connect finish end piped close' }, async (side) => {
    const pieces: string[] = [];
    const shout = new Transform({
      transform: (piece: Buffer, _encoding, done) => done(null, piece.toString().toUpperCase()),
    });
    shout.on('data', (piece) => pieces.push((piece as Buffer).toString()));
    await pipeline(Readable.from(['a', 'b', 'c']), side.to(to), shout);
    side.note('piped', undefined, pieces.join(''));
  });

  parity('stream.pipeline into a connection that is refused', { reaches: 'error failed close' }, async (side) => {
    try {
      await pipeline(Readable.from(['a', 'b', 'c']), side.to({ ...to, port: CLOSED }));
    } catch (error) {
      side.note('failed', undefined, error);
    }
  });

  parity('async iteration', { reaches: 'connect end iterated close', server: greet }, async (side) => {
    let text = '';
    for await (const piece of side.to(to)) text += (piece as Buffer).toString();
    side.note('iterated', undefined, text);
  });

  parity('async iteration of a connection that is refused', { reaches: 'error failed close' }, async (side) => {
    try {
      for await (const _ of side.to({ ...to, port: CLOSED }));
    } catch (error) {
      side.note('failed', undefined, error);
    }
  });

  const reset = (socket: net.Socket) => void socket.once('data', () => socket.resetAndDestroy());

  parity('reset by the other end', { reaches: 'connect error close', server: reset }, (side) => {
    side.to(to).on('error', quiet).resume().write('now');
  });

  let hear: (code: string | undefined) => void;
  const listening = (socket: net.Socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => hear(error.code)).pipe(socket);
  };

  parity(
    'the other end is reset by resetAndDestroy()',
    { reaches: 'connect data close reset', server: listening },
    async (side) => {
      const heard = new Promise<string | undefined>((resolve) => (hear = resolve));
      const socket = side.to(to, () => socket.write('hello'));
      socket.on('data', () => socket.resetAndDestroy());
      await close(socket);
      side.note('reset', undefined, await heard);
    },
  );

  parity('idle: setTimeout()', { reaches: 'connect timeout again timeout close' }, (side) => {
    const socket = side.to(to, () => socket.setTimeout(5));
    socket.once('timeout', () => {
      side.note('again', socket);
      socket.setTimeout(6, () => {
        // 0 ends it.
        socket.setTimeout(0).destroy();
      });
    });
  });

  const options = [
    {},
    { noDelay: true },
    { keepAlive: true },
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: 7000 },
  ];
  for (const given of options) {
    parity(`the kernel sees the options: ${JSON.stringify(given)}`, { reaches: 'connect seen close' }, (side) => {
      const socket = side.to({ ...to, ...given }, () => {
        side.note('seen', socket, kernelSees(socket));
        socket.destroy();
      });
    });

    parity(
      `the kernel sees the options: new Socket(${JSON.stringify(given)})`,
      { reaches: 'connect seen close' },
      (side) => {
        const socket = side.socket(given);
        socket.connect(SERVER, '127.0.0.1', () => {
          side.note('seen', socket, kernelSees(socket));
          socket.destroy();
        });
      },
    );
  }

  parity(
    'the kernel sees setNoDelay() and setKeepAlive(), whenever they come',
    { reaches: 'seen seen seen' },
    async (side) => {
      const set = (socket: net.Socket) => socket.setNoDelay(true).setKeepAlive(true, 9000);
      const made = set(side.socket());
      const early = set(side.to(to));
      const late = side.to(to, () => set(late));
      made.connect(SERVER, '127.0.0.1');
      for (const socket of [made, early, late]) {
        if (socket.connecting) await once(socket, 'connect');
        side.note('seen', undefined, kernelSees(socket));
        socket.setNoDelay(false).setKeepAlive(false);
        side.note('seen', undefined, kernelSees(socket));
        socket.destroy();
        await close(socket);
      }
    },
  );

  // Which ports are searched does not matter here, only that each of them is another descriptor.
  test('the kernel sees setNoDelay() and setKeepAlive() also where a port was searched for', async () => {
    await serve(echo);
    const expected = await seenAfter(core);
    expect(await seenAfter(mine({ localAddress: '127.0.0.1', localPortRange: [30000, 30010] }))).toEqual(expected);
    expect(expected).toEqual([{ noDelay: 1, keepAlive: 1, keepIdle: 9 }]);
  });

  const setUp = async () => {
    const server = track(net.createServer(greet)).listen(PATH);
    await once(server, 'listening');
  };

  parity(
    'a Unix socket',
    { reaches: 'connectionAttempt connect ready data end close', sources: [{}, { localAddress: '127.0.0.1' }], setUp },
    async (side) => {
      const listener = () => side.note('listener');
      const forms = [
        () => side.to({ path: PATH }, listener),
        () => side.connect(PATH, listener),
        () => side.connect(PATH),
        () => side.socket().connect(PATH, listener),
        () => side.socket().connect({ path: PATH }),
      ];
      for (const form of forms) {
        const socket = form();
        side.note('returned', socket);
        await close(socket.resume());
      }
    },
  );

  parity(
    'one socket over a Unix socket, over TCP, and again',
    { reaches: 'connect close connect close connect close', server: greet, setUp },
    async (side) => {
      const socket = side.socket();
      for (const target of [{ path: PATH }, to, { path: PATH }]) {
        socket.connect(target);
        await close(socket.resume());
      }
    },
  );

  for (const event of ['nothing', 'connectionAttempt', 'connectionAttemptTimeout']) {
    const name = `the ends, asked for while it connects, after ${event}`;
    parity(name, { reaches: 'asked close', sources: [{}] }, async (side) => {
      // The first attempt is not to end while it is asked.
      const autoSelectFamilyAttemptTimeout = event === 'connectionAttemptTimeout' ? 10 : 60_000;
      const options = { port: SERVER, lookup: names(DEAD4, DEAD6), autoSelectFamilyAttemptTimeout };
      const socket = side.to(options);
      const ask = () => {
        const { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily } = socket;
        const ends = { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily };
        side.note('asked', undefined, { ...ends, localPort: typeof localPort, address: Object.keys(socket.address()) });
      };
      if (event === 'nothing') ask();
      else await once(socket, event);
      for (let times = 0; times < 2; times++) {
        ask();
        await new Promise(setImmediate);
      }
      socket.destroy();
      ask();
    });
  }
});

/** What the kernel sees of options that are set while it connects. */
async function seenAfter(side: Side): Promise<unknown[] | undefined> {
  const entries = await record(side, (actor) => {
    const socket = actor.to(to, () => {
      actor.note('seen', undefined, kernelSees(socket));
      socket.destroy();
    });
    socket.setNoDelay(true).setKeepAlive(true, 9000);
  });
  return entries.find(({ what }) => what === 'seen')?.values;
}
