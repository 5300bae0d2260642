// What is left when a process may not, or cannot, open connections; and after very many that it could.
import { execFile } from 'node:child_process';
import * as net from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { families, SERVER, smallNetwork } from '../helpers/families.js';
import { CALLS } from '../helpers/leaks.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture, runUnprivileged } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';

const { source, remote } = families[0] ?? { source: '', remote: '' };

interface Left {
  ends: Record<string, number>;
  /** Descriptors. */
  left: number;
}

async function run(argument: object, limit: string, ...flags: string[]): Promise<unknown> {
  const args = ['-c', `${limit} && exec "$@"`, 'sh', process.execPath, ...flags, fixture('leaks.mjs')];
  const { stdout } = await promisify(execFile)('sh', [...args, JSON.stringify(argument)], { timeout: 25_000 });
  return JSON.parse(stdout);
}

/** A server that hears nothing, and leaves closing (and so TIME-WAIT) to the client. */
async function server(): Promise<void> {
  const listening = track(
    net.createServer((socket) => {
      socket.on('error', () => {});
      socket.resume();
    }),
  );
  await new Promise<void>((resolve) => listening.listen({ port: SERVER, backlog: 4096 }, resolve));
}

describeIsolated('without the privilege', () => {
  useNetwork(smallNetwork);

  test.each([
    { name: 'mark', options: { mark: 1 } },
    { name: 'transparent', options: { transparent: true } },
  ])(`${CALLS} calls with $name: EPERM, and no descriptor is left`, async ({ options }) => {
    const argument = { act: 'repeat', calls: CALLS, options: { host: remote, port: SERVER, ...options } };
    const { ends, left } = (await runUnprivileged('leaks.mjs', argument)) as Left;
    expect(ends).toEqual({ 'EPERM setsockopt': CALLS });
    expect(left).toBe(0);
  });
});

interface Starved extends Left {
  kernel: string;
  native: boolean;
  afterwards: string;
}

describeIsolated('without a descriptor left', () => {
  useNetwork({ ...smallNetwork, range: [1024, 65535] });

  const KNOWN = /^(connected|EMFILE \w+|EADDRNOTAVAIL (tuple-in-use|ports-exhausted))$/;
  const target = { host: remote, port: SERVER };
  describe.each([
    { given: 'the destination only', options: target },
    { given: 'a source address', options: { ...target, localAddress: source } },
    { given: 'a source port', options: { ...target, localPort: 900 } },
    { given: 'a source address and port', options: { ...target, localAddress: source, localPort: 5000 } },
    { given: 'a range to be searched', options: { ...target, localAddress: source, localPortRange: [900, 910] } },
    {
      given: 'a range to be searched, and TIME-WAIT to be taken over',
      options: { ...target, localAddress: source, localPortRange: [900, 910], reuseTimeWait: true },
    },
    { given: 'a pool', options: target, pool: [source, '127.0.0.14'] },
    {
      given: 'a source for each family, and a port',
      options: { ...target, localAddress: { ipv4: source }, localPort: 5000 },
    },
  ])('$given', ({ options, pool }) => {
    test.each([
      { name: 'from the first call on', warm: false },
      { name: 'after a connection', warm: true },
    ])(`$name: ${CALLS / 10} calls fail, and one works when there are descriptors again`, async ({ warm }) => {
      await server();
      const argument = { act: 'withoutDescriptors', calls: CALLS / 10, options, pool, free: 0, warm };
      const { ends, left, kernel, native, afterwards } = (await run(argument, 'ulimit -n 64')) as Starved;
      // The socket, or what is asked of the kernel before there is one.
      expect(Object.keys(ends)).toEqual([expect.stringMatching(/^EMFILE (socket|connect)$/)]);
      expect(Object.values(ends)).toEqual([CALLS / 10]);
      expect({ left, kernel, native, afterwards }).toEqual({
        left: 0,
        kernel: 'socket EMFILE',
        native: true,
        afterwards: 'connected',
      });
    });

    // One for the connection itself; what else is asked of the kernel meanwhile needs another.
    test.each([1, 2])('with %d left: whatever happens, as many are left afterwards', async (free) => {
      await server();
      const argument = { act: 'withoutDescriptors', calls: 100, options, pool, free, warm: true };
      const { ends, left, afterwards } = (await run(argument, 'ulimit -n 64')) as Starved;
      // Of TIME-WAIT, or of a port that is still being looked for, no word is said that is not true.
      for (const end of Object.keys(ends)) expect(end).toMatch(KNOWN);
      expect(left).toBe(0);
      expect(afterwards).toMatch(KNOWN);
    });
  });

  test(`${CALLS} calls`, async () => {
    const argument = { act: 'withoutDescriptors', calls: CALLS, options: target, free: 0, warm: true };
    await server();
    expect(await run(argument, 'ulimit -n 64')).toMatchObject({
      ends: { 'EMFILE socket': CALLS },
      left: 0,
      afterwards: 'connected',
    });
  });
});

interface Growth extends Left {
  heap: number;
  rss: number;
}

/** Fewer would not stand out from what a heap grows by anyway. */
const MANY = 10_000;

describeIsolated(`memory, over ${MANY} calls`, () => {
  useNetwork({ ...smallNetwork, range: [1024, 65535] });

  // Of one thing of 64 bytes a call that is never freed there would be 640,000, and of a malloc() of 4 kB 40 MB.
  const HEAP = 640_000;
  const RSS = 24 * 2 ** 20;

  test.each([
    { name: 'connected and closed', options: { localAddress: source }, end: 'connected' },
    { name: 'failed at bind', options: { localAddress: '192.0.2.1' }, end: 'EADDRNOTAVAIL address-not-local' },
    {
      name: 'with options of every kind',
      options: {
        localAddress: { ipv4: source },
        localPortRange: [1024, 60000],
        interface: 'lo',
        freeBind: true,
        socketOptions: [{ level: 1, name: 9, value: 1 }],
      },
      end: 'connected',
    },
  ])('$name: it does not grow', async ({ options, end }) => {
    await server();
    const argument = { act: 'memory', calls: MANY, options: { host: remote, port: SERVER, ...options } };
    const { ends, left, heap, rss } = (await run(argument, ':', '--expose-gc', '--max-semi-space-size=1')) as Growth;
    expect(ends).toEqual({ [end]: MANY });
    expect(left).toBe(0);
    expect(heap).toBeLessThan(HEAP);
    expect(rss).toBeLessThan(RSS);
  });
});
