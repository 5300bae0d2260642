// What is tried with every fault: operations of the library, each of which checks what it is given and leaves nothing behind.
// They run in a network namespace with 4 ephemeral ports and the addresses below (see faults.test.ts).
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { join } from 'node:path';
import {
  capabilities,
  connect,
  connectUdp,
  connectUdpSync,
  listenerConflicts,
  PortMonitor,
  portUsage,
  SourcePool,
} from 'connectx';
import * as sys from 'connectx/sys';
import { batchOnce } from './batch.mjs';
import { Wrong } from './wrong.mjs';

// Which port comes first is chance, and with it which call is the n-th: here it is always the same one.
Math.random = () => 0.4;

export const SERVER = 5353;
const PORTS = [20000, 20001, 20002, 20003];
const { AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_REUSEADDR, SO_LINGER } = sys.constants;
const { IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE } = sys.constants;

const V4 = { source: '192.0.2.1', source2: '192.0.2.14', remote: '192.0.2.2', remote2: '192.0.2.3' };
const V6 = { source: '2001:db8::1', source2: '2001:db8::14', remote: '2001:db8::2', remote2: '2001:db8::3' };

/** Where the servers are. */
export const REMOTES = [V4.remote, V6.remote];

const RESET = new Uint8Array(new Int32Array([1, 0]).buffer);

function must(holds, what) {
  if (!holds) throw new Wrong(what);
}

const same = (one, other) => one === other || one === `::ffff:${other}`;

/** The source end that was given must be the one that was asked for. */
function checkSource({ address, port }, { localAddress, localPort, localPortRange }, unreadable) {
  if (typeof localAddress === 'string') must(same(address, localAddress), `from ${address}, not ${localAddress}`);
  if (localPort) must(port === localPort, `from port ${port}, not ${localPort}`);
  const [low, high] = localPortRange ?? (localPort ? [1, 65535] : [PORTS[0], PORTS.at(-1)]);
  // Where /proc has never been read, Linux's own default is taken for the range; see docs/udp.md.
  if (unreadable && !localPort && !localPortRange && port >= 32768 && port <= 60999) return;
  must(port >= low && port <= high, `from port ${port}, not ${low} to ${high}`);
}

async function tcpOnce(options, { prober, open = connect }) {
  const socket = open(options);
  try {
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    const { localAddress, localPort } = socket;
    const local = { address: localAddress, port: localPort };
    checkSource(local, options);
    if (options.localAddress !== undefined || options.localPort !== undefined) {
      const remote = { address: localAddress.includes(':') ? V6.remote2 : V4.remote2, port: SERVER };
      const answer = await prober({ protocol: 'tcp', local, remote, shared: true });
      must(answer === undefined, `the port is not shared: ${answer}`);
    }
    const echoed = once(socket, 'data');
    socket.write('ping');
    must(String(await echoed) === 'ping', 'another answer');
  } finally {
    socket.on('error', () => {});
    const closed = socket.closed ? undefined : once(socket, 'close');
    socket.resetAndDestroy();
    if (!socket.destroyed || closed) await closed;
  }
}

/** The last port is this thread's own: refused while it is taken, and no longer when it has been given back. */
async function tcpAgain(options, given) {
  const held = connect(options);
  try {
    await once(held, 'connect');
    await tcpOnce(options, given).then(
      () => must(false, 'a port, where there is none'),
      (error) => {
        if (error.reason !== 'ports-exhausted') throw error;
      },
    );
  } finally {
    held.on('error', () => {});
    const closed = held.closed ? undefined : once(held, 'close');
    held.resetAndDestroy();
    await closed;
  }
  await tcpOnce(options, given);
}

