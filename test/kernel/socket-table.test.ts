// Dumps of the kernel's socket table, beside ss(8) of iproute2, which asks the same kernel in its own way.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import * as dgram from 'node:dgram';
import { Worker } from 'node:worker_threads';
import { connect, type ConnectOptions, connectUdp } from 'connectx';
import * as sys from 'connectx/sys';
import { describe, expect, test } from 'vitest';
import type { Dumped, Native } from '../../src/kernel/addon.js';
import { decodeGroups, decodeHolders, type SocketGroup } from '../../src/kernel/socket_table.js';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { showsBoundSockets } from '../helpers/kernel.js';
import { describeIsolated, enterNetwork, shell, useNetwork } from '../helpers/netns.js';
import { type PortBits, portsIn } from '../../src/values/port_bits.js';
import { rawBind } from '../helpers/raw.js';
import { BUILT_ADDON } from '../helpers/package.js';
import { RawUdp } from '../helpers/udp.js';
import { closed, connected, descriptorCount, echoServer, track, until } from '../helpers/sockets.js';

const AF_INET = 2;
const AF_INET6 = 10;
const TCP = 6;
const UDP = 17;
const TIME_WAIT = 'TIME-WAIT';
const STATES = { established: 1, timeWait: 6 };
const NONE = new Uint8Array();
const ALL = new Uint8Array(8192).fill(255);

const native = createRequire(import.meta.url)(BUILT_ADDON) as Native;

function bits(low: number, high: number) {
  const set = new Uint8Array(8192);
  for (let port = low; port <= high; port++) set[port >> 3] = (set[port >> 3] ?? 0) | (1 << (port & 7));
  return set;
}

/** An outcome that is no errno. */
async function answer<T extends Uint8Array | PortBits>(dumped: Dumped<T>): Promise<T> {
  const outcome = await dumped;
  if (typeof outcome === 'number') throw new Error(`outcome ${outcome}`);
  return outcome;
}

async function groups(protocol: number, ports = ALL, ...[local = null, remote = null, port = -1]: Filter) {
  return decodeGroups(await answer(native.socketGroups(protocol, local, remote, port, ports, NONE)));
}
type Filter = [local?: string | null, remote?: string | null, port?: number];

const holders = async (protocol: number, low = 0, high = 65535) =>
  decodeHolders(await answer(native.socketHolders(protocol, low, high)));

const timeWait = async (family: number, local: string, remote: string, port = SERVER) =>
  portsIn(await answer(native.portsInState(TCP, STATES.timeWait, family, local, remote, port)));

const connectedUdp = async (family: number, local: string, remote: string, port = SERVER) =>
  portsIn(await answer(native.portsInState(UDP, STATES.established, family, local, remote, port)));

/** What ss(8) makes of the same table, grouped as we group. */
function ss(flag: '-t' | '-u', low: number, high: number): Map<string, { used: number; timeWait: number }> {
  const lines = shell(`ss -Han ${flag} state connected state time-wait state fin-wait-2`).split('\n').filter(Boolean);
  const counts = new Map<string, { used: number; timeWait: number }>();
  for (const line of lines) {
    const [state = '', , , local = '', remote = ''] = line.trim().split(/\s+/);
    const strip = (end: string) => end.replace(/%\w+/, '').replaceAll(/[[\]]/g, '').replace('::ffff:', '');
    const at = local.lastIndexOf(':');
    const port = Number(local.slice(at + 1));
    if (port < low || port > high) continue;
    const key = `${strip(local.slice(0, at))} ${strip(remote)}`;
    const count = counts.get(key) ?? { used: 0, timeWait: 0 };
    counts.set(key, { used: count.used + 1, timeWait: count.timeWait + (state === TIME_WAIT ? 1 : 0) });
  }
  return counts;
}

const asMap = (found: readonly SocketGroup[]) =>
  new Map(
    found.map(({ localAddress, remoteAddress, remotePort, used, timeWait: waiting }) => [
      `${localAddress} ${remoteAddress}:${remotePort}`,
      { used, timeWait: waiting },
    ]),
  );

/** A connection whose client closes first. */
async function intoTimeWait(options: ConnectOptions): Promise<number> {
  const socket = await connected(connect(options));
  const { localPort = 0 } = socket;
  socket.end();
  await closed(socket);
  await until(() => shell(`ss -Htan state time-wait sport = :${localPort}`) !== '');
  return localPort;
}

