// connectx in a vm context, as Jest and other runners load it: core's errors are then instances of another realm's classes. The
// control is the same program in the main context.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import * as vm from 'node:vm';
import { describe, expect, test } from 'vitest';
import type * as Connectx from 'connectx';

const dist = join(import.meta.dirname, '../../dist');
const entry = join(dist, 'index.js');
const globals = { console, process, Buffer, performance, setImmediate, setTimeout, clearTimeout, queueMicrotask };

/** dist/ evaluated in a context of its own; everything else is the main context's. */
function inContext(): typeof Connectx {
  const context = vm.createContext({ ...globals });
  const cache = new Map<string, { exports: unknown }>();
  const load = (file: string): unknown => {
    const known = cache.get(file);
    if (known !== undefined) return known.exports;
    const module = { exports: {} };
    cache.set(file, module);
    const require = createRequire(file);
    const inside = (name: string): unknown => {
      const found = require.resolve(name);
      return isAbsolute(found) && found.startsWith(dist) ? load(found) : require(name);
    };
    const body = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`;
    const run = vm.runInContext(body, context, { filename: file }) as (...args: unknown[]) => void;
    run(module.exports, inside, module, file, dirname(file));
    return module.exports;
  };
  return load(entry) as typeof Connectx;
}

const main = createRequire(import.meta.url)(entry) as typeof Connectx;
const NOBODY = { host: '127.0.0.1', port: 9 };

const errorOf = (connectx: typeof Connectx, options: Connectx.ConnectOptions) =>
  new Promise<Connectx.ConnectxError>((resolve) => {
    connectx.connect(options).on('error', resolve as (error: Error) => void);
  });

describe.each([
  ['the main context', () => main],
  ['a vm context', inContext],
])('in %s', (_name, load) => {
  const connectx = load();

  test('an error of core is completed', async () => {
    const error = await errorOf(connectx, { ...NOBODY, localAddress: '198.51.100.1' });
    expect(error).toMatchObject({ code: 'EADDRNOTAVAIL', reason: 'address-not-local', localAddress: '198.51.100.1' });
    expect(error instanceof connectx.ConnectxError).toBe(true);
  });

  test('the errors of a pool are there', async () => {
    const localAddress = new connectx.SourcePool(['198.51.100.1', '198.51.100.2']);
    const error = await errorOf(connectx, { ...NOBODY, localAddress });
    expect(error).toMatchObject({ reason: 'pool-exhausted' });
    expect(error.errors).toHaveLength(2);
  });

  test('so is what a source function throws', async () => {
    const mine = new Error('mine');
    const error = await errorOf(connectx, {
      ...NOBODY,
      localAddress: () => {
        throw mine;
      },
    });
    expect(error).toBe(mine);
  });

  test('an AggregateError of core has the reason', async () => {
    const addresses = [
      { address: '127.0.0.1', family: 4 },
      { address: '127.0.0.2', family: 4 },
    ];
    const error = await errorOf(connectx, {
      host: 'two.example',
      port: 9,
      localAddress: '198.51.100.1',
      autoSelectFamily: true,
      lookup: (_host, _options, callback) => callback(null, addresses),
    });
    expect(error.name).toBe('AggregateError');
    expect(error.reason).toBe('address-not-local');
  });

  test('a pool of the other context is a pool', async () => {
    const other = connectx === main ? inContext() : main;
    const localAddress = new other.SourcePool(['198.51.100.1']);
    expect(await errorOf(connectx, { ...NOBODY, localAddress })).toMatchObject({ reason: 'pool-exhausted' });
    expect(localAddress.stats().inUse).toBe(0);
  });
});