async function udpOnce(options, { prober, unreadable, open = connectUdp }) {
  const socket = await open(options);
  try {
    if (!socket.connectState && open === connectUdpSync) await once(socket, 'connect');
    const local = socket.address();
    checkSource(local, options, unreadable);
    const peer = socket.remoteAddress();
    must(peer.address === options.host && peer.port === options.port, `towards ${peer.address}:${peer.port}`);
    // Nobody else may have this 4-tuple, and with SO_REUSEADDR unset nobody can share the port.
    const remote = { address: local.family === 'IPv6' ? V6.remote2 : V4.remote2, port: SERVER };
    const answer = await prober({ protocol: 'udp', local, remote, shared: true });
    const heard = once(socket, 'message');
    socket.send('ping');
    must(String((await heard)[0]) === 'ping', 'another answer');
    return answer === undefined ? 'shared' : 'alone';
  } finally {
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  }
}

/** Sockets beside the library's, made without it: closed by what is returned. */
function raw(type, binds) {
  const fds = [];
  for (const { local, remote, shared = true } of binds) {
    const fd = sys.socket(local.address.includes(':') ? AF_INET6 : AF_INET, type);
    fds.push(fd);
    if (type === SOCK_STREAM) sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, RESET);
    if (shared) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (type === SOCK_STREAM && remote !== undefined) {
      // A TCP port that was bound explicitly would be out of the kernel's choice for everybody.
      sys.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
      sys.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, local.port | (local.port << 16));
      sys.bind(fd, { ...local, port: 0 });
    } else sys.bind(fd, local);
    try {
      if (remote !== undefined) sys.connect(fd, remote);
    } catch (error) {
      if (error.code !== 'EINPROGRESS') throw error;
    }
  }
  return () => {
    for (const fd of fds) sys.close(fd);
  };
}

/** Every ephemeral port of the source towards the remote end, in TIME-WAIT. */
async function fillWithTimeWait(source, remote) {
  const ends = PORTS.map(async (localPort) => {
    const socket = net.connect({ host: remote, port: SERVER, localAddress: source, localPort });
    const failed = new Promise((_, reject) => socket.once('error', reject));
    await Promise.race([once(socket, 'connect'), failed]);
    socket.end();
    socket.resume();
    await once(socket, 'close');
  });
  for (const end of await Promise.allSettled(ends)) {
    // In TIME-WAIT since the time before.
    if (end.status === 'rejected' && end.reason.code !== 'EADDRNOTAVAIL') throw end.reason;
  }
}

/** test/native/faults.cc, as the addon that it is, too. */
export function interposer() {
  const path = process.env.LD_PRELOAD.split(':').find((one) => one.endsWith('/faults.node'));
  return createRequire(import.meta.url)(path);
}

const target = { host: V4.remote, port: SERVER };
const target6 = { host: V6.remote, port: SERVER };
const FULL = (remote) =>
  PORTS.map((port) => ({ local: { address: V4.source, port }, remote: { address: remote, port: SERVER } }));

const tcp = (options, more = {}) => ({ protocol: 'tcp', options, act: (given) => tcpOnce(options, given), ...more });
const udp = (options, more = {}) => ({ protocol: 'udp', options, act: (given) => udpOnce(options, given), ...more });

/** Others have more ports than are asked for one by one: the kernel's table is read. */
function manyTaken(open) {
  const options = { ...target, localAddress: V4.source, localPortRange: [30000, 30299] };
  const taken = Array.from({ length: 300 }, (_, n) => ({
    local: { address: V4.source, port: 30000 + n },
    remote: { address: V4.remote, port: SERVER },
  }));
  return udp(options, {
    setup: () => raw(SOCK_DGRAM, taken),
    act: (given) => udpOnce(options, { ...given, open }),
    mayFail: 'EAGAIN',
    mustFail: true,
    // A new thread asks for each of the ports first, call by call.
    onlyWarm: true,
  });
}

const everything = {
  interface: 'lo',
  mark: 7,
  freeBind: true,
  transparent: true,
  socketOptions: [{ level: SOL_SOCKET, name: 9, value: 1 }],
};