describeIsolated('the socket table', () => {
  useNetwork({ ...smallNetwork, range: [20000, 20999] });

  describe.each(families)('$family', ({ version, any, source, source2, remote, remote2 }) => {
    const family = version === 4 ? AF_INET : AF_INET6;
    const udpType = version === 4 ? 'udp4' : 'udp6';

    test('counts by source and destination, as ss does', async () => {
      await echoServer(SERVER, any);
      await echoServer(SERVER + 1, any);
      const to = (host: string, localAddress: string, port = SERVER) =>
        connected(connect({ host, port, localAddress }));
      for (let n = 0; n < 30; n++) await to(remote, source);
      for (let n = 0; n < 20; n++) await to(remote2, source);
      for (let n = 0; n < 10; n++) await to(remote, source2);
      await to(remote, source, SERVER + 1);
      for (let n = 0; n < 3; n++) await intoTimeWait({ host: remote, port: SERVER, localAddress: source });
      const found = await groups(TCP, bits(20000, 20999));
      expect(found[0]).toEqual({
        family: version,
        localAddress: source,
        remoteAddress: remote,
        remotePort: SERVER,
        used: 33,
        timeWait: 3,
      });
      expect(asMap(found)).toEqual(ss('-t', 20000, 20999));
      expect(found.map(({ used }) => used)).toEqual([33, 20, 10, 1]);
      // Without a bound, the other ends as well.
      expect(asMap(await groups(TCP))).toEqual(ss('-t', 0, 65535));
    });

    test('what the kernel is told to filter', async () => {
      await echoServer(SERVER, any);
      await echoServer(SERVER + 1, any);
      for (const localAddress of [source, source2]) {
        for (const host of [remote, remote2]) {
          for (const port of [SERVER, SERVER + 1]) await connected(connect({ host, port, localAddress }));
        }
      }
      const count = async (...filter: Filter) => (await groups(TCP, bits(20000, 20999), ...filter)).length;
      expect(await count()).toBe(8);
      expect(await count(source)).toBe(4);
      expect(await count(null, remote)).toBe(4);
      expect(await count(null, null, SERVER)).toBe(4);
      expect(await count(source, remote2)).toBe(2);
      expect(await count(source, remote2, SERVER + 1)).toBe(1);
      expect(await count(remote)).toBe(0);
      expect(await count(null, null, 9)).toBe(0);
    });

    test('only ports that are asked for', async () => {
      await echoServer(SERVER, any);
      const to = (localPort: number) =>
        connected(connect({ host: remote, port: SERVER, localAddress: source, localPort }));
      for (const port of [20000, 20005, 20010, 30000]) await to(port);
      const ports = bits(20000, 20010);
      ports[20005 >> 3] = (ports[20005 >> 3] ?? 0) & ~(1 << (20005 & 7));
      expect(await groups(TCP, ports)).toMatchObject([{ used: 2 }]);
      expect(await groups(TCP, bits(30000, 30000))).toMatchObject([{ used: 1 }]);
      expect(await groups(TCP, bits(1, 0), source)).toEqual([]);
    });

    test('UDP', async () => {
      const peer = track(dgram.createSocket(udpType));
      peer.bind(SERVER, remote);
      await once(peer, 'listening');
      for (let n = 0; n < 5; n++) {
        track(await connectUdp({ host: remote, port: SERVER, localAddress: source }));
      }
      const found = await groups(UDP, bits(20000, 20999));
      expect(found).toMatchObject([
        { family: version, localAddress: source, remotePort: SERVER, used: 5, timeWait: 0 },
      ]);
      expect(asMap(found)).toEqual(ss('-u', 20000, 20999));
      expect(await holders(UDP)).toMatchObject([{ localAddress: remote, localPort: SERVER, state: 7 }]);
      expect(await holders(UDP, 20000, 20999)).toEqual([]);
      expect(await groups(UDP, bits(20000, 20999), source2)).toEqual([]);
    });

    test('sockets that hold a port: listening, and bound only', async () => {
      const server = net.createServer();
      track(server).listen({ port: 20500, host: any, ipv6Only: true });
      await once(server, 'listening');
      rawBind({ address: source, port: 20600 });
      const found = await holders(TCP);
      expect(found[0]).toMatchObject({
        family: version,
        localAddress: any,
        localPort: 20500,
        state: 10,
        v6Only: version === 6,
        uid: 0,
      });
      expect(shell('ss -Htlne')).toContain(`ino:${found[0]?.inode} `);
      const bound = found.filter(({ state }) => state === 7);
      const one = showsBoundSockets() ? [{ family: version, localAddress: source, localPort: 20600 }] : [];
      expect(bound).toMatchObject(one);
      expect(await holders(TCP, 20501, 20999)).toMatchObject(one);
      expect(await holders(TCP, 20601, 20999)).toEqual([]);
    });

    test('endpoints that are left out', async () => {
      const held = { address: source, port: 20700 };
      const peer = track(dgram.createSocket({ type: udpType, reuseAddr: true }));
      peer.bind(held);
      await once(peer, 'listening');
      const other = track(dgram.createSocket({ type: udpType, reuseAddr: true }));
      other.bind(held);
      await once(other, 'listening');
      other.connect(SERVER, remote);
      await once(other, 'connect');
      const elsewhere = track(dgram.createSocket(udpType));
      elsewhere.bind({ ...held, address: source2 });
      await once(elsewhere, 'listening');
      elsewhere.connect(SERVER, remote);
      await once(elsewhere, 'connect');
      const [holder] = await holders(UDP);
      expect(holder).toMatchObject({ localAddress: source, localPort: 20700 });
      expect(await groups(UDP)).toHaveLength(2);
      const records = await answer(native.socketGroups(UDP, null, null, -1, ALL, holder?.endpoint ?? NONE));
      expect(decodeGroups(records)).toMatchObject([{ localAddress: source2, used: 1 }]);
    });

    test('ports in TIME-WAIT, on exactly that source and destination', async () => {
      await echoServer(SERVER, any);
      await echoServer(SERVER + 1, any);
      const ports: number[] = [];
      for (let n = 0; n < 3; n++) ports.push(await intoTimeWait({ host: remote, port: SERVER, localAddress: source }));
      await intoTimeWait({ host: remote, port: SERVER, localAddress: source2 });
      await intoTimeWait({ host: remote2, port: SERVER, localAddress: source });
      await intoTimeWait({ host: remote, port: SERVER + 1, localAddress: source });
      await connected(connect({ host: remote, port: SERVER, localAddress: source }));
      expect(await timeWait(family, source, remote)).toEqual(ports.sort((a, b) => a - b));
      expect(await timeWait(family, source2, remote)).toHaveLength(1);
      expect(await timeWait(family, source2, remote2)).toEqual([]);
    });
  });

  test('IPv4-mapped sockets are counted with the IPv4 ones', async () => {
    await echoServer(SERVER, '::');
    const options = { host: '::ffff:127.0.0.2', port: SERVER, localAddress: '::ffff:127.0.0.1', family: 6 };
    const mapped = await connected(net.connect(options));
    await connected(connect({ host: '127.0.0.2', port: SERVER, localAddress: '127.0.0.1' }));
    const expected = [{ family: 4, localAddress: '127.0.0.1', remoteAddress: '127.0.0.2', used: 2 }];
    expect(await groups(TCP, bits(20000, 20999))).toMatchObject(expected);
    expect(await groups(TCP, bits(20000, 20999), '127.0.0.1', '127.0.0.2', SERVER)).toMatchObject(expected);
    const { localPort = 0 } = mapped;
    mapped.end();
    await closed(mapped);
    await until(() => shell(`ss -Htan state time-wait sport = :${localPort}`) !== '');
    expect(await timeWait(AF_INET, '127.0.0.1', '127.0.0.2')).toEqual([localPort]);
    expect(await timeWait(AF_INET6, '::ffff:127.0.0.1', '::ffff:127.0.0.2')).toEqual([localPort]);
    expect(await groups(TCP, bits(20000, 20999))).toMatchObject([{ used: 2, timeWait: 1 }]);
  });

  test('connected UDP sockets towards one destination: those that a datagram of the peer can reach', async () => {
    const ends = (port: number) => ({
      bind: { address: '127.0.0.1', port },
      connect: { address: '127.0.0.2', port: SERVER },
    });
    new RawUdp(4, ends(20001));
    new RawUdp(6, {
      bind: { address: '::ffff:127.0.0.1', port: 20002 },
      connect: { address: '::ffff:127.0.0.2', port: SERVER },
    });
    new RawUdp(4, { ...ends(20003), device: 'lo' });
    shell(
      'ip link add name other type veth peer name peer && ip link set other up && ip link set peer up && ip addr add 192.0.2.1/24 dev other',
    );
    // What comes from a loopback address does not come in there, and udpLookup does not see it.
    const { SOL_SOCKET, SO_BINDTODEVICE } = sys.constants;
    sys.setsockopt(new RawUdp(4, ends(20004)).fd, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from('other'));
    // Another source, destination, port; and none.
    new RawUdp(4, { ...ends(20005), bind: { address: '127.0.0.3', port: 20005 } });
    new RawUdp(4, { ...ends(20006), connect: { address: '127.0.0.4', port: SERVER } });
    new RawUdp(4, { ...ends(20007), connect: { address: '127.0.0.2', port: SERVER + 1 } });
    new RawUdp(4, { bind: { address: '127.0.0.1', port: 20008 } });
    expect(await connectedUdp(AF_INET, '127.0.0.1', '127.0.0.2')).toEqual([20001, 20002, 20003]);
    const to = { bind: { address: '192.0.2.1', port: 20009 }, connect: { address: '192.0.2.9', port: SERVER } };
    new RawUdp(4, { ...to, device: 'other' });
    new RawUdp(4, { ...to, bind: { ...to.bind, port: 20010 } });
    expect(await connectedUdp(AF_INET, '192.0.2.1', '192.0.2.9')).toEqual([20009, 20010]);
    // As many questions say the same.
    const device = (name: string) => ({ interface: name });
    for (const port of [20001, 20002, 20003, 20004]) {
      const { bind, connect: peer } = ends(port);
      expect(sys.udpLookup(bind, peer, device('lo'))?.state, String(port)).toBe(port === 20004 ? undefined : 1);
    }
  });

  test('the namespace of the thread that asks answers, wherever it goes meanwhile', async () => {
    await echoServer(20500, '127.0.0.1');
    const asked = native.socketHolders(TCP, 0, 65535);
    const leave = enterNetwork({ range: [1024, 65000] });
    try {
      expect(await holders(TCP)).toEqual([]);
      expect(decodeHolders(await answer(asked))).toMatchObject([{ localPort: 20500 }]);
    } finally {
      leave();
    }
  });

  test('a dump of more than one part', async () => {
    await echoServer(SERVER, '0.0.0.0');
    await Promise.all(
      Array.from({ length: 900 }, () =>
        connected(connect({ host: '127.0.0.2', port: SERVER, localAddress: '127.0.0.1' })),
      ),
    );
    const both = await groups(TCP);
    expect(both).toHaveLength(901);
    expect(asMap(both)).toEqual(ss('-t', 0, 65535));
    expect(await groups(TCP, bits(20000, 20999))).toMatchObject([{ used: 900 }]);
  });

  test('what cannot be asked', async () => {
    const outcome = await native.portsInState(TCP, STATES.timeWait, AF_INET, 'none', '127.0.0.1', 1);
    expect(outcome).toBeLessThan(0);
    expect(await native.portsInState(99, STATES.timeWait, AF_INET, '127.0.0.1', '127.0.0.1', 1)).toBeLessThan(0);
    expect(await native.socketGroups(99, null, null, -1, ALL, NONE)).toBeLessThan(0);
  });

  test('no descriptor is left', async () => {
    await groups(TCP);
    const before = descriptorCount();
    for (let n = 0; n < 200; n++) {
      await Promise.all([
        groups(TCP),
        holders(UDP),
        timeWait(AF_INET, '127.0.0.1', '127.0.0.2'),
        native.socketGroups(99, null, null, -1, ALL, NONE),
      ]);
    }
    expect(descriptorCount()).toBe(before);
  });

  test('a worker thread that is terminated with dumps under way', async () => {
    await groups(TCP);
    const addon = addonPath();
    const program = `
      const { workerData, parentPort } = require('node:worker_threads');
      const native = require(workerData);
      const ports = new Uint8Array(8192).fill(255);
      const again = () => native.socketGroups(6, null, null, -1, ports, new Uint8Array()).then(again);
      for (let n = 0; n < 32; n++) again();
      parentPort.postMessage('under way');
    `;
    const before = descriptorCount();
    for (let n = 0; n < 30; n++) {
      const worker = new Worker(program, { eval: true, workerData: addon });
      await once(worker, 'message');
      await worker.terminate();
    }
    await until(() => descriptorCount() <= before + 1);
  });
});

/** Where the addon has been loaded from. */
function addonPath(): string {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  const path = sharedObjects.find((name) => /connectx[^/]*\.node$/.test(name));
  if (path === undefined) throw new Error('the addon is not loaded');
  return path;
}
