// net.connect() and connectx.connect() side by side: names with several addresses.
import * as net from 'node:net';
import { describeIsolated } from '../helpers/netns.js';
import {
  CLOSED,
  close,
  DEAD4,
  DEAD6,
  greet,
  kernelsChoice,
  names,
  parity,
  SERVER,
  UNREACHABLE4,
  UNREACHABLE6,
  useParityNetwork,
} from '../helpers/parity.js';

const quiet = (): void => {};

/** What the kernel would take, in the two ways to say it for both families. */
const both = (ipv4: string, ipv6: string) => [{}, { localAddress: kernelsChoice }, { localAddress: { ipv4, ipv6 } }];

const SOON = { autoSelectFamilyAttemptTimeout: 10 };

describeIsolated('Happy Eyeballs', () => {
  useParityNetwork();

  const TIMED_OUT = 'lookup lookup connectionAttempt connectionAttemptTimeout connectionAttempt connect data end close';
  const REFUSED = 'lookup lookup connectionAttempt connectionAttemptFailed connectionAttempt connect data end close';

  const cases: { name: string; hosts: string[]; reaches: string; sources: object[] }[] = [
    {
      name: 'the first address answers',
      hosts: ['::1', '127.0.0.1'],
      reaches: 'connect end close',
      sources: both('127.0.0.1', '::1'),
    },
    {
      name: 'a dead IPv6 address first',
      hosts: [DEAD6, '127.0.0.1'],
      reaches: TIMED_OUT,
      sources: both('127.0.0.1', '2001:db8:1::1'),
    },
    { name: 'a dead IPv4 address first', hosts: [DEAD4, '::1'], reaches: TIMED_OUT, sources: both('192.0.2.1', '::1') },
    {
      name: 'an unreachable IPv6 address first',
      hosts: [UNREACHABLE6, '127.0.0.1'],
      reaches: REFUSED,
      sources: both('127.0.0.1', '2001:db8:1::1'),
    },
    {
      name: 'an unreachable IPv4 address first',
      hosts: [UNREACHABLE4, '::1'],
      reaches: REFUSED,
      sources: both('192.0.2.1', '::1'),
    },
    {
      name: 'dead, unreachable, and then a good one',
      hosts: [DEAD6, UNREACHABLE6, '127.0.0.1'],
      reaches: TIMED_OUT,
      sources: [{}, { localAddress: kernelsChoice }],
    },
    {
      name: 'the same address twice',
      hosts: ['127.0.0.1', '127.0.0.1'],
      reaches: 'lookup lookup connect close',
      sources: both('127.0.0.1', '::1'),
    },
  ];
  for (const { name, hosts, reaches, sources } of cases) {
    const timeout = reaches === TIMED_OUT ? SOON : {};
    parity(name, { reaches, sources, server: greet }, (side) => {
      side.to({ host: 'some.example', port: SERVER, lookup: names(...hosts), ...timeout }).resume();
    });
  }

  const refusing = { reaches: REFUSED, sources: both('127.0.0.1', '::1') };

  parity('a refused address first', refusing, async (side) => {
    const server = await serveOnly('127.0.0.1', 5400);
    const socket = side.to({ host: 'some.example', port: 5400, lookup: names('::1', '127.0.0.1') }).resume();
    await close(socket);
    server.close();
  });

  parity(
    'every address refuses',
    { reaches: 'connectionAttemptFailed connectionAttemptFailed error close', sources: both('127.0.0.1', '::1') },
    (side) => {
      side
        .to({ host: 'some.example', port: CLOSED, lookup: names('::1', '127.0.0.1', '127.0.0.2') })
        .on('error', quiet);
    },
  );

  parity(
    'every address is unreachable',
    {
      reaches: 'connectionAttemptFailed connectionAttemptFailed error close',
      sources: both('192.0.2.1', '2001:db8:1::1'),
    },
    (side) => {
      side.to({ host: 'some.example', port: SERVER, lookup: names(UNREACHABLE6, UNREACHABLE4) }).on('error', quiet);
    },
  );

  parity(
    'the first is dead, and the last refuses: autoSelectFamilyOverlap: false',
    {
      reaches: 'connectionAttemptTimeout connectionAttemptFailed error close',
      sources: both('127.0.0.1', '2001:db8:1::1'),
    },
    (side) => {
      const options = { host: 'some.example', port: CLOSED, lookup: names(DEAD6, '127.0.0.1'), ...SOON };
      side.to({ ...options, autoSelectFamilyOverlap: false }).on('error', quiet);
    },
  );

  parity(
    'every address is dead: setTimeout()',
    {
      reaches: 'connectionAttemptTimeout connectionAttempt timeout close',
      sources: both('192.0.2.1', '2001:db8:1::1'),
    },
    (side) => {
      const socket = side.to({ host: 'some.example', port: SERVER, lookup: names(DEAD6, DEAD4), ...SOON });
      socket.once('connectionAttemptTimeout', () => socket.setTimeout(5));
      socket.on('timeout', () => socket.destroy());
    },
  );

  for (const event of ['connectionAttemptTimeout', 'connectionAttemptFailed']) {
    const first = event === 'connectionAttemptTimeout' ? DEAD6 : UNREACHABLE6;

    parity(
      `destroyed after ${event}`,
      { reaches: `${event} connectionAttempt close`, sources: both('192.0.2.1', '2001:db8:1::1') },
      (side) => {
        const socket = side.to({ host: 'some.example', port: SERVER, lookup: names(first, DEAD4), ...SOON });
        socket.on(event, () => process.nextTick(() => socket.destroy()));
      },
    );

    parity(
      `aborted after ${event}`,
      { reaches: `${event} connectionAttempt error close`, sources: both('192.0.2.1', '2001:db8:1::1') },
      (side) => {
        const controller = new AbortController();
        const options = {
          host: 'some.example',
          port: SERVER,
          lookup: names(first, DEAD4),
          signal: controller.signal,
          ...SOON,
        };
        side
          .to(options)
          .on('error', quiet)
          .on(event, () => process.nextTick(() => controller.abort()));
      },
    );
  }

  parity(
    'autoSelectFamily: false takes the first address only',
    { reaches: 'lookup connectionAttempt connectionAttemptFailed error close', sources: both('127.0.0.1', '::1') },
    (side) => {
      side
        .to({ host: 'some.example', port: CLOSED, lookup: names('::1', '127.0.0.1'), autoSelectFamily: false })
        .on('error', quiet);
    },
  );

  parity(
    'net.setDefaultAutoSelectFamily(false)',
    { reaches: 'lookup connectionAttempt connectionAttemptFailed error close', sources: both('127.0.0.1', '::1') },
    async (side) => {
      net.setDefaultAutoSelectFamily(false);
      try {
        await close(
          side.to({ host: 'some.example', port: CLOSED, lookup: names('::1', '127.0.0.1') }).on('error', quiet),
        );
      } finally {
        net.setDefaultAutoSelectFamily(true);
      }
    },
  );

  parity(
    'net.setDefaultAutoSelectFamilyAttemptTimeout()',
    { reaches: TIMED_OUT, server: greet, sources: both('127.0.0.1', '2001:db8:1::1') },
    async (side) => {
      const before = net.getDefaultAutoSelectFamilyAttemptTimeout();
      net.setDefaultAutoSelectFamilyAttemptTimeout(15);
      try {
        await close(side.to({ host: 'some.example', port: SERVER, lookup: names(DEAD6, '127.0.0.1') }).resume());
      } finally {
        net.setDefaultAutoSelectFamilyAttemptTimeout(before);
      }
    },
  );

  parity(
    'what was written before it connects goes to the address that answers',
    { reaches: 'connectionAttemptTimeout connect written data close', sources: both('127.0.0.1', '2001:db8:1::1') },
    (side) => {
      const socket = side.to({ host: 'some.example', port: SERVER, lookup: names(DEAD6, '127.0.0.1'), ...SOON });
      socket.write('hello', (error) => side.note('written', socket, error));
      socket.on('data', () => socket.destroy());
    },
  );

  parity(
    'the same socket again',
    {
      reaches: 'connectionAttemptFailed error close connectionAttemptFailed error close',
      sources: both('127.0.0.1', '::1'),
    },
    async (side) => {
      const options = { host: 'some.example', port: CLOSED, lookup: names('::1', '127.0.0.1') };
      const socket = side.to(options).on('error', quiet);
      await close(socket);
      socket.connect(options as unknown as net.SocketConnectOpts);
      await close(socket);
    },
  );
});

/** A server at one address; what {@link serve} starts is at all of them. */
async function serveOnly(host: string, port: number): Promise<net.Server> {
  const server = net.createServer(greet);
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  return server;
}
