// Whoever holds a lock may lose its processor meanwhile, and the threads of libuv may be busy: neither is a reason for a wrong answer.
import { execFileSync } from 'node:child_process';
import { closeSync, open as openFile, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connectUdp, type UdpConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { errorOf, families, keep, PORTS, RawUdp, SERVER, udpNetwork, ways } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';
import { Worker } from 'node:worker_threads';

/** Locks a port as connectx does, in a thread of its own, and connects after so long: as who has lost its processor. */
const stalled = `
  const { workerData: { sys: path, family, bind, connect, ms }, parentPort } = require('node:worker_threads');
  const sys = require(path);
  const { AF_INET, AF_INET6, SOCK_DGRAM, SOL_SOCKET, SO_REUSEADDR } = sys.constants;
  const fd = sys.socket(family === 6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
  sys.bind(fd, bind);
  parentPort.postMessage('locked');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  sys.connect(fd, connect);
  sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  parentPort.postMessage('connected');
  parentPort.on('message', () => { sys.close(fd); parentPort.close(); });
`;

describeIsolated('the holder of a lock is off its processor', () => {
  useNetwork(udpNetwork);

  describe.each(families)('$family', ({ version, source, remote, remote2 }) => {
    const [port = 0] = PORTS;

    async function hold(ms: number): Promise<Worker> {
      const path = join(import.meta.dirname, '../../dist/sys.js');
      const bind = { address: source, port };
      const workerData = { sys: path, family: version, bind, connect: { address: remote2, port: SERVER }, ms };
      const worker = new Worker(stalled, { eval: true, workerData });
      await new Promise((resolve) => worker.once('message', resolve));
      return worker;
    }

    test.each(ways)('$way waits for it: the one port that is left, and the one that is asked for', async ({ open }) => {
      for (const wish of [{ localPortRange: [port, port] as const }, { localPort: port }]) {
        const worker = await hold(120);
        const socket = await open({ host: remote, port: SERVER, localAddress: source, ...wish });
        expect(socket.address().port).toBe(port);
        socket.close();
        worker.postMessage('end');
        await new Promise((resolve) => worker.once('exit', resolve));
      }
    });

    test.each(ways)('$way does not wait for a server, but once', async ({ open }) => {
      new RawUdp(version, { bind: { address: source, port } });
      const options = { host: remote, port: SERVER, localAddress: source, localPortRange: [port, port] as const };
      const exhausted = { code: 'EAGAIN', reason: 'ports-exhausted' };
      expect(await errorOf(async () => open(options))).toMatchObject(exhausted);
      let turns = 0;
      const counting = setInterval(() => turns++, 1);
      expect(await errorOf(async () => open(options))).toMatchObject(exhausted);
      clearInterval(counting);
      expect(turns).toBeLessThan(50);
    });
  });
});

const COUNT = 600;
const [LOW, HIGH] = [30_000, 30_000 + COUNT - 1];

describeIsolated('the threads of libuv are busy', () => {
  useNetwork({ ...udpNetwork, range: [LOW, HIGH] });

  test('connectUdp answers all the same', async () => {
    const wanted: UdpConnectOptions = { host: '127.0.0.2', port: SERVER, localAddress: '127.0.0.1' };
    keep(await connectUdp({ ...wanted, port: SERVER + 1 }));
    const holder = new UdpClient();
    expect((await holder.fill({ ...wanted, sync: true }, COUNT)).ports).toHaveLength(COUNT);
    const exhausted = { code: 'EAGAIN', reason: 'ports-exhausted' };
    expect(await errorOf(() => connectUdp(wanted))).toMatchObject(exhausted);
    // To open one end of a pipe takes until somebody opens the other.
    const pipe = join(folderWith(), 'pipe');
    execFileSync('mkfifo', [pipe]);
    const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
    let opened = 0;
    for (let n = 0; n < threads; n++) {
      openFile(pipe, 'r', (error, fd) => {
        opened++;
        if (error === null) closeSync(fd);
      });
    }
    try {
      for (let n = 0; n < 3; n++) expect(await errorOf(() => connectUdp(wanted))).toMatchObject(exhausted);
      await holder.close(LOW + 7);
      // What the kernel has said holds for 25 ms.
      await pause(30);
      expect(keep(await connectUdp(wanted)).address().port).toBe(LOW + 7);
      expect(opened).toBe(0);
    } finally {
      const end = openSync(pipe, 'r+');
      while (opened < threads) await pause(5);
      closeSync(end);
    }
  });
});
