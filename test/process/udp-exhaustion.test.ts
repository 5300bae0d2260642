// 10,000 ports that other processes hold towards one destination: what the search for a free one does to this process.
import { getEventListeners } from 'node:events';
import { connectUdp, connectUdpSync, type UdpConnectOptions } from 'connectx';
import { beforeEach, expect, test } from 'vitest';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { errorOf, keep, RawUdp, SERVER, until } from '../helpers/udp.js';
import { UdpClient } from '../helpers/udp-processes.js';
import { descriptorCount } from '../helpers/sockets.js';

const LOW = 30_000;
const COUNT = 10_000;
const HIGH = LOW + COUNT - 1;

const wanted: UdpConnectOptions = { host: '127.0.0.2', port: SERVER, localAddress: '127.0.0.1' };
const EXHAUSTED = { code: 'EAGAIN', syscall: 'connect', reason: 'ports-exhausted' };

/** What the kernel has said of other processes' ports holds for 25 ms (src/udp/looks.ts). */
const believedNoMore = () => new Promise((resolve) => setTimeout(resolve, 26));

/** Counts the turns of the event loop while `act` goes on, and the processor's time that the longest of them took. */
async function turnsDuring(act: () => Promise<unknown>): Promise<{ turns: number; longest: number }> {
  let going = true;
  let turns = 0;
  let longest = 0;
  let before = process.cpuUsage();
  const turn = (): void => {
    // Not by the clock: whoever has to wait for a processor is not busy.
    const { user, system } = process.cpuUsage(before);
    longest = Math.max(longest, (user + system) / 1000);
    before = process.cpuUsage();
    turns++;
    if (going) setImmediate(turn);
  };
  setImmediate(turn);
  try {
    await act();
  } finally {
    going = false;
  }
  return { turns, longest };
}

describeIsolated('10,000 ports, all taken by other processes', () => {
  useNetwork({ range: [LOW, HIGH] });

  let holders: UdpClient[] = [];
  // Each can have 4,096 descriptors nearly everywhere.
  beforeEach(async () => {
    holders = Array.from({ length: 4 }, () => new UdpClient());
    const filled = await Promise.all(
      holders.map(async (holder, n) => {
        const low = LOW + (COUNT / 4) * n;
        const localPortRange = [low, low + COUNT / 4 - 1] as const;
        return holder.fill({ ...wanted, localPortRange, sync: true }, COUNT / 4);
      }),
    );
    expect(filled.map(({ ports }) => ports.length)).toEqual([2500, 2500, 2500, 2500]);
  });

  async function giveBack(...ports: number[]): Promise<void> {
    await Promise.all(holders.map(async (holder) => holder.close(...ports)));
    await believedNoMore();
  }

  test('connectUdp says EAGAIN and does not hold the event loop', async () => {
    // What is kept open to ask the kernel with.
    await errorOf(() => connectUdp({ ...wanted, localPort: LOW }));
    const before = descriptorCount();
    // The first search has everything to find out. The others know, and look again while the event loop goes on. How many turns it has
    // meanwhile is a matter of who gets a processor.
    for (const searches of [1, 1, 4]) {
      await believedNoMore();
      const { turns } = await turnsDuring(async () => {
        const errors = await Promise.all(
          Array.from({ length: searches }, async () => errorOf(() => connectUdp(wanted))),
        );
        for (const error of errors) expect(error).toMatchObject(EXHAUSTED);
      });
      expect(turns).toBeGreaterThanOrEqual(1);
    }
    // A look that took longer than somebody waited has a descriptor until its end.
    await until(() => descriptorCount() <= before);
    expect(descriptorCount()).toBe(before);

    // As a control, the one that cannot do otherwise.
    await believedNoMore();
    const { turns } = await turnsDuring(async () => {
      expect(await errorOf(() => connectUdpSync(wanted))).toMatchObject(EXHAUSTED);
    });
    expect(turns).toBe(0);
  }, 120_000);

  test('exactly as many as are given back', async () => {
    expect(await errorOf(() => connectUdp(wanted))).toMatchObject(EXHAUSTED);
    await giveBack(34_567);
    expect(keep(await connectUdp(wanted)).address().port).toBe(34_567);
    expect(await errorOf(() => connectUdp(wanted))).toMatchObject(EXHAUSTED);

    const three = [LOW, 37_000, HIGH];
    await giveBack(...three);
    const sockets = [keep(connectUdpSync(wanted)), keep(await connectUdp(wanted)), keep(connectUdpSync(wanted))];
    expect(sockets.map((socket) => socket.address().port).sort((a, b) => a - b)).toEqual(three);
    expect(await errorOf(() => connectUdp(wanted))).toMatchObject(EXHAUSTED);
    expect(await errorOf(() => connectUdpSync(wanted))).toMatchObject(EXHAUSTED);

    // One of our own.
    sockets[1]?.close();
    const port = three.find((one) => ![sockets[0], sockets[2]].some((socket) => socket?.address().port === one));
    expect(keep(await connectUdp(wanted)).address().port).toBe(port);
  });

  test('a port that is given back during the search is found', async () => {
    // From another source there is one that is locked, and unlocked when the search has found that: it goes on for a while.
    const locker = new RawUdp(4, { bind: { address: '127.0.0.3', port: LOW } });
    const options = { ...wanted, localAddress: '127.0.0.3', localPortRange: [LOW, LOW] as const };
    const pending = connectUdp(options);
    locker.close();
    expect(keep(await pending).address().port).toBe(LOW);
  });

  test('other destinations, and other sources, have all their ports', async () => {
    expect(await errorOf(() => connectUdp(wanted))).toMatchObject(EXHAUSTED);
    keep(await connectUdp({ ...wanted, host: '127.0.0.3' }));
    keep(await connectUdp({ ...wanted, localAddress: '127.0.0.4' }));
    keep(await connectUdp({ ...wanted, localPort: LOW, port: SERVER + 1 }));
  });

  test('an abort ends the search at once, and leaves nothing behind', async () => {
    const descriptors = descriptorCount();
    // The earliest, the middle, and later than what it takes.
    for (const after of [0, 1, 5, 20]) {
      const controller = new AbortController();
      const { signal } = controller;
      let settled = false;
      const pending = errorOf(() => connectUdp({ ...wanted, signal })).finally(() => (settled = true));
      for (let n = 0; n < after; n++) await new Promise(setImmediate);
      expect(settled).toBe(false);
      controller.abort(new Error('enough'));
      let turns = 0;
      await until(() => settled || ++turns > 5);
      expect(settled).toBe(true);
      const error = await pending;
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: new Error('enough') });
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    }
    // A look that nobody waits for any more goes on to its end, with a descriptor of its own.
    await until(() => descriptorCount() <= descriptors);
    expect(descriptorCount()).toBe(descriptors);
    // And the ports of the searches that were given up are not lost.
    await giveBack(34_567);
    expect(keep(await connectUdp(wanted)).address().port).toBe(34_567);
  });
});
