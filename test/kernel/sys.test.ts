// connectx/sys against the kernel: each function is one system call, so each test is about what crosses the border.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { constants as os } from 'node:os';
import { ConnectxError } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { hasPortRange } from '../helpers/kernel.js';
import { describeIsolated, sysctl, useNetwork } from '../helpers/netns.js';
import { descriptorCount, echoServer, errorOf, track } from '../helpers/sockets.js';

const { AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6 } =
  sys.constants;
const { errno } = os;

/** A socket that is closed after the test, unless the test has closed it. */
function socket(domain: number, type: number = SOCK_STREAM): number {
  const fd = sys.socket(domain, type);
  opened.add(fd);
  track({
    close: () => {
      if (opened.delete(fd)) sys.close(fd);
    },
  });
  return fd;
}

const opened = new Set<number>();

function close(fd: number): void {
  opened.delete(fd);
  sys.close(fd);
}

const bytesOf = (value: number) => new Uint8Array(new Int32Array([value]).buffer);

const domains = [
  { family: 'IPv4', domain: AF_INET },
  { family: 'IPv6', domain: AF_INET6 },
];

interface OptionCase {
  name: string;
  level: number;
  option: number;
  /** Must differ from what a new socket has. */
  set: number;
  /** What the kernel makes of it, where that is something else. */
  then?: number;
  only?: number;
  type?: number;
}

const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_PRIORITY = 12;
const SO_RCVLOWAT = 18;
const IP_TOS = 1;
const IP_TTL = 2;
const IPV6_UNICAST_HOPS = 16;
const IPV6_V6ONLY = 26;
const IPV6_TCLASS = 67;
const TCP_NODELAY = 1;
const TCP_MAXSEG = 2;
const TCP_KEEPIDLE = 4;
const TCP_CONGESTION = 13;
const TCP_USER_TIMEOUT = 18;

const options: OptionCase[] = [
  { name: 'SO_REUSEADDR', level: SOL_SOCKET, option: sys.constants.SO_REUSEADDR, set: 1 },
  { name: 'SO_KEEPALIVE', level: SOL_SOCKET, option: SO_KEEPALIVE, set: 1 },
  { name: 'SO_PRIORITY', level: SOL_SOCKET, option: SO_PRIORITY, set: 3 },
  { name: 'SO_RCVLOWAT', level: SOL_SOCKET, option: SO_RCVLOWAT, set: 7 },
  // The kernel doubles it, for its own bookkeeping (socket(7)).
  { name: 'SO_RCVBUF', level: SOL_SOCKET, option: SO_RCVBUF, set: 20_000, then: 40_000 },
  { name: 'SO_MARK', level: SOL_SOCKET, option: sys.constants.SO_MARK, set: 0xfffffffe, then: -2 },
  { name: 'IP_BIND_ADDRESS_NO_PORT', level: IPPROTO_IP, option: sys.constants.IP_BIND_ADDRESS_NO_PORT, set: 1 },
  {
    name: 'IP_LOCAL_PORT_RANGE',
    level: IPPROTO_IP,
    option: sys.constants.IP_LOCAL_PORT_RANGE,
    set: 1000 + 50_000 * 65536,
    then: (1000 + 50_000 * 65536) | 0,
  },
  { name: 'IP_FREEBIND', level: IPPROTO_IP, option: sys.constants.IP_FREEBIND, set: 1, only: AF_INET },
  { name: 'IP_TRANSPARENT', level: IPPROTO_IP, option: sys.constants.IP_TRANSPARENT, set: 1, only: AF_INET },
  { name: 'IP_TOS', level: IPPROTO_IP, option: IP_TOS, set: 0x10, only: AF_INET },
  { name: 'IP_TTL', level: IPPROTO_IP, option: IP_TTL, set: 7, only: AF_INET },
  { name: 'IPV6_FREEBIND', level: IPPROTO_IPV6, option: sys.constants.IPV6_FREEBIND, set: 1, only: AF_INET6 },
  { name: 'IPV6_TRANSPARENT', level: IPPROTO_IPV6, option: sys.constants.IPV6_TRANSPARENT, set: 1, only: AF_INET6 },
  { name: 'IPV6_V6ONLY', level: IPPROTO_IPV6, option: IPV6_V6ONLY, set: 1, only: AF_INET6 },
  { name: 'IPV6_TCLASS', level: IPPROTO_IPV6, option: IPV6_TCLASS, set: 0x10, only: AF_INET6 },
  { name: 'IPV6_UNICAST_HOPS', level: IPPROTO_IPV6, option: IPV6_UNICAST_HOPS, set: 7, only: AF_INET6 },
  { name: 'TCP_NODELAY', level: IPPROTO_TCP, option: TCP_NODELAY, set: 1 },
  { name: 'TCP_MAXSEG', level: IPPROTO_TCP, option: TCP_MAXSEG, set: 1000 },
  { name: 'TCP_KEEPIDLE', level: IPPROTO_TCP, option: TCP_KEEPIDLE, set: 77 },
  { name: 'TCP_USER_TIMEOUT', level: IPPROTO_TCP, option: TCP_USER_TIMEOUT, set: 5000 },
  { name: 'TCP_FASTOPEN_CONNECT', level: IPPROTO_TCP, option: sys.constants.TCP_FASTOPEN_CONNECT, set: 1 },
  { name: 'SO_REUSEADDR of UDP', level: SOL_SOCKET, option: sys.constants.SO_REUSEADDR, set: 1, type: SOCK_DGRAM },
];

