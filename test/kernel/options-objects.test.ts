// Options that are no plain object: instances of a class, frozen objects, getters. The control is a plain object. Core's own
// localAddress would take each of the 4 ports away from the second destination.
import { connect, type ConnectOptions } from 'connectx';
import { describe, expect, test } from 'vitest';
import { families, PORTS, RANGE, SERVER, smallNetwork } from '../helpers/families.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { connected, echoServer, exhaust, fdOf } from '../helpers/sockets.js';

class Target {
  readonly #host: string;
  readonly #source: string;
  readonly port = SERVER;
  constructor(host: string, source: string) {
    this.#host = host;
    this.#source = source;
  }
  get host() {
    return this.#host;
  }
  get localAddress() {
    return this.#source;
  }
  get noDelay() {
    return true;
  }
}

type Make = (host: string, localAddress: string) => object;

const kinds: [name: string, make: Make][] = [
  ['a plain object', (host, localAddress) => ({ host, port: SERVER, localAddress, noDelay: true })],
  ['an instance with getters and private fields', (host, localAddress) => new Target(host, localAddress)],
  [
    'derived from frozen defaults',
    (host, localAddress) =>
      Object.assign(Object.create(Object.freeze({ localAddress, noDelay: true })) as object, { host, port: SERVER }),
  ],
  ['a frozen object', (host, localAddress) => Object.freeze({ host, port: SERVER, localAddress, noDelay: true })],
  ['a frozen instance', (host, localAddress) => Object.freeze(new Target(host, localAddress))],
  [
    'an object whose getter answers once',
    (host, localAddress) => {
      const answers = [localAddress];
      return {
        host,
        port: SERVER,
        noDelay: true,
        get localAddress() {
          return answers.pop();
        },
      };
    },
  ],
];

describeIsolated('options that are no plain object', () => {
  useNetwork(smallNetwork);

  describe.each(families)('$family', ({ any, source, remote, remote2 }) => {
    test.each(kinds)('%s: every port towards both destinations', async (_name, make) => {
      await echoServer(SERVER, any);
      for (const host of [remote, remote2]) {
        const { made, error } = await exhaust(2 * PORTS.length, async () =>
          connected(connect(make(host, source) as ConnectOptions)),
        );
        expect(made.map(({ localAddress }) => localAddress)).toEqual(PORTS.map(() => source));
        expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'ports-exhausted' });
        expect(made.every((socket) => fdOf(socket) >= 0)).toBe(true);
      }
    });

    test('a range is kept', async () => {
      await echoServer(SERVER, any);
      const [low] = RANGE;
      const made = await exhaust(2 * PORTS.length, async () =>
        connected(connect(Object.assign(new Target(remote, source), { localPortRange: [low, low + 1] as const }))),
      );
      expect(made.made.map(({ localPort }) => localPort).sort()).toEqual([low, low + 1]);
      expect(made.error).toMatchObject({ reason: 'ports-exhausted' });
    });
  });
});
