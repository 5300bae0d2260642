// The errors that connectx knows a reason for: Node's shape, both ends, and what to do.
import { constants as os } from 'node:os';
import { connect, type ConnectOptions, ConnectxError, SourcePool } from 'connectx';
import { describe, expect, test } from 'vitest';
import { type Cast, families, PORTS, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { rawBind } from '../helpers/raw.js';
import { closed, connected, descriptorCount, echoServer, failure, until } from '../helpers/sockets.js';

interface Situation {
  situation: string;
  arrange?: (cast: Cast) => Promise<unknown>;
  options: (cast: Cast) => Partial<ConnectOptions>;
  code: 'EADDRNOTAVAIL' | 'EADDRINUSE' | 'ECONNREFUSED' | 'EAFNOSUPPORT' | 'ENODEV';
  syscall: string;
  reason?: string;
  /** The local end as far as it was asked for; `shown`: what the message says of it otherwise. */
  local: (cast: Cast) => { address?: string; port?: number; shown?: string };
  advice: RegExp;
}

const fill = async ({ any, remote, source }: Cast) => {
  await echoServer(SERVER, any);
  for (const localPort of PORTS) {
    await connected(connect({ host: remote, port: SERVER, localAddress: source, localPort }));
  }
};
const hold =
  (port: number) =>
  async ({ any, source, remote }: Cast) => {
    await echoServer(SERVER, any);
    await connected(connect({ host: remote, port: SERVER, localAddress: source, localPort: port }));
  };

const situations: Situation[] = [
  {
    situation: 'every port of a source is taken',
    arrange: fill,
    options: ({ source }) => ({ localAddress: source }),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'ports-exhausted',
    local: ({ source }) => ({ address: source }),
    advice: /every usable port of 20000-20003 is taken towards this destination: add source addresses, widen/,
  },
  {
    situation: 'every port is taken, and the source is the kernel’s choice',
    arrange: async (cast) => {
      await echoServer(SERVER, cast.any);
      for (const _ of PORTS) await connected(connect({ host: cast.remote, port: SERVER }));
    },
    options: () => ({}),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'ports-exhausted',
    // As net.connect shows it.
    local: ({ any }) => ({ shown: `${any}:0` }),
    advice: /every usable port of 20000-20003 is taken towards this destination/,
  },
  {
    situation: 'every port of a range is taken',
    arrange: hold(20002),
    options: ({ source }) => ({ localAddress: source, localPortRange: [20002, 20002] }),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'ports-exhausted',
    local: ({ source }) => ({ address: source }),
    advice: /every usable port of 20002 is taken/,
  },
  {
    situation: 'every port of a range outside the ephemeral range is taken',
    arrange: hold(30000),
    options: ({ source }) => ({ localAddress: source, localPortRange: [30000, 30000] }),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'ports-exhausted',
    local: ({ source }) => ({ address: source }),
    advice: /every usable port of 30000 is taken/,
  },
  {
    situation: 'the 4-tuple is in use, its port in the ephemeral range',
    arrange: hold(20001),
    options: ({ source }) => ({ localAddress: source, localPort: 20001 }),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'tuple-in-use',
    local: ({ source }) => ({ address: source, port: 20001 }),
    advice: /another connection has this exact 4-tuple .*: use another localPort/,
  },
  {
    situation: 'the 4-tuple is in use, its port outside the ephemeral range',
    arrange: hold(30000),
    options: ({ source }) => ({ localAddress: source, localPort: 30000 }),
    code: 'EADDRNOTAVAIL',
    syscall: 'connect',
    reason: 'tuple-in-use',
    local: ({ source }) => ({ address: source, port: 30000 }),
    advice: /another connection has this exact 4-tuple .*: use another localPort/,
  },
  {
    situation: 'a socket without SO_REUSEADDR holds the port, in the ephemeral range',
    arrange: async ({ source }) => rawBind({ address: source, port: 20001 }),
    options: ({ source }) => ({ localAddress: source, localPort: 20001 }),
    code: 'EADDRINUSE',
    syscall: 'bind',
    reason: 'port-locked',
    local: ({ source }) => ({ address: source, port: 20001 }),
    advice: /a socket that does not share port 20001 .* holds it: use another localPort, or .*ip_local_reserved_ports/,
  },
  {
    situation: 'a socket without SO_REUSEADDR holds the port, outside the ephemeral range',
    arrange: async ({ any }) => rawBind({ address: any, port: 30000 }),
    options: ({ source }) => ({ localAddress: source, localPort: 30000 }),
    code: 'EADDRINUSE',
    syscall: 'bind',
    reason: 'port-locked',
    local: ({ source }) => ({ address: source, port: 30000 }),
    advice: /a socket that does not share port 30000 .* holds it: use another localPort, or .*ip_local_reserved_ports/,
  },
  {
    situation: 'a listener holds the port',
    arrange: async ({ source }) => echoServer(20001, source),
    options: ({ source }) => ({ localAddress: source, localPort: 20001 }),
    code: 'EADDRINUSE',
    syscall: 'bind',
    reason: 'port-locked',
    local: ({ source }) => ({ address: source, port: 20001 }),
    advice: /a socket that does not share port 20001/,
  },
  {
    situation: 'the source is not on this machine',
    options: ({ version }) => ({ localAddress: version === 6 ? '2001:db8::99' : '192.0.2.99', localPort: 20001 }),
    code: 'EADDRNOTAVAIL',
    syscall: 'bind',
    reason: 'address-not-local',
    local: ({ version }) => ({ address: version === 6 ? '2001:db8::99' : '192.0.2.99', port: 20001 }),
    advice: /cannot be used as a source: it is not an address of this machine/,
  },
  {
    situation: 'there is no source of the family',
    options: ({ version }) => ({ localAddress: version === 6 ? '127.0.0.1' : '2001:db8::1' }),
    code: 'EAFNOSUPPORT',
    syscall: 'connect',
    reason: 'family-mismatch',
    local: () => ({}),
    advice: /the destination needs an IPv[46] source address, and localAddress has none/,
  },
  {
    situation: 'nothing listens, and the kernel connected the socket to itself',
    arrange: async () => sysctl('ipv4.ip_local_port_range', `${SERVER} ${SERVER}`),
    options: ({ remote }) => ({ localAddress: remote }),
    code: 'ECONNREFUSED',
    syscall: 'connect',
    local: ({ remote }) => ({ address: remote, port: SERVER }),
    advice: /nothing listens there, and the kernel had connected the socket to itself/,
  },
  {
    situation: 'the interface does not exist',
    options: ({ source }) => ({ localAddress: source, localPort: 20001, interface: 'nope0' }),
    code: 'ENODEV',
    syscall: 'setsockopt',
    local: ({ source }) => ({ address: source, port: 20001 }),
    advice: /there is no interface "nope0"/,
  },
];

describeIsolated('errors', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', (cast) => {
    const foreign = cast.version === 4 ? '192.0.2.7' : '2001:db8:7::7';

    test.each(situations)('$situation', async ({ arrange, options, code, syscall, reason, local, advice }) => {
      await arrange?.(cast);
      const { remote } = cast;
      // What is kept open to ask the kernel with, in this namespace.
      await failure(connect({ host: remote, port: SERVER, ...options(cast) }));
      const before = descriptorCount();
      const socket = connect({ host: remote, port: SERVER, ...options(cast) });
      const error = await failure(socket);
      const { address, port, shown = address && `${address}:${port ?? 0}` } = local(cast);

      expect(error).toBeInstanceOf(ConnectxError);
      expect({ ...error }).toEqual({
        code,
        errno: -os.errno[code],
        syscall,
        address: remote,
        port: SERVER,
        ...(reason === undefined ? {} : { reason }),
        ...(address === undefined ? {} : { localAddress: address }),
        ...(port === undefined ? {} : { localPort: port }),
      });
      const ends = `${remote}:${SERVER}${shown === undefined ? '' : ` - Local (${shown})`}`;
      const [head, ...clauses] = error.message.split('; ');
      expect(head).toBe(`${syscall} ${code} ${ends}`);
      expect(clauses).toHaveLength(1);
      expect(clauses[0]).toMatch(advice);
      expect(error.stack).toContain(`Error: ${error.message}`);
      expect(socket.errored).toBe(error);

      await closed(socket);
      await until(() => descriptorCount() === before);
    });

    test.each([
      { from: 'an address', sources: (source: string): ConnectOptions['localAddress'] => source },
      // The first of them is not on this machine.
      {
        from: 'a pool',
        sources: (source: string) => new SourcePool([foreign, source], { strategy: ([one]) => one, cooldown: 0 }),
      },
    ])(
      'Node does not take the descriptor, from $from: its own errno, and nothing is left open',
      async ({ sources }) => {
        const { remote, source } = cast;
        const options = { host: remote, port: SERVER, localAddress: sources(source) };
        // What is kept open to ask the kernel with.
        await failure(connect(options));
        const before = descriptorCount();
        const socket = connect(options);
        socket.once('connectionAttempt', () => {
          const { _handle: handle } = socket as unknown as { _handle: { open: (fd: number) => number } };
          handle.open = () => -os.errno.EEXIST;
        });
        expect(await failure(socket)).toMatchObject({ code: 'EEXIST', address: remote, port: SERVER });
        await closed(socket);
        await until(() => descriptorCount() === before);
      },
    );

    test('refused by the destination: as net.connect says it', async () => {
      const { remote, source } = cast;
      const error = await failure(connect({ host: remote, port: SERVER, localAddress: source, localPort: 20001 }));
      expect({ ...error }).toEqual({
        code: 'ECONNREFUSED',
        errno: -os.errno.ECONNREFUSED,
        syscall: 'connect',
        address: remote,
        port: SERVER,
        localAddress: source,
        localPort: 20001,
      });
    });
  });
});