describeIsolated('socket options', () => {
  useNetwork(smallNetwork);

  describe.each(domains)('$family', ({ domain }) => {
    const known = options.filter(({ option }) => hasPortRange() || option !== sys.constants.IP_LOCAL_PORT_RANGE);
    const mine = known.filter(({ only }) => only === undefined || only === domain);

    if (!hasPortRange()) {
      test('IP_LOCAL_PORT_RANGE: not in this kernel', async () => {
        const { IP_LOCAL_PORT_RANGE } = sys.constants;
        const error = await errorOf(async () => sys.setsockopt(socket(domain), IPPROTO_IP, IP_LOCAL_PORT_RANGE, 1));
        expect(error).toMatchObject({ code: 'ENOPROTOOPT', syscall: 'setsockopt' });
      });
    }

    test.each(mine)('$name: get, set, get', ({ level, option, set, then = set, type }) => {
      const fd = socket(domain, type);
      expect(sys.getsockopt(fd, level, option)).not.toBe(then);
      sys.setsockopt(fd, level, option, set);
      expect(sys.getsockopt(fd, level, option)).toBe(then);
      expect([...sys.getsockopt(fd, level, option, 4)]).toEqual([...bytesOf(then)]);
    });

    test.each(mine)('$name: set as bytes', ({ level, option, set, then = set, type }) => {
      const fd = socket(domain, type);
      expect(sys.getsockopt(fd, level, option)).not.toBe(then);
      sys.setsockopt(fd, level, option, bytesOf(set));
      expect(sys.getsockopt(fd, level, option)).toBe(then);
    });

    test('SO_LINGER is a struct of 8 bytes', () => {
      const { SO_LINGER } = sys.constants;
      const fd = socket(domain);
      const linger = Buffer.from(new Int32Array([1, 30]).buffer);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_LINGER, 8)).not.toEqual(linger);
      sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_LINGER, 8)).toEqual(linger);
      // As many bytes as were asked for, and no more than there are.
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_LINGER, 4)).toEqual(linger.subarray(0, 4));
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_LINGER, 65536)).toEqual(linger);
    });

    test('SO_COOKIE is 8 bytes, another one for each socket', () => {
      const read = (fd: number) => sys.getsockopt(fd, SOL_SOCKET, sys.constants.SO_COOKIE, 8).readBigUInt64LE();
      const [first, second] = [socket(domain), socket(domain)];
      expect(read(first)).not.toBe(0n);
      expect(read(first)).toBe(read(first));
      expect(read(first)).not.toBe(read(second));
      expect(sys.getsockopt(first, SOL_SOCKET, sys.constants.SO_COOKIE, 100)).toHaveLength(8);
    });

    test('TCP_CONGESTION is text', async () => {
      const fd = socket(domain);
      expect(sys.getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, 16).toString()).not.toMatch(/^reno\0*$/);
      sys.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, Buffer.from('reno'));
      expect(sys.getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, 16).toString()).toMatch(/^reno\0*$/);
      expect(await errorOf(() => sys.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, Buffer.from('nosuch')))).toMatchObject(
        {
          code: 'ENOENT',
          syscall: 'setsockopt',
        },
      );
    });

    test('SO_BINDTODEVICE: no bytes without a device, a name with one, and none again', async () => {
      const { SO_BINDTODEVICE } = sys.constants;
      const fd = socket(domain);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, 16)).toHaveLength(0);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE)).toBe(0);
      sys.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from('lo'));
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, 16)).toEqual(Buffer.from('lo\0'));
      // Less room than a name may need.
      expect(await errorOf(() => sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE))).toMatchObject({ code: 'EINVAL' });
      sys.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, new Uint8Array(0));
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, 16)).toHaveLength(0);
    });
  });

  // ip(7): an int that fits in a byte, asked for with less than 4 bytes, is answered with 1.
  test('an answer of 1 byte', () => {
    const fd = socket(AF_INET);
    sys.setsockopt(fd, IPPROTO_IP, IP_TTL, 200);
    for (const length of [1, 2, 3]) {
      expect(sys.getsockopt(fd, IPPROTO_IP, IP_TTL, length)).toEqual(Buffer.from([200]));
    }
    expect(sys.getsockopt(fd, IPPROTO_IP, IP_TTL)).toBe(200);
    sys.setsockopt(fd, IPPROTO_IP, IP_TTL, new Uint8Array([201]));
    expect(sys.getsockopt(fd, IPPROTO_IP, IP_TTL)).toBe(201);
  });

  test('bytes may be a part of a larger buffer, shared memory, or a Buffer', () => {
    const fd = socket(AF_INET);
    const set = (bytes: Uint8Array) => {
      sys.setsockopt(fd, IPPROTO_IP, IP_TTL, 1);
      sys.setsockopt(fd, IPPROTO_IP, IP_TTL, bytes);
      return sys.getsockopt(fd, IPPROTO_IP, IP_TTL);
    };
    const part = new Uint8Array(32).fill(255);
    part.set([77, 0, 0, 0], 5);
    expect(set(part.subarray(5, 9))).toBe(77);
    const shared = new Uint8Array(new SharedArrayBuffer(16), 3, 4);
    shared[0] = 78;
    expect(set(shared)).toBe(78);
    expect(set(Buffer.from([79, 0, 0, 0]))).toBe(79);
  });

  test('no bytes, and bytes of a detached buffer, are a length of 0', async () => {
    const fd = socket(AF_INET);
    const detached = new Uint8Array(4);
    structuredClone(detached, { transfer: [detached.buffer] });
    for (const bytes of [new Uint8Array(0), detached]) {
      expect(await errorOf(() => sys.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bytes))).toMatchObject({
        code: 'EINVAL',
      });
    }
  });

  // The only option whose length is not in bytes: told of 4 bytes, the kernel would write 32.
  test('SO_GET_FILTER writes no more bytes than there is room for', async () => {
    const SO_GET_FILTER = 26;
    // BPF_RET | BPF_K, 0xffff: each instruction lets everything pass.
    const python = `
import ctypes, os, socket, struct, sys
s = socket.socket()
one = struct.pack('HBBI', 6, 0, 0, 0xffff)
code = ctypes.create_string_buffer(one * 4)
s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 4, ctypes.addressof(code)))
os.set_inheritable(s.fileno(), True)
os.dup2(s.fileno(), 3)
os.execv(sys.argv[1], sys.argv[1:])`;
    const script = `
const sys = require(process.argv[1]);
const instruction = Buffer.from([6, 0, 0, 0, 255, 255, 0, 0]);
const all = sys.getsockopt(3, 1, ${SO_GET_FILTER}, 64);
if (!all.equals(Buffer.concat([instruction, instruction, instruction, instruction]))) throw new Error(all.toString('hex'));
for (const length of [8, 16, 24, 31]) {
  try {
    sys.getsockopt(3, 1, ${SO_GET_FILTER}, length);
  } catch (error) {
    if (error.code === 'EINVAL') continue;
    throw error;
  }
  throw new Error(length + ' bytes were enough');
}
console.log('fine');`;
    const path = createRequire(import.meta.url).resolve('connectx/sys');
    expect(execFileSync('python3', ['-c', python, process.execPath, '-e', script, path], { encoding: 'utf8' })).toBe(
      'fine\n',
    );
  });

  test.each([
    { name: 'an option that is not there', level: SOL_SOCKET, option: 9999, code: 'ENOPROTOOPT' },
    { name: 'a level that is not there', level: 9999, option: 1, code: 'ENOPROTOOPT' },
  ])('$name: $code', async ({ level, option, code }) => {
    const fd = socket(AF_INET);
    const set = await errorOf(() => sys.setsockopt(fd, level, option, 1));
    expect(set).toMatchObject({ code, syscall: 'setsockopt', message: `setsockopt ${code}` });
    const get = await errorOf(() => sys.getsockopt(fd, level, option));
    expect(get.code).toMatch(/^(ENOPROTOOPT|ENOTSUP)$/);
    expect(get.syscall).toBe('getsockopt');
  });
});

