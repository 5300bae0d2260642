// UdpBatch without the addon: the same program, with the same outcome.
import { execFile, spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { forge } from '../helpers/forged.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';
import { fixture } from '../helpers/run.js';
import { track } from '../helpers/sockets.js';
import { keep, sendUntil } from '../helpers/udp.js';

async function outcome(host: string, env: NodeJS.ProcessEnv): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [fixture('batch-fallback.mjs'), host], {
    env: { ...process.env, ...env },
  });
  return JSON.parse(stdout);
}

describeIsolated('UdpBatch', () => {
  useNetwork({ range: [20000, 20999] });

  describe.each([['127.0.0.1'], ['::1']])('%s', (host) => {
    test.each([
      { what: 'with the addon', env: {}, native: true },
      { what: 'without it', env: { CONNECTX_DISABLE_NATIVE: '1' }, native: false },
    ])('$what', async ({ env, native }) => {
      expect(await outcome(host, env)).toEqual({
        native,
        taken: 3,
        echoed: true,
        peer: true,
        peerAddress: 1,
        errors: [['ECONNREFUSED', true]],
        tooLong: [0, 1],
        received: 6,
        stale: 0,
        again: 'EADDRINUSE',
      });
    });

    test.each([
      { what: 'with the addon', env: {} },
      { what: 'without it', env: { CONNECTX_DISABLE_NATIVE: '1' } },
    ])(
      'a forged datagram from port 0 is not answered, and a batch that is unreferenced ends with its program: $what',
      async ({ env }) => {
        const program = spawn(process.execPath, [fixture('batch-echo.mjs'), host], {
          env: { ...process.env, ...env, NODE_NO_WARNINGS: '1' },
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        track({ close: () => void program.kill('SIGKILL') });
        const ended = once(program, 'close');
        const lines: string[] = [];
        const output = createInterface(program.stdout).on('line', (line) => lines.push(line));
        await once(output, 'line');
        const port = Number(lines[0]);
        for (let n = 0; n < 2; n++) forge({ address: host, port: 0 }, { address: host, port }, 'hello');
        const client = keep(dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4'));
        const heard: string[] = [];
        client.on('message', (message) => heard.push(message.toString()));
        await sendUntil(
          () => client.send('alive', port, host),
          () => heard.includes('alive'),
        );
        program.stdin.end();
        expect(await ended).toEqual([0, null]);
        const told = JSON.parse(lines[1] ?? '') as { errors: unknown[]; failed: number };
        expect(told.failed).toBe(2);
        expect(new Set(told.errors.map(String))).toEqual(new Set(['EINVAL,true']));
      },
    );
  });
});
