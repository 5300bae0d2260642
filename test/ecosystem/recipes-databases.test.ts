// The recipes of docs/recipes.md for databases and RPC, as they stand there, against real servers: which source does the server
// see, how many connections can there be from it, and is everything else as without connectx?
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { leftOutWithoutServers, mariadb, postgres, redis } from '../helpers/databases.js';
import { families } from '../helpers/families.js';
import { libraryFolder } from '../helpers/libraries.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { folderWith } from '../helpers/programs.js';
import { javaScriptOf } from '../helpers/recipes.js';
import { runProgram, serveGrpc } from '../helpers/registered.js';

const root = join(import.meta.dirname, '../..');
const PORTS = 4;

interface Recipe {
  library: string;
  package: string;
  port: number;
  servers: readonly string[];
  start(hosts: readonly string[], port: number, any: string): Promise<unknown>;
}

const recipes: readonly Recipe[] = [
  {
    library: 'pg',
    package: 'pg',
    port: 5432,
    servers: ['initdb', 'postgres'],
    start: async (hosts, port) => postgres(folderWith(), hosts, port),
  },
  {
    library: 'mysql2',
    package: 'mysql2',
    port: 3306,
    servers: ['mariadb-install-db', 'mariadbd'],
    start: async (hosts, port) => mariadb(folderWith(), hosts, port),
  },
  {
    library: 'ioredis',
    package: 'ioredis',
    port: 6379,
    servers: ['redis-server'],
    start: async (hosts, port) => redis(folderWith(), hosts, port),
  },
  {
    library: 'grpc-js',
    package: '@grpc/grpc-js',
    port: 50051,
    servers: [],
    start: async (_, port, any) => serveGrpc(any, port),
  },
];

const [, section = ''] = readFileSync(join(root, 'docs/recipes.md'), 'utf8').split('\n## Databases and RPC\n');
const [ours = ''] = section.split('\n## ');

/** The examples below each heading. */
const examples = new Map(
  ours
    .split('\n### ')
    .slice(1)
    .map((part) => [
      part.slice(0, part.indexOf('\n')),
      [...part.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) => code),
    ]),
);

test('every recipe is tried', () => {
  expect([...examples.keys()]).toEqual(recipes.map(({ library }) => library));
  for (const [, blocks] of examples) expect(blocks.length).toBe(1);
});

// What the recipes are compared with: the same over node:net, from the source or from whichever.
const FROM_SOURCE = `
import net from 'node:net';
export const { connect } = net;
export class Socket extends net.Socket {
  constructor({ localAddress }) {
    super();
    this.source = localAddress;
  }
  connect(port, host) {
    return super.connect({ port, host, localAddress: this.source });
  }
}`;
const FROM_ANYWHERE = `
import net from 'node:net';
export const connect = ({ localAddress, ...options }) => net.connect(options);
export class Socket extends net.Socket {
  constructor() {
    super();
  }
}`;

/** The recipe in a project that has what it imports, with or without connectx. */
function write({ library, package: name }: Recipe, instead?: string): string {
  const [code = ''] = examples.get(library) ?? [];
  const without = code
    .replace("from 'connectx'", "from './instead.mjs'")
    .replace("import 'connectx/register';\n", '')
    .replace('localAddress: authority', instead === FROM_ANYWHERE ? '' : 'localAddress: authority');
  if (!code.includes("'connectx")) throw new Error(`the recipe for ${library} does not use connectx`);
  const folder = folderWith({
    'recipe.mjs': javaScriptOf(instead === undefined ? code : without),
    'instead.mjs': instead ?? '',
  });
  mkdirSync(join(folder, 'node_modules/@grpc'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules/connectx'));
  symlinkSync(libraryFolder(name), join(folder, 'node_modules', name));
  return join(folder, 'recipe.mjs');
}

describeIsolated('recipes', () => {
  useNetwork({
    range: [20000, 20000 + PORTS - 1],
    addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::4'],
    // What ends shall leave nothing in TIME-WAIT for the next program.
    commands: ['echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets'],
  });

  describe.each(recipes)('$library', (recipe) => {
    const { library, port, servers, start } = recipe;
    const leftOut = leftOutWithoutServers(...servers);

    async function run(path: string, argument: object): Promise<unknown[]> {
      const { stdout, stderr } = await runProgram([], 'recipes-databases.mjs', { library, recipe: path, ...argument });
      expect(stderr).toBe('');
      return JSON.parse(stdout) as unknown[];
    }

    for (const { family, any, source, remote, remote2, remote3 } of families) {
      const addresses = [remote, remote2, remote3];
      // In the text of a target an IPv6 address has brackets.
      const hosts = library === 'grpc-js' ? addresses.map((ip) => (isIPv6(ip) ? `[${ip}]` : ip)) : addresses;
      test.skipIf(leftOut)(
        `${family}: the server sees the source, which has more connections than ports${leftOut}`,
        async () => {
          await start(addresses, port, any);
          const argument = { source, hosts, each: PORTS };
          const control = await run(write(recipe, FROM_SOURCE), argument);
          expect(control).toEqual([
            ...Array<string>(PORTS).fill(source),
            ...Array<string>(2 * PORTS).fill('EADDRINUSE'),
          ]);
          const shared = await run(write(recipe), argument);
          expect(shared).toEqual(Array<string>(3 * PORTS).fill(source));
        },
      );
    }

    test.skipIf(leftOut)(`everything else is as without connectx${leftOut}`, async () => {
      const [{ any, source, remote }] = families as [(typeof families)[0]];
      await start([remote], port, any);
      const argument = { source, hosts: [remote], each: 0 };
      const control = await run(write(recipe, FROM_ANYWHERE), argument);
      expect(control.length).toBeGreaterThan(2);
      expect(await run(write(recipe), argument)).toEqual(control);
    });
  });
});