describe('socket', () => {
  test.each([
    { domain: AF_INET, type: SOCK_STREAM },
    { domain: AF_INET, type: SOCK_DGRAM },
    { domain: AF_INET6, type: SOCK_STREAM },
    { domain: AF_INET6, type: SOCK_DGRAM },
  ])(
    'domain $domain, type $type: what was asked for, non-blocking and close-on-exec from birth',
    ({ domain, type }) => {
      const fd = socket(domain, type);
      const [SO_TYPE, SO_PROTOCOL, SO_DOMAIN] = [3, 38, 39];
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN)).toBe(domain);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_TYPE)).toBe(type);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL)).toBe(type === SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
      const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
      const [O_NONBLOCK, O_CLOEXEC] = [0o4000, 0o2000000];
      expect(Number.parseInt(flags?.[1] ?? '', 8) & (O_NONBLOCK | O_CLOEXEC)).toBe(O_NONBLOCK | O_CLOEXEC);
    },
  );

  test('a program that is started does not inherit it', async () => {
    const fd = socket(AF_INET);
    const child = spawn('ls', [`/proc/self/fd/${fd}`], { stdio: 'ignore' });
    expect(await new Promise((resolve) => child.once('exit', resolve))).not.toBe(0);
  });

  test('the protocol may be given', () => {
    const fd = sys.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    expect(fstatSync(fd).isSocket()).toBe(true);
    sys.close(fd);
  });

  test.each([
    { name: 'an address family that is not there', args: [9999, SOCK_STREAM, 0], code: 'EAFNOSUPPORT' },
    { name: 'a type that is not there', args: [AF_INET, 15, 0], code: 'EINVAL' },
    { name: 'a protocol of another type', args: [AF_INET, SOCK_STREAM, IPPROTO_UDP], code: 'EPROTONOSUPPORT' },
  ] as const)('$name: $code', async ({ args: [domain, type, protocol], code }) => {
    const before = descriptorCount();
    const error = await errorOf(() => sys.socket(domain, type, protocol));
    expect(error).toMatchObject({ code, syscall: 'socket', errno: -errno[code], message: `socket ${code}` });
    expect(descriptorCount()).toBe(before);
  });
});