/** An operation on a descriptor, as connectx/sys has them. */
function withSocket(type, act) {
  return {
    async act() {
      const fd = sys.socket(AF_INET, type);
      let failure;
      try {
        act(fd);
      } catch (error) {
        failure = error;
      }
      sys.close(fd);
      if (failure !== undefined) throw failure;
    },
  };
}

async function cli(args, { environment }) {
  const path = join(import.meta.dirname, '../../dist/cli.js');
  const [status, stdout, stderr] = await new Promise((resolve) => {
    execFile(process.execPath, [path, ...args], { env: environment(), timeout: 20_000 }, (error, out, err) =>
      resolve([error === null ? 0 : (error.code ?? error.signal), out, err]),
    );
  });
  must(typeof status === 'number', `ended by ${status}`);
  must(!/\n {4}at /.test(stderr), `a stack: ${stderr}`);
  if (status === 0 || (status === 1 && stdout.startsWith('['))) {
    must(Array.isArray(JSON.parse(stdout)), `printed ${stdout}`);
    return;
  }
  must(/^connectx: \S/.test(stderr), `status ${status}, and said ${stderr}`);
  const code = /\b(E[A-Z][A-Z0-9_]+)\b/.exec(stderr)?.[1];
  throw Object.assign(new Error(stderr), { code, syscall: /connectx: (\w+) E/.exec(stderr)?.[1] ?? 'doctor' });
}

/** Whether a datagram, or the batch, is lost by this fault: then an error or a count must tell of it. */
function isTold(call, shown) {
  const [name, detail] = call.split(' ');
  if (!/^(epoll_|recvmmsg|sendmsg)/.test(name)) return false;
  // The call is made again; nothing waits there; and what closes the descriptor has epoll forget it.
  const isRemoval = name === 'epoll_ctl' && detail === '2';
  return shown !== 'EINTR' && !(name === 'recvmmsg' && shown === 'EAGAIN') && !isRemoval;
}

/**
 * name -> { act, protocol?, options?, setup?, prepare?, mayFail?, believes?, isTold? }. `mayFail`: also without a fault, with this code.
 * `believes`: answers that cannot be told from true ones. `isTold`: whether it may not go on as if nothing had been.
 */
