// Calls that are refused while another process has all the ports: they share looks at the kernel's socket table, and each of them
// gets one that began after the call.
import type { Socket } from 'node:dgram';
import { getEventListeners, once } from 'node:events';
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { connectUdp, connectUdpSync, type UdpConnectOptions, SourcePool } from 'connectx';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Native } from '../../src/kernel/addon.js';
import { smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { BUILT_ADDON } from '../helpers/package.js';
import { descriptorCount } from '../helpers/sockets.js';
import { errorOf, families, keep, SERVER, until } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';

const LOW = 30_000;
const COUNT = 600;
const HIGH = LOW + COUNT - 1;
const EXHAUSTED = { code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted' };

const native = createRequire(import.meta.url)(BUILT_ADDON) as Native;
const index = join(import.meta.dirname, '../../dist/index.js');

/** What the kernel is asked from now on. */
function listen() {
  return { looks: vi.spyOn(native, 'portsInState'), questions: vi.spyOn(native, 'udpOwners') };
}

/** What the kernel has said of other processes' ports holds for 25 ms, and for 20 times what the look took. */
const believedNoMore = () => new Promise((resolve) => setTimeout(resolve, 40));

describeIsolated(`${COUNT} ports, all taken by another process`, () => {
  useNetwork({ ...smallNetwork, range: [LOW, HIGH] });

  describe.each(families)('$family', ({ source, source2, remote }) => {
    const wanted: UdpConnectOptions = { host: remote, port: SERVER, localAddress: source };
    const refused = async (options = wanted) => errorOf(() => connectUdp(options));
    let holder: UdpClient;
    let unhandled: unknown[] = [];
    const onUnhandled = (error: unknown) => void unhandled.push(error);

    beforeEach(async () => {
      // It learns that the namespace is another one.
      (await connectUdp({ ...wanted, port: SERVER + 1 })).close();
      holder = new UdpClient();
      expect((await holder.fill({ ...wanted, sync: true }, COUNT)).ports).toHaveLength(COUNT);
      // From here on it is known whose they are.
      expect(await refused()).toMatchObject(EXHAUSTED);
      await believedNoMore();
      unhandled = [];
      process.on('unhandledRejection', onUnhandled);
    });

    afterEach(() => {
      vi.restoreAllMocks();
      process.off('unhandledRejection', onUnhandled);
      expect(unhandled).toEqual([]);
    });

    test('calls that wait at the same time share a look, and what it says is kept for a moment', async () => {
      const { looks, questions } = listen();
      const errors = await Promise.all(Array.from({ length: 50 }, async () => refused()));
      for (const error of errors) expect(error).toMatchObject(EXHAUSTED);
      // On a busy machine the last of them come later than a moment.
      const count = looks.mock.calls.length;
      expect(count).toBeGreaterThanOrEqual(1);
      expect(count).toBeLessThanOrEqual(5);
      expect(questions).not.toHaveBeenCalled();
      await believedNoMore();
      expect(await refused()).toMatchObject(EXHAUSTED);
      expect(looks).toHaveBeenCalledTimes(count + 1);
    });

    test('a port that was given back before the call, by a moment, is found, while others look as well', async () => {
      for (const port of [LOW, LOW + 321, HIGH]) {
        // Looks that have seen the port taken, one of them just when it is given back.
        const state = { going: true };
        const earlier = (async () => {
          const calls: PromiseSettledResult<Socket>[][] = [];
          while (state.going) {
            calls.push(await Promise.allSettled([connectUdp(wanted), connectUdp(wanted)]));
            await new Promise(setImmediate);
          }
          return calls.flat();
        })();
        await holder.close(port);
        await believedNoMore();
        const later = await Promise.allSettled(Array.from({ length: 10 }, async () => connectUdp(wanted)));
        state.going = false;
        const ports: number[] = [];
        for (const call of [...(await earlier), ...later]) {
          if (call.status === 'fulfilled') ports.push(keep(call.value).address().port);
          else expect(call.reason).toMatchObject(EXHAUSTED);
        }
        expect(ports).toEqual([port]);
      }
      expect(await refused()).toMatchObject(EXHAUSTED);
    });

    test('a port of our own is had by the very next call', async () => {
      const first = LOW + 17;
      await holder.close(first);
      await believedNoMore();
      let socket = keep(await connectUdp(wanted));
      expect(socket.address().port).toBe(first);
      const { looks, questions } = listen();
      for (let n = 0; n < 20; n++) {
        expect(await refused()).toMatchObject(EXHAUSTED);
        socket.close();
        socket = keep(await connectUdp(wanted));
        expect(socket.address().port).toBe(first);
      }
      expect(looks.mock.calls.length + questions.mock.calls.length).toBeLessThan(20);
    });

    test('an abort while it waits ends the call at once; the looks of the others go on', async () => {
      const { looks } = listen();
      const descriptors = descriptorCount();
      const controller = new AbortController();
      const { signal } = controller;
      const settled: string[] = [];
      const call = (name: string, options: UdpConnectOptions) =>
        errorOf(() => connectUdp(options)).finally(() => settled.push(name));
      const aborted = [call('whose look it is', { ...wanted, signal }), call('who waits', { ...wanted, signal })];
      await until(() => looks.mock.calls.length === 1);
      controller.abort(new Error('enough'));
      for (let turns = 0; turns < 4 && settled.length < 2; turns++) await new Promise(setImmediate);
      expect(settled).toEqual(['whose look it is', 'who waits']);
      for (const error of await Promise.all(aborted)) {
        expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: new Error('enough') });
      }
      expect(getEventListeners(signal, 'abort')).toEqual([]);
      expect(await refused()).toMatchObject(EXHAUSTED);
      // The look has gone on to its end, for whoever comes within 25 ms of its beginning.
      expect(looks.mock.calls.length).toBeLessThanOrEqual(2);
      await until(() => descriptorCount() <= descriptors);
      await holder.close(LOW + 5);
      await believedNoMore();
      expect(keep(await connectUdp(wanted)).address().port).toBe(LOW + 5);
    });

    test('as many calls with one signal as one likes', async () => {
      const warnings: Error[] = [];
      const onWarning = (warning: Error) => void warnings.push(warning);
      process.on('warning', onWarning);
      try {
        const controller = new AbortController();
        const { signal } = controller;
        const calls = Array.from({ length: 50 }, async () => refused({ ...wanted, signal }));
        expect(getEventListeners(signal, 'abort')).toHaveLength(1);
        // One that has no part in it.
        const other = refused();
        controller.abort();
        for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: 'ABORT_ERR' });
        expect(await other).toMatchObject(EXHAUSTED);
        expect(getEventListeners(signal, 'abort')).toEqual([]);
        await new Promise(setImmediate);
        expect(warnings).toEqual([]);
      } finally {
        process.off('warning', onWarning);
      }
    });

    test('where a look fails, each port is asked for', async () => {
      const syscall = native.syscalls.indexOf('socket');
      const { looks, questions } = listen();
      looks.mockReturnValue(-(constants.errno.EMFILE + 4096 * syscall));
      expect(await refused()).toMatchObject(EXHAUSTED);
      expect(questions.mock.calls.length).toBeGreaterThanOrEqual(Math.floor(COUNT / 256));
      await holder.close(LOW + 99);
      await believedNoMore();
      expect(keep(await connectUdp(wanted)).address().port).toBe(LOW + 99);
      expect(looks).toHaveBeenCalledTimes(2);
    });

    test('who cannot wait looks within the call', async () => {
      const now = vi.spyOn(native, 'portsInStateNow');
      const { looks, questions } = listen();
      for (const port of [LOW, LOW + 77, HIGH]) {
        await believedNoMore();
        expect(await errorOf(() => connectUdpSync(wanted))).toMatchObject(EXHAUSTED);
        await holder.close(port);
        await believedNoMore();
        expect(keep(connectUdpSync(wanted)).address().port).toBe(port);
      }
      expect(now).toHaveBeenCalledTimes(6);
      expect(looks).not.toHaveBeenCalled();
      expect(questions).not.toHaveBeenCalled();
      now.mockReturnValue(-(constants.errno.EMFILE + 4096 * native.syscalls.indexOf('socket')));
      await holder.close(LOW + 5);
      await believedNoMore();
      expect(keep(connectUdpSync(wanted)).address().port).toBe(LOW + 5);
      expect(questions).toHaveBeenCalled();
    });

    test('with an interface each port is asked for, too', async () => {
      const { looks } = listen();
      const options = { ...wanted, interface: 'lo' };
      expect(await refused(options)).toMatchObject(EXHAUSTED);
      expect(await refused(options)).toMatchObject(EXHAUSTED);
      expect(looks).not.toHaveBeenCalled();
    });

    test('a pool goes on with its next source', async () => {
      const { looks } = listen();
      const pool = new SourcePool([source, source2], { strategy: ([first]) => first });
      const socket = keep(await connectUdp({ host: remote, port: SERVER, localAddress: pool }));
      expect(socket.address().address).toBe(source2);
      expect(looks).toHaveBeenCalledTimes(1);
    });

    test('a worker thread that ends while it looks', async () => {
      const program = `
        const { parentPort, workerData } = require('node:worker_threads');
        const { connectUdp } = require(${JSON.stringify(index)});
        const { terminated, ...options } = workerData;
        const ignore = () => {};
        (async () => {
          await connectUdp(options).catch(ignore);
          const controller = new AbortController();
          const { signal } = controller;
          const again = () => connectUdp({ ...options, signal }).catch(ignore);
          const calls = Array.from({ length: 20 }, again);
          parentPort.postMessage('under way');
          if (!terminated) return controller.abort();
          for (;;) await Promise.all(Array.from({ length: 20 }, again));
        })();
      `;
      const run = async (terminated: boolean) => {
        const worker = new Worker(program, { eval: true, execArgv: [], workerData: { ...wanted, terminated } });
        const exited = once(worker, 'exit');
        await once(worker, 'message');
        if (terminated) await worker.terminate();
        // The other one ends by itself, with 0.
        expect(await exited).toEqual([terminated ? 1 : 0]);
      };
      await run(true);
      const before = descriptorCount();
      for (let n = 0; n < 10; n++) await run(n % 2 === 0);
      await until(
        () => descriptorCount() <= before,
        () => `${descriptorCount()} descriptors where there were ${before}`,
      );
      expect(descriptorCount()).toBeLessThanOrEqual(before);
    });
  });
});