describe('close', () => {
  const isOpen = (fd: number) => {
    try {
      fstatSync(fd);
      return true;
    } catch {
      return false;
    }
  };

  test('closes, and the second time is EBADF', async () => {
    const before = descriptorCount();
    const fd = socket(AF_INET);
    expect(descriptorCount()).toBe(before + 1);
    sys.close(fd);
    opened.delete(fd);
    expect(isOpen(fd)).toBe(false);
    expect(descriptorCount()).toBe(before);
    const error = await errorOf(() => sys.close(fd));
    expect(error).toMatchObject({ code: 'EBADF', syscall: 'close', errno: -errno.EBADF, message: 'close EBADF' });
  });

  test('a file is ENOTSOCK, and stays open', async () => {
    const fd = openSync('/dev/null', 'r');
    try {
      expect(await errorOf(() => sys.close(fd))).toMatchObject({ code: 'ENOTSOCK', syscall: 'close' });
      expect(isOpen(fd)).toBe(true);
    } finally {
      closeSync(fd);
    }
  });

  test('a descriptor that was never open is EBADF', async () => {
    expect(await errorOf(() => sys.close(0x7fffffff))).toMatchObject({ code: 'EBADF' });
  });

  test('a closed descriptor is EBADF for every other call', async () => {
    const fd = socket(AF_INET);
    close(fd);
    const to = { address: '127.0.0.1', port: 1 };
    const calls = {
      bind: () => sys.bind(fd, to),
      connect: () => sys.connect(fd, to),
      getsockname: () => sys.getsockname(fd),
      getpeername: () => sys.getpeername(fd),
      getsockopt: () => sys.getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE),
      setsockopt: () => sys.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1),
    };
    for (const [syscall, call] of Object.entries(calls)) {
      expect(await errorOf(call)).toMatchObject({ code: 'EBADF', syscall });
    }
  });

  test('a file is ENOTSOCK for every other call', async () => {
    const fd = openSync('/dev/null', 'r');
    try {
      const to = { address: '127.0.0.1', port: 1 };
      for (const call of [
        () => sys.bind(fd, to),
        () => sys.connect(fd, to),
        () => sys.getsockname(fd),
        () => sys.getpeername(fd),
        () => sys.getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE),
        () => sys.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1),
      ]) {
        expect(await errorOf(call)).toMatchObject({ code: 'ENOTSOCK' });
      }
    } finally {
      closeSync(fd);
    }
  });
});

