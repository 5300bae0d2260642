// connectx/register in programs that start others in other folders: Node resolves the name from the folder that a process is started in.
import { execFile } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import { blocks, root } from '../helpers/documents.js';
import { plainEnvironment } from '../helpers/environment.js';
import { folderWith } from '../helpers/programs.js';

const run = promisify(execFile);
const documented = (language: string) =>
  blocks
    .filter(
      ({ page, directive }) =>
        page === 'docs/register.md' && directive === 'run by test/ecosystem/register-folders.test.ts',
    )
    .filter((block) => block.language === language)
    .map(({ code }) => code);

// The symbol ends in the version of what is behind it.
const IS_REGISTERED = `Object.getOwnPropertySymbols(require('node:net').Socket).some(({ description }) => description.startsWith('connectx.register.'))`;
/** Says whether it is registered, and forks the other one in its folder. */
const parent = (child: string) => `
  console.log('parent', ${IS_REGISTERED});
  const { fork } = require('node:child_process');
  fork('child.js', { cwd: ${JSON.stringify(child)} }).on('exit', (code) => (process.exitCode = code));`;

describe('a child process in another folder', () => {
  let folder: string;
  let elsewhere: string;
  const inFolder = (file: string, ...args: string[]) => {
    const { NODE_OPTIONS: _, ...env } = plainEnvironment();
    const PATH = `${dirname(process.execPath)}:${env.PATH}`;
    return run(file, args, { cwd: folder, env: { ...env, PATH, npm_config_update_notifier: 'false' } });
  };

  beforeEach(() => {
    elsewhere = folderWith({ 'child.js': `console.log('child', ${IS_REGISTERED});` });
    folder = folderWith({
      'app.js': parent(elsewhere),
      'package.json': JSON.stringify({ private: true, scripts: { start: 'node app.js' } }),
    });
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules/connectx'));
  });

  test('control: by its name it is not found there', async () => {
    const error = (await inFolder('node', '--import', 'connectx/register', 'app.js').catch((e: unknown) => e)) as {
      stdout: string;
      stderr: string;
    };
    expect(error.stdout).toBe('parent true\n');
    expect(error.stderr).toContain('ERR_MODULE_NOT_FOUND');
  });

  test.each(documented('sh').flatMap((code) => code.trimEnd().split('\n')))('%s', async (command) => {
    const { stdout } = await inFolder('sh', '-euc', command);
    expect(stdout).toContain('parent true\n');
    expect(stdout).toContain('child true\n');
  });

  test('both ways to give the file are documented', () => {
    expect(documented('sh').join('')).toMatch(/^node --import .*\nNODE_OPTIONS="--import .*\n$/);
  });

  test('execArgv', async () => {
    const [code = ''] = documented('js');
    expect(code).toContain("fork('app.js', { cwd: '/srv/app'");
    const program = code.replace("'app.js'", "'child.js'").replace('/srv/app', elsewhere);
    const { stdout } = await inFolder('node', '--input-type=module', '--eval', program);
    expect(stdout).toBe('child true\n');
  });
});