export const scenarios = {
  'connect, destination only': tcp(target),
  'connect, localAddress': tcp({ ...target, localAddress: V4.source }),
  'connect, localAddress and localPort': tcp({ ...target, localAddress: V4.source, localPort: 20001 }),
  'connect, localPort': tcp({ ...target, localPort: 20001 }),
  'connect, IPv6, localAddress and localPort': tcp({ ...target6, localAddress: V6.source, localPort: 20001 }),
  'connect, IPv6, localPort': tcp({ ...target6, localPort: 20001 }),
  'connect, localPortRange': tcp({ ...target, localAddress: V4.source, localPortRange: [20001, 20002] }),
  'connect, localPortRange that is searched': tcp({ ...target, localAddress: V4.source, localPortRange: [900, 902] }),
  'connect, every option': tcp({ ...target, localAddress: V4.source, ...everything, fastOpen: true }),
  'connect, IPv6, every option': tcp({ ...target6, localAddress: V6.source, localPort: 20001, ...everything }),
  'connect, a pool': (() => {
    const localAddress = new SourcePool([V4.source, V4.source2]);
    return tcp({ ...target, localAddress });
  })(),
  'connect, a pool whose first source is full': (() => {
    // The pool remembers what has failed, so each time a new one is asked.
    const options = { ...target };
    const pool = () => ({ ...options, localAddress: new SourcePool([V4.source, V4.source2]) });
    return tcp(options, { act: (given) => tcpOnce(pool(), given), setup: () => raw(SOCK_STREAM, FULL(V4.remote)) });
  })(),
  'connect, every port taken': tcp(
    { ...target, localAddress: V4.source },
    { setup: () => raw(SOCK_STREAM, FULL(V4.remote)), mayFail: 'EADDRNOTAVAIL', mustFail: true },
  ),
  'connect, a port that has come back after a refusal': (() => {
    const options = { ...target, localAddress: V4.source };
    return tcp(options, {
      setup: () => raw(SOCK_STREAM, FULL(V4.remote).slice(1)),
      act: (given) => tcpAgain(options, given),
    });
  })(),
  'connect, reuseTimeWait': tcp(
    { ...target, localAddress: V4.source, reuseTimeWait: true },
    { prepare: () => fillWithTimeWait(V4.source, V4.remote) },
  ),
  'connect, the port locked': tcp(
    { ...target, localAddress: V4.source, localPort: 20001 },
    {
      setup: () => raw(SOCK_STREAM, [{ local: { address: V4.source, port: 20001 }, shared: false }]),
      mayFail: 'EADDRINUSE',
      mustFail: true,
    },
  ),
  'connect, not an address of this machine': tcp(
    { ...target, localAddress: '198.51.100.1' },
    { mayFail: 'EADDRNOTAVAIL', mustFail: true },
  ),
  'connectx/register': tcp(
    { ...target, localAddress: V4.source },
    {
      async act(given) {
        // Of each thread its own.
        await import('connectx/register');
        return tcpOnce({ ...target, localAddress: V4.source }, { ...given, open: net.connect });
      },
    },
  ),

  'connectUdp, destination only': udp(target),
  'connectUdpSync, destination only': udp(target, {
    act: (given) => udpOnce(target, { ...given, open: connectUdpSync }),
  }),
  'connectUdp, localAddress': udp({ ...target, localAddress: V4.source }),
  'connectUdp, localAddress and localPort': udp({ ...target, localAddress: V4.source, localPort: 20001 }),
  'connectUdpSync, localAddress and localPort': (() => {
    const options = { ...target, localAddress: V4.source, localPort: 20001 };
    return udp(options, { act: (given) => udpOnce(options, { ...given, open: connectUdpSync }) });
  })(),
  'connectUdp, IPv6, localPort': udp({ ...target6, localPort: 20001 }),
  'connectUdp, localPortRange': udp({ ...target, localAddress: V4.source, localPortRange: [900, 901] }),
  'connectUdp, exclusive': udp({ ...target, localAddress: V4.source, localPort: 20001, exclusive: true }),
  'connectUdp, every option': udp({ ...target, localAddress: V4.source, localPort: 20001, ...everything }),
  'connectUdp, a stranger speaks first': udp(
    { ...target, localAddress: V4.source, localPort: 20001 },
    {
      setup() {
        interposer().strangers(true);
        return () => interposer().strangers(false);
      },
    },
  ),
  'connectUdp, a port that is shared': udp(
    { ...target, localAddress: V4.source, localPort: 20001 },
    {
      setup: () =>
        raw(SOCK_DGRAM, [{ local: { address: V4.source, port: 20001 }, remote: { address: V4.remote2, port: 9 } }]),
      isFree: false,
    },
  ),
  'connectUdp, IPv6, a port that is shared': udp(
    { ...target6, localAddress: V6.source, localPort: 20001 },
    {
      setup: () =>
        raw(SOCK_DGRAM, [{ local: { address: V6.source, port: 20001 }, remote: { address: V6.remote2, port: 9 } }]),
      isFree: false,
    },
  ),
  'connectUdp, every option, a port that is shared': udp(
    { ...target, localAddress: V4.source, localPort: 20001, ...everything },
    {
      setup: () =>
        raw(SOCK_DGRAM, [{ local: { address: V4.source, port: 20001 }, remote: { address: V4.remote2, port: 9 } }]),
      isFree: false,
    },
  ),
  'connectUdp, the 4-tuple in use': udp(
    { ...target, localAddress: V4.source, localPort: 20001 },
    {
      setup: () =>
        raw(SOCK_DGRAM, [{ local: { address: V4.source, port: 20001 }, remote: { address: V4.remote, port: SERVER } }]),
      isFree: false,
      mayFail: 'EADDRINUSE',
      mustFail: true,
    },
  ),
  'connectUdpSync, every port taken': udp(
    { ...target, localAddress: V4.source },
    {
      setup: () => raw(SOCK_DGRAM, FULL(V4.remote)),
      act: (given) => udpOnce({ ...target, localAddress: V4.source }, { ...given, open: connectUdpSync }),
      mayFail: 'EAGAIN',
      mustFail: true,
    },
  ),
  'connectUdpSync, every port but one taken': udp(
    { ...target, localAddress: V4.source },
    {
      setup: () => raw(SOCK_DGRAM, FULL(V4.remote).slice(1)),
      act: (given) => udpOnce({ ...target, localAddress: V4.source }, { ...given, open: connectUdpSync }),
    },
  ),
  'connectUdp, many ports taken': manyTaken(connectUdp),
  'connectUdpSync, many ports taken': manyTaken(connectUdpSync),
  'connectUdp, a pool whose first source is full': (() => {
    const pool = () => ({ ...target, localAddress: new SourcePool([V4.source, V4.source2]) });
    return udp(target, { act: (given) => udpOnce(pool(), given), setup: () => raw(SOCK_DGRAM, FULL(V4.remote)) });
  })(),

  UdpBatch: { act: () => batchOnce({ host: V4.remote2, port: SERVER, localAddress: V4.source }), isTold },
  'UdpBatch, IPv6': { act: () => batchOnce({ host: V6.remote2, port: SERVER, localAddress: V6.source }), isTold },

  portUsage: {
    async act() {
      const usage = await portUsage();
      must(
        usage.every(({ used, capacity, ratio }) => used <= 4 && capacity <= 4 && ratio <= 1 && ratio > 0),
        JSON.stringify(usage),
      );
      must(usage.length === 1 && usage[0].used === 4 && usage[0].remotePort === SERVER, JSON.stringify(usage));
    },
    setup: () => raw(SOCK_STREAM, FULL(V4.remote)),
  },
  listenerConflicts: {
    async act() {
      const conflicts = await listenerConflicts();
      must(
        conflicts.length === 1 && conflicts[0].localPort === 20002 && conflicts[0].protocol === 'udp',
        JSON.stringify(conflicts),
      );
    },
    setup: () => raw(SOCK_DGRAM, [{ local: { address: V4.source, port: 20002 } }]),
  },
  PortMonitor: {
    async act() {
      const monitor = new PortMonitor({ interval: 60_000 });
      try {
        await new Promise((resolve, reject) => {
          monitor.once('sample', resolve);
          monitor.once('error', reject);
        });
      } finally {
        await monitor.close();
      }
    },
  },
  capabilities: {
    neverFails: true,
    async act() {
      must(capabilities().native, 'no addon');
    },
  },

  'sys.bind, sys.connect, sys.getsockname, sys.getpeername': withSocket(SOCK_DGRAM, (fd) => {
    sys.bind(fd, { address: V4.source, port: 20003 });
    sys.connect(fd, { address: V4.remote, port: SERVER });
    must(sys.getsockname(fd).port === 20003, 'another port');
    must(sys.getpeername(fd).port === SERVER, 'another port');
  }),
  'sys.setsockopt, sys.getsockopt': withSocket(SOCK_STREAM, (fd) => {
    sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    must(sys.getsockopt(fd, SOL_SOCKET, SO_REUSEADDR) === 1, 'another value');
  }),
  'sys.udpLookup': {
    async act() {
      const owner = sys.udpLookup({ address: V4.source, port: 20001 }, { address: V4.remote, port: SERVER });
      must(owner?.state !== undefined, 'nobody');
    },
    setup: () =>
      raw(SOCK_DGRAM, [{ local: { address: V4.source, port: 20001 }, remote: { address: V4.remote, port: SERVER } }]),
    // So the kernel says that there is none.
    believes: ['error ENOENT'],
  },

  'connectx doctor': { isProgram: true, act: (given) => cli(['doctor', '--json'], given) },
};