describeIsolated('addresses', () => {
  useNetwork({
    ...smallNetwork,
    commands: [
      'ip link add veth0 type veth peer name veth1',
      'ip link set veth0 up',
      'ip addr add fe80::1/64 dev veth0 nodad',
    ],
  });

  describe.each(families)('$family', ({ version, any, source, source2, remote }) => {
    const domain = version === 6 ? AF_INET6 : AF_INET;
    const family = version === 6 ? 'IPv6' : 'IPv4';

    test('a new socket has neither end', async () => {
      const fd = socket(domain);
      expect(sys.getsockname(fd)).toEqual({ family, address: any, port: 0 });
      expect(await errorOf(() => sys.getpeername(fd))).toMatchObject({ code: 'ENOTCONN', syscall: 'getpeername' });
    });

    test('bind, and getsockname says where', async () => {
      const fd = socket(domain);
      sys.bind(fd, { address: source, port: 2000 });
      expect(sys.getsockname(fd)).toEqual({ family, address: source, port: 2000 });
      expect(await errorOf(() => sys.bind(fd, { address: source, port: 2001 }))).toMatchObject({
        code: 'EINVAL',
        syscall: 'bind',
      });
      const second = socket(domain);
      expect(await errorOf(() => sys.bind(second, { address: source, port: 2000 }))).toMatchObject({
        code: 'EADDRINUSE',
        syscall: 'bind',
        errno: -errno.EADDRINUSE,
        message: 'bind EADDRINUSE',
      });
      sys.bind(second, { address: source2, port: 2000 });
      expect(sys.getsockname(second).address).toBe(source2);
    });

    test('bind to port 0 takes a port of the ephemeral range', () => {
      const fd = socket(domain);
      sys.bind(fd, { address: source, port: 0 });
      expect(smallNetwork.range[0]).toBeLessThanOrEqual(sys.getsockname(fd).port);
      expect(smallNetwork.range[1]).toBeGreaterThanOrEqual(sys.getsockname(fd).port);
    });

    test.each([
      {
        name: 'an address of nobody here',
        address: version === 6 ? '2001:db8::ffff' : '192.0.2.1',
        code: 'EADDRNOTAVAIL',
      },
      {
        name: 'an address of the other family',
        address: version === 6 ? '127.0.0.1' : '::1',
        code: version === 6 ? 'EINVAL' : 'EAFNOSUPPORT',
      },
    ] as const)('bind to $name: $code', async ({ address, code }) => {
      expect(await errorOf(() => sys.bind(socket(domain), { address, port: 0 }))).toMatchObject({
        code,
        syscall: 'bind',
      });
    });

    test('connect of a stream socket is EINPROGRESS, and both ends are known when it is through', async () => {
      const server = await echoServer(SERVER, any);
      const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
      const fd = socket(domain);
      sys.bind(fd, { address: source, port: 2000 });
      const error = await errorOf(() => sys.connect(fd, { address: remote, port: SERVER }));
      expect(error).toMatchObject({ code: 'EINPROGRESS', syscall: 'connect', errno: -errno.EINPROGRESS });
      const peer = await accepted;
      const plain = (address: string | undefined) => address?.replace('::ffff:', '');
      expect([plain(peer.remoteAddress), peer.remotePort]).toEqual([source, 2000]);
      expect(sys.getsockname(fd)).toEqual({ family, address: source, port: 2000 });
      expect(sys.getpeername(fd)).toEqual({ family, address: remote, port: SERVER });
      // The first one takes note that it is through (connect(2)).
      sys.connect(fd, { address: remote, port: SERVER });
      expect(await errorOf(() => sys.connect(fd, { address: remote, port: SERVER }))).toMatchObject({
        code: 'EISCONN',
      });
    });

    test('connect of a datagram socket is through at once', () => {
      const fd = socket(domain, SOCK_DGRAM);
      sys.connect(fd, { address: remote, port: 9 });
      expect(sys.getpeername(fd)).toEqual({ family, address: remote, port: 9 });
      expect(sys.getsockname(fd).port).not.toBe(0);
    });

    test('a connect that is refused leaves its errno in SO_ERROR', async () => {
      const SO_ERROR = 4;
      const fd = socket(domain);
      expect(await errorOf(() => sys.connect(fd, { address: remote, port: 2002 }))).toMatchObject({
        code: 'EINPROGRESS',
      });
      // On loopback the refusal has come before connect(2) returns.
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_ERROR)).toBe(errno.ECONNREFUSED);
      expect(sys.getsockopt(fd, SOL_SOCKET, SO_ERROR)).toBe(0);
    });

    test('an unreachable destination', async () => {
      const address = version === 6 ? '2001:db9::1' : '192.0.2.1';
      expect(await errorOf(() => sys.connect(socket(domain), { address, port: 1 }))).toMatchObject({
        code: 'ENETUNREACH',
        syscall: 'connect',
      });
    });
  });

  test('every spelling that node:net takes for an address is one here', () => {
    const spellings = [
      '2001:DB8::1',
      '2001:0db8:0:0::1',
      '2001:db8:0:0:0:0:0:1',
      '2001:db8::0.0.0.1',
      '2001:db8:0::0:0.0.0.1',
    ];
    for (const address of spellings) {
      expect(net.isIP(address)).toBe(6);
      const fd = socket(AF_INET6);
      sys.bind(fd, { address, port: 0 });
      expect(sys.getsockname(fd).address).toBe('2001:db8::1');
      close(fd);
    }
    const longest = '0000:0000:0000:0000:0000:ffff:127.100.100.100';
    const fd = socket(AF_INET6);
    sys.bind(fd, { address: longest, port: 0 });
    expect(sys.getsockname(fd).address).toBe('::ffff:127.100.100.100');
  });

  test('a zone is an interface, by name or by index, and comes back as `scope`', async () => {
    const index = Number(readFileSync('/sys/class/net/lo/ifindex', 'utf8'));
    expect(index).toBe(1);
    const veth = interfaceIndex('veth0');
    for (const zone of ['veth0', `${veth}`]) {
      const fd = socket(AF_INET6);
      sys.bind(fd, { address: `fe80::1%${zone}`, port: 2000 });
      expect(sys.getsockname(fd)).toEqual({ family: 'IPv6', address: 'fe80::1', port: 2000, scope: veth });
      close(fd);
    }
    const bare = await errorOf(() => sys.bind(socket(AF_INET6), { address: 'fe80::1', port: 0 }));
    expect(bare).toMatchObject({ code: 'EINVAL', syscall: 'bind' });
    const wrong = await errorOf(() => sys.bind(socket(AF_INET6), { address: 'fe80::1%lo', port: 0 }));
    expect(wrong).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'bind' });
    const datagram = socket(AF_INET6, SOCK_DGRAM);
    sys.connect(datagram, { address: 'fe80::9%veth0', port: 9 });
    expect(sys.getpeername(datagram)).toEqual({ family: 'IPv6', address: 'fe80::9', port: 9, scope: veth });
  });

  test.each(['nosuch0', '0', '4294967297', '99999999999999999999', '1x', 'x'.repeat(16), 'x'.repeat(1000)])(
    'an interface that is not there: %%%s',
    async (zone) => {
      const error = await errorOf(() => sys.bind(socket(AF_INET6), { address: `fe80::1%${zone}`, port: 0 }));
      expect(error).toMatchObject({ code: 'ENODEV', syscall: 'if_nametoindex' });
    },
  );

  test('a port below ip_unprivileged_port_start', async () => {
    sysctl('ipv4.ip_unprivileged_port_start', 1024);
    const CAP_NET_BIND_SERVICE = 1n << 10n;
    const effective = BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
    // The root of the namespace may.
    expect(effective & CAP_NET_BIND_SERVICE).not.toBe(0n);
    const fd = socket(AF_INET);
    sys.bind(fd, { address: '127.0.0.1', port: 80 });
    expect(sys.getsockname(fd).port).toBe(80);
  });

  test('a socket that is neither IPv4 nor IPv6 has no address to tell', async () => {
    const AF_UNIX = 1;
    const fd = socket(AF_UNIX);
    expect(await errorOf(() => sys.getsockname(fd))).toMatchObject({ code: 'EAFNOSUPPORT', syscall: 'getsockname' });
  });
});

