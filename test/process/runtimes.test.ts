// Bun and Deno: what works there works, and what does not is refused by name, once. They come from scripts/package, or are on the PATH.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { plainEnvironment } from '../helpers/environment.js';
import { has, need } from '../helpers/needs.js';

const modules = join(import.meta.dirname, '../../scripts/package/node_modules');
const program = join(import.meta.dirname, '../fixtures/runtimes.mjs');
const dist = dirname(createRequire(import.meta.url).resolve('connectx'));
const isArm = process.arch === 'arm64';

const installed = (path: string, name: string): string =>
  existsSync(join(modules, path)) ? join(modules, path) : name;
const BUN = installed(`@oven/bun-linux-${isArm ? 'aarch64' : 'x64'}/bin/bun`, 'bun');
const DENO = installed(`@deno/linux-${isArm ? 'arm64' : 'x64'}-glibc/deno`, 'deno');

async function run(command: string, ...args: string[]): Promise<Record<string, unknown>> {
  need(command);
  const { stdout } = await promisify(execFile)(command, [...args, program, dist], { env: plainEnvironment() });
  return JSON.parse(stdout) as Record<string, unknown>;
}

const refused = (reason: string, ...words: string[]) => ({
  code: 'ERR_CONNECTX_UNSUPPORTED',
  reason,
  message: expect.stringMatching(words.join('.*')) as string,
});
const leftOut = (command: string) => (has(command) ? '' : ` [left out: ${command} is not installed]`);

/** What is so in both. */
const alike = (title: string) => ({
  plain: true,
  pinned: refused('tcp-handle', title, 'net\\.connect'),
  socket: refused('tcp-handle', title, 'net\\.connect'),
  agent: refused('tcp-handle', title, 'net\\.connect'),
  core: true,
  usage: true,
  warnings: [expect.stringMatching(`^CONNECTX_REGISTER_OFF .*${title}`)],
});

describe('other runtimes', () => {
  test(`Bun: connectUdp works; TCP with a source and connectUdpSync are refused${leftOut(BUN)}`, async () => {
    const said = await run(BUN);
    expect(said).toMatchObject({
      ...alike('Bun \\d'),
      capabilities: { runtime: { name: 'bun' }, native: true, tcp: false, udp: true, udpSync: false, udpShared: true },
      udp: 'hello 127.0.0.8',
      udpSync: refused('connectUdpSync', 'Bun \\d', 'connectUdp'),
      distinct: 100,
      shared: 100,
      same: { code: 'EADDRINUSE', reason: 'tuple-in-use' },
      locked: { code: 'EADDRINUSE', reason: 'port-locked' },
      strangers: 0,
      aborted: Array.from({ length: 10 }, () => ({ code: 'ABORT_ERR' })),
      left: 0,
    });
  });

  test(`Deno: ports in use are told; connecting with a source is refused${leftOut(DENO)}`, async () => {
    const said = await run(DENO, 'run', '--allow-all');
    expect(said).toMatchObject({
      ...alike('Deno \\d'),
      capabilities: {
        runtime: { name: 'deno' },
        native: true,
        tcp: false,
        udp: false,
        udpSync: false,
        udpShared: false,
      },
      udp: refused('udp-descriptor', 'Deno \\d', 'node:dgram'),
      udpSync: refused('udp-descriptor', 'Deno \\d', 'node:dgram'),
    });
  });
});
