// The man page and the completions, which are made of the table of options, for the real shells.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { bashCompletion, manPage, zshCompletion } from '../../src/cli/manual.js';
import { releaseChecks } from '../../src/cli/doctor_kernel.js';
import { need } from '../helpers/needs.js';
import { folderWith } from '../helpers/programs.js';

test('the man page has every command and option, and mandoc finds no error in it', () => {
  need('mandoc');
  const folder = folderWith({ 'connectx.1': manPage('1.2.3') });
  const file = join(folder, 'connectx.1');
  expect(execFileSync('mandoc', ['-T', 'lint', '-W', 'error', file], { encoding: 'utf8' })).toBe('');
  // Bold and underlined letters are typed over one another.
  const typed = execFileSync('mandoc', ['-T', 'utf8', '-O', 'width=78', file], { encoding: 'utf8' });
  const text = typed.replaceAll(new RegExp(`.${String.fromCharCode(8)}`, 'g'), '');
  expect(text).toContain('connectx 1.2.3');
  for (const { name, options } of COMMANDS) {
    expect(text).toContain(`connectx ${name}`);
    for (const option of options) expect(text).toMatch(new RegExp(`^ +(-\\w, )?--${option.name}\\b`, 'm'));
  }
});

describe('bash completes', () => {
  const complete = (...words: string[]): string[] => {
    const folder = folderWith({ 'connectx.bash': bashCompletion(), 'some.prom': '' });
    const script =
      'source ./connectx.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _connectx 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"';
    const output = execFileSync('bash', ['--norc', '-c', script, 'bash', ...words], { cwd: folder, encoding: 'utf8' });
    return output.split('\n').filter(Boolean);
  };

  test('commands', () => {
    expect(complete('connectx', '')).toEqual([...COMMANDS.map(({ name }) => name), '--help', '-h', '--version', '-V']);
    expect(complete('connectx', 'w')).toEqual(['watch']);
  });

  test.each(COMMANDS.map((command) => [command.name, command] as const))('the options of %s', (name, { options }) => {
    const words = complete('connectx', name, '--');
    expect(words).toEqual([...options.map((option) => `--${option.name}`), '--help']);
  });

  test('values', () => {
    expect(complete('connectx', 'usage', '--protocol', '')).toEqual(['tcp', 'udp']);
    expect(complete('connectx', 'usage', '--output', 'some')).toEqual(['some.prom']);
    expect(complete('connectx', 'usage', '-o', 'some')).toEqual(['some.prom']);
    expect(complete('connectx', 'usage', '--limit', '')).toEqual([]);
  });
});

test('zsh takes its completion, and knows every option in it', () => {
  need('zsh');
  const text = zshCompletion();
  const folder = folderWith({ _connectx: text });
  const script =
    'autoload -Uz compinit && compinit -u -D && whence -w _connectx && print ${_comps[connectx]} && autoload +X _connectx';
  const output = execFileSync('zsh', ['-f', '-c', `fpath=(${folder} $fpath); ${script}`], { encoding: 'utf8' });
  expect(output).toBe('_connectx: function\n_connectx\n');
  for (const { name, options } of COMMANDS) {
    const [, block = ''] = new RegExp(`^ +${name}\\)\\n([^]*?)^ +;;`, 'm').exec(text) ?? [];
    for (const option of options) expect([name, block]).toEqual([name, expect.stringContaining(`--${option.name}`)]);
  }
});

test('what a release brought is missed where it is older, and only there', () => {
  const missing = (release: string) =>
    releaseChecks(release)
      .filter(({ level }) => level === 'note')
      .map(({ name }) => name.replace('kernel-', ''));
  expect(missing('5.10.0-28-amd64')).toEqual(['6.3', '6.8', '6.13', '6.15', '6.18']);
  expect(missing('6.1.0')).toEqual(['6.3', '6.8', '6.13', '6.15', '6.18']);
  expect(missing('6.12.41+deb13-amd64')).toEqual(['6.13', '6.15', '6.18']);
  expect(missing('6.18.0')).toEqual([]);
  expect(missing('7.0.0-rc1')).toEqual([]);
  for (const check of releaseChecks('6.1.0')) expect(check.remedy).toMatch(/^a kernel from 6\.\d+ on$/);
});