describeIsolated('udpLookup', () => {
  useNetwork(smallNetwork);

  const [BOUND, CONNECTED] = [7, 1];

  describe.each(families)('$family', ({ version, source, remote, remote2 }) => {
    const domain = version === 6 ? AF_INET6 : AF_INET;
    const local = { address: source, port: 2000 };
    const peer = { address: remote, port: 9 };

    test('nobody, then the socket that is bound, then the one that is connected', () => {
      expect(sys.udpLookup(local, peer)).toBeUndefined();
      const fd = socket(domain, SOCK_DGRAM);
      sys.bind(fd, local);
      const cookie = sys.getsockopt(fd, SOL_SOCKET, sys.constants.SO_COOKIE, 8).readBigUInt64LE();
      const owner = { cookie, inode: fstatSync(fd).ino, uid: process.getuid?.(), interface: 0 };
      expect(sys.udpLookup(local, peer)).toEqual({ ...owner, state: BOUND });
      sys.connect(fd, peer);
      expect(sys.udpLookup(local, peer)).toEqual({ ...owner, state: CONNECTED });
      // A datagram from anybody else does not reach it.
      expect(sys.udpLookup(local, { ...peer, address: remote2 })).toBeUndefined();
      expect(sys.udpLookup(local, { ...peer, port: 10 })).toBeUndefined();
      close(fd);
      expect(sys.udpLookup(local, peer)).toBeUndefined();
    });

    test('a socket that is bound to a device is found when that device is named, by name or by index', () => {
      const fd = socket(domain, SOCK_DGRAM);
      sys.setsockopt(fd, SOL_SOCKET, sys.constants.SO_BINDTODEVICE, Buffer.from('lo'));
      sys.bind(fd, local);
      expect(sys.udpLookup(local, peer)).toBeUndefined();
      for (const interface_ of ['lo', 1]) {
        expect(sys.udpLookup(local, peer, { interface: interface_ })).toMatchObject({ state: BOUND, interface: 1 });
      }
    });

    test('leaves no descriptor', () => {
      const before = descriptorCount();
      for (let call = 0; call < 100; call++) sys.udpLookup(local, peer);
      expect(descriptorCount()).toBe(before);
    });
  });

  test.each<[string, object, () => unknown]>([
    ['two families', { code: 'ERR_INVALID_ARG_VALUE' }, () => sys.udpLookup(v4End, v6End)],
    ['no address', { code: 'ERR_INVALID_ARG_TYPE' }, () => sys.udpLookup(undefined as never, v4End)],
    ['a name', { code: 'ERR_INVALID_IP_ADDRESS' }, () => sys.udpLookup(v4End, { address: 'localhost', port: 1 })],
    ['no port', { code: 'ERR_SOCKET_BAD_PORT' }, () => sys.udpLookup({ address: '::1', port: 65536 }, v6End)],
    ['an interface that is neither', { code: 'ERR_INVALID_ARG_TYPE' }, () => lookupOn(true)],
    ['an index that is none', { code: 'ERR_OUT_OF_RANGE' }, () => lookupOn(-1)],
    ['an interface that is not there', { code: 'ENODEV', syscall: 'if_nametoindex' }, () => lookupOn('nosuch0')],
  ])('%s: %o', async (_, expected, call) => {
    expect(await errorOf(call)).toMatchObject(expected);
  });

  const v4End = { address: '127.0.0.1', port: 1 };
  const v6End = { address: '::1', port: 1 };
  const lookupOn = (value: unknown) => sys.udpLookup(v4End, v4End, { interface: value as string });
});

