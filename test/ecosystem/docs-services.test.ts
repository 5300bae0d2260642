// docs/guides/services.md: what Docker, systemd and PM2 make of these settings, an unmodified program gets its source by.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { OURS, project, runIn, SERVERS, startServers } from '../helpers/documented.js';
import { blocksOf } from '../helpers/documents.js';
import { describeIsolated, useNetwork } from '../helpers/netns.js';

const blocks = blocksOf('docs/guides/services.md');
const codeOf = (language: string) => blocks.find((block) => block.language === language)?.code ?? '';
const PRINTS = ['app.js is connected from 192.0.2.7'];
/** Whether connectx/register is in force. */
const ASK =
  "console.log(Object.getOwnPropertySymbols(require('net').Socket).some((one) => one.description.startsWith('connectx.register.')))";

describeIsolated('connectx/register', () => {
  useNetwork({ range: [32768, 60999], addresses: [...OURS, ...SERVERS] });
  beforeEach(startServers);

  /** Runs it with this environment, and sees that connectx/register is in force there. */
  async function runWith(nodeOptions: string, command: string[]): Promise<void> {
    const folder = project({});
    const env = { NODE_OPTIONS: nodeOptions };
    expect(await runIn(folder, command, env)).toEqual(PRINTS);
    const answers = [env, {}].map((one) => runIn(folder, [process.execPath, '-e', ASK], one));
    expect(await Promise.all(answers)).toEqual([['true'], ['false']]);
  }

  test('in a container', async () => {
    const [, options = ''] = /^ENV NODE_OPTIONS="(.*)"$/m.exec(codeOf('dockerfile')) ?? [];
    const [, command = '[]'] = /^CMD (\[.*\])$/m.exec(codeOf('dockerfile')) ?? [];
    await runWith(options, JSON.parse(command) as string[]);
  });

  test('as a service of systemd', async () => {
    const [, options = ''] = /^Environment=NODE_OPTIONS=(\S*)$/m.exec(codeOf('ini')) ?? [];
    const [, script = ''] = /^ExecStart=\S*\/node (.*)$/m.exec(codeOf('ini')) ?? [];
    await runWith(options, [process.execPath, script]);
  });

  // PM2 forks with node_args before the script; in cluster mode they are the workers' execArgv.
  test('under PM2', async () => {
    const folder = project({ 'ecosystem.config.cjs': codeOf('js') });
    const { apps } = createRequire(import.meta.url)(join(folder, 'ecosystem.config.cjs')) as {
      apps: [{ script: string; node_args: string }];
    };
    const [{ script, node_args: args }] = apps;
    expect(await runIn(folder, [process.execPath, ...args.split(' '), script])).toEqual(PRINTS);
    const primary = `
      const cluster = require('node:cluster');
      cluster.setupPrimary({ exec: ${JSON.stringify(script)}, execArgv: ${JSON.stringify(args.split(' '))}, silent: true });
      // A worker lives until it is told to end.
      const worker = cluster.fork();
      worker.process.stderr.pipe(process.stderr);
      worker.process.stdout.on('data', (text) => {
        process.stdout.write(text);
        worker.kill();
      });`;
    writeFileSync(join(folder, 'primary.cjs'), primary);
    expect(await runIn(folder, [process.execPath, 'primary.cjs'])).toEqual(PRINTS);
  });
});