function interfaceIndex(name: string): number {
  const line = execFileSync('ip', ['-o', 'link', 'show', name], { encoding: 'utf8' });
  return Number.parseInt(line, 10);
}

test('an error is a ConnectxError of the shape of Node’s own', async () => {
  const mine = await errorOf(() => sys.close(0x7fffffff));
  const nodes = await errorOf(() => closeSync(0x7fffffff));
  expect(mine).toBeInstanceOf(ConnectxError);
  for (const key of ['name', 'code', 'errno', 'syscall'] as const) expect(mine[key]).toBe(nodes[key]);
  expect(mine.stack).toMatch(/^Error: close EBADF\n {4}at /);
});

describe('wrong arguments are thrown before anything is done', () => {
  const fd = 0x7fffffff;
  const address = { address: '127.0.0.1', port: 0 };
  const wrong = (value: unknown) => value as never;
  const unFd = [undefined, null, '3', {}, true];
  const outFd = [-1, 1.5, NaN, 0x80000000, 2 ** 32, Infinity];

  const ofDescriptor: Record<string, (value: number) => unknown> = {
    close: (value) => sys.close(value),
    getsockname: (value) => sys.getsockname(value),
    getpeername: (value) => sys.getpeername(value),
    bind: (value) => sys.bind(value, address),
    connect: (value) => sys.connect(value, address),
    setsockopt: (value) => sys.setsockopt(value, 1, 2, 1),
    getsockopt: (value) => sys.getsockopt(value, 1, 2),
  };

  test.each(Object.entries(ofDescriptor))('the descriptor of %s', async (_, call) => {
    for (const value of unFd) {
      const error = await errorOf(() => call(wrong(value)));
      expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', name: 'TypeError' });
      const nodes = await errorOf(() => closeSync(wrong(value)));
      expect(error.message).toBe(nodes.message);
    }
    for (const value of outFd) {
      const error = await errorOf(() => call(value));
      expect(error).toMatchObject({ code: 'ERR_OUT_OF_RANGE', name: 'RangeError' });
      const nodes = await errorOf(() => new net.Socket({ fd: value }));
      expect(error.message).toBe(nodes.message);
    }
  });

  test.each<[string, string, () => unknown]>([
    ['no address', 'ERR_INVALID_ARG_TYPE', () => sys.bind(fd, wrong(undefined))],
    ['null', 'ERR_INVALID_ARG_TYPE', () => sys.bind(fd, wrong(null))],
    ['text for an address object', 'ERR_INVALID_ARG_TYPE', () => sys.connect(fd, wrong('127.0.0.1'))],
    ['an address that is no text', 'ERR_INVALID_ARG_TYPE', () => sys.bind(fd, wrong({ address: 5, port: 0 }))],
    ['no port', 'ERR_INVALID_ARG_TYPE', () => sys.bind(fd, wrong({ address: '127.0.0.1' }))],
    ['a port as text', 'ERR_INVALID_ARG_TYPE', () => sys.connect(fd, wrong({ address: '127.0.0.1', port: '80' }))],
    ['port 65536', 'ERR_SOCKET_BAD_PORT', () => sys.bind(fd, { address: '127.0.0.1', port: 65536 })],
    ['port -1', 'ERR_SOCKET_BAD_PORT', () => sys.connect(fd, { address: '127.0.0.1', port: -1 })],
    ['port 1.5', 'ERR_SOCKET_BAD_PORT', () => sys.connect(fd, { address: '127.0.0.1', port: 1.5 })],
    ['a name for an address', 'ERR_INVALID_IP_ADDRESS', () => sys.bind(fd, { address: 'localhost', port: 0 })],
    ['no text', 'ERR_INVALID_IP_ADDRESS', () => sys.bind(fd, { address: '', port: 0 })],
    ['a zero byte', 'ERR_INVALID_IP_ADDRESS', () => sys.bind(fd, { address: '127.0.0.1\0', port: 0 })],
    ['a zero byte in a zone', 'ERR_INVALID_IP_ADDRESS', () => sys.bind(fd, { address: 'fe80::1%lo\0', port: 0 })],
    ['an empty zone', 'ERR_INVALID_IP_ADDRESS', () => sys.bind(fd, { address: 'fe80::1%', port: 0 })],
    ['a level as text', 'ERR_INVALID_ARG_TYPE', () => sys.getsockopt(fd, wrong('1'), 2)],
    ['no option', 'ERR_INVALID_ARG_TYPE', () => sys.getsockopt(fd, 1, wrong(undefined))],
    ['a fraction of an option', 'ERR_OUT_OF_RANGE', () => sys.setsockopt(fd, 1, 1.5, 1)],
    ['a level that is no int', 'ERR_OUT_OF_RANGE', () => sys.setsockopt(fd, 2 ** 32, 1, 1)],
    ['no value', 'ERR_INVALID_ARG_TYPE', () => sys.setsockopt(fd, 1, 1, wrong(undefined))],
    ['text for a value', 'ERR_INVALID_ARG_TYPE', () => sys.setsockopt(fd, 1, 1, wrong('1'))],
    ['bytes of another kind', 'ERR_INVALID_ARG_TYPE', () => sys.setsockopt(fd, 1, 1, wrong(new Uint16Array(2)))],
    ['a bare ArrayBuffer', 'ERR_INVALID_ARG_TYPE', () => sys.setsockopt(fd, 1, 1, wrong(new ArrayBuffer(4)))],
    ['a value that is no int', 'ERR_OUT_OF_RANGE', () => sys.setsockopt(fd, 1, 1, 2 ** 32)],
    ['a length of 0', 'ERR_OUT_OF_RANGE', () => sys.getsockopt(fd, 1, 1, 0)],
    ['a length of -1', 'ERR_OUT_OF_RANGE', () => sys.getsockopt(fd, 1, 1, -1)],
    ['a length of 65537', 'ERR_OUT_OF_RANGE', () => sys.getsockopt(fd, 1, 1, 65537)],
    ['a length of 1.5', 'ERR_OUT_OF_RANGE', () => sys.getsockopt(fd, 1, 1, 1.5)],
    ['a length as text', 'ERR_INVALID_ARG_TYPE', () => sys.getsockopt(fd, 1, 1, wrong('4'))],
    ['a domain as text', 'ERR_INVALID_ARG_TYPE', () => sys.socket(wrong('2'), 1)],
    ['no type', 'ERR_INVALID_ARG_TYPE', () => sys.socket(2, wrong(undefined))],
    ['a protocol that is no int', 'ERR_OUT_OF_RANGE', () => sys.socket(2, 1, NaN)],
  ])('%s: %s', async (_, code, call) => {
    expect(await errorOf(call)).toMatchObject({ code });
  });
});

test('the constants are the kernel’s own', () => {
  const text = execFileSync('g++', ['-E', '-dM', '-x', 'c', '-'], {
    input: '#include <sys/socket.h>\n#include <linux/in.h>\n#include <linux/in6.h>\n#include <linux/tcp.h>\n',
    encoding: 'utf8',
  });
  const defined = new Map(
    [...text.matchAll(/^#define (\w+) +(\w+)$/gm)].map(([, name, value]) => [name, value] as const),
  );
  const valueOf = (name: string): number => {
    const value = defined.get(name);
    if (value === undefined || value === name) return NaN;
    return /^\d+$/.test(value) ? Number(value) : valueOf(value);
  };
  const found = Object.entries(sys.constants).filter(([name]) => !Number.isNaN(valueOf(name)));
  expect(found.length).toBeGreaterThan(10);
  for (const [name, value] of found) expect([name, valueOf(name)]).toEqual([name, value]);
});
