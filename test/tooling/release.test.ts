// `npm run release`, in a repository of its own whose checks only say that they were called.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { leftOutWithout } from '../helpers/programs.js';

const root = join(import.meta.dirname, '../..');
const leftOut = leftOutWithout('git');

let folder: string;
const at = (name: string) => join(folder, name);
const read = (name: string) => readFileSync(at(name), 'utf8');

function git(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('git', args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

function release(...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [at('scripts/release.mjs'), ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, said: stdout + stderr };
}

const CHECKS = ['prebuild', 'prebuild:try', 'test', 'lint', 'types', 'package:check'];
const manifest = {
  name: 'connectx',
  version: '0.1.0',
  repository: { type: 'git', url: 'git+https://example.org/connectx.git' },
  scripts: Object.fromEntries(CHECKS.map((name) => [name, `echo ${name} >> checks.log`])) as Record<string, string>,
};
const changelog = (unreleased: string, own = '') =>
  `# Changelog\n\n## [Unreleased]\n${unreleased}${own}\n## [0.0.1] - 2020-01-01\n\n- First.\n`;

function set(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) writeFileSync(at(name), text);
  git('add', '--all');
  git('commit', '--quiet', '--allow-empty', '--message', 'set');
}

beforeEach(() => {
  if (leftOut !== '') return;
  folder = mkdtempSync(join(tmpdir(), 'connectx-release-'));
  mkdirSync(at('scripts'));
  for (const name of ['release.mjs', 'lib.mjs']) copyFileSync(join(root, 'scripts', name), at(`scripts/${name}`));
  git('init', '--quiet', '--initial-branch', 'main');
  git('config', 'user.name', 'Nobody');
  git('config', 'user.email', 'nobody@example.org');
  git('config', 'commit.gpgsign', 'false');
  git('config', 'tag.gpgsign', 'false');
  set({
    'package.json': JSON.stringify(manifest),
    'package-lock.json': JSON.stringify({
      name: 'connectx',
      version: '0.1.0',
      lockfileVersion: 3,
      packages: { '': {} },
    }),
    'CHANGELOG.md': changelog('\n### Added\n\n- Something.\n'),
    '.gitignore': 'checks.log\n',
  });
});
afterEach(() => {
  if (leftOut === '') rmSync(folder, { recursive: true });
});

describe.skipIf(leftOut !== '')(`npm run release${leftOut}`, () => {
  test('--dry-run says what would be done, and does nothing of it', () => {
    const before = git('rev-parse', 'HEAD');
    const { status, said } = release('0.2.0', '--dry-run');
    expect([status, said]).toEqual([0, expect.stringContaining('Would set version 0.2.0')]);
    for (const check of CHECKS) expect(said).toContain(`npm run ${check}\n`);
    expect([git('rev-parse', 'HEAD'), git('status', '--porcelain'), git('tag')]).toEqual([before, '', '']);
    expect(() => read('checks.log')).toThrow('ENOENT');
  });

  test('sets the version, dates the changelog, runs the checks, commits and tags', () => {
    const { status, said } = release('0.2.0');
    expect([status, said]).toEqual([0, expect.stringContaining('git push origin main v0.2.0')]);
    expect(read('checks.log').trim().split('\n')).toEqual(CHECKS);
    for (const name of ['package.json', 'package-lock.json']) {
      expect(JSON.parse(read(name))).toMatchObject({ version: '0.2.0' });
    }
    expect(read('CHANGELOG.md')).toMatch(
      /^# Changelog\n\n## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- Something\.\n\n## \[0\.0\.1\]/,
    );
    expect(git('log', '-1', '--format=%s')).toBe('Release 0.2.0');
    expect(git('rev-parse', 'v0.2.0^{commit}')).toBe(git('rev-parse', 'HEAD'));
    expect(git('status', '--porcelain')).toBe('');
    expect(release('--tag', 'v0.2.0').status).toBe(0);
    expect(release('--tag', 'v0.2.1')).toEqual({
      status: 1,
      said: 'No release: v0.2.1 is not the tag of version 0.2.0\n',
    });
  });

  test('dates an entry that waits under its own version', () => {
    set({ 'CHANGELOG.md': changelog('', '\n## [0.1.0] - unreleased\n\n- Something.\n') });
    expect(release('0.1.0').status).toBe(0);
    expect(read('CHANGELOG.md')).toMatch(/## \[Unreleased\]\n\n## \[0\.1\.0\] - \d{4}-\d\d-\d\d\n\n- Something/);
  });

  test('a check that fails leaves everything as it was', () => {
    set({ 'package.json': JSON.stringify({ ...manifest, scripts: { ...manifest.scripts, lint: 'exit 3' } }) });
    const before = git('rev-parse', 'HEAD');
    const { status, said } = release('0.2.0');
    expect([status, said]).toEqual([1, expect.stringContaining('No release: npm run lint failed')]);
    expect([git('rev-parse', 'HEAD'), git('status', '--porcelain'), git('tag')]).toEqual([before, '', '']);
  });

  test.each<[string, string[], () => void, string]>([
    ['no version', [], () => {}, 'say which'],
    ['no number', ['next'], () => {}, 'next is no version'],
    ['a version before this one', ['0.0.9'], () => {}, '0.0.9 is before 0.1.0'],
    ['a dirty tree', ['0.2.0'], () => writeFileSync(at('stray'), ''), 'files differ from the last commit:\n?? stray'],
    ['another branch', ['0.2.0'], () => git('checkout', '--quiet', '-b', 'other'), 'this is branch other'],
    ['a tag that there is', ['0.2.0'], () => git('tag', 'v0.2.0'), 'there is a tag v0.2.0'],
    ['a changelog without an entry', ['0.2.0'], () => set({ 'CHANGELOG.md': changelog('') }), 'no entry for 0.2.0'],
    [
      'an entry without a word',
      ['0.2.0'],
      () => set({ 'CHANGELOG.md': changelog('', '\n## [0.2.0] - unreleased\n') }),
      'nothing under [0.2.0]',
    ],
    [
      'two entries',
      ['0.2.0'],
      () => set({ 'CHANGELOG.md': changelog('\n- A.\n', '\n## [0.2.0] - unreleased\n\n- B.\n') }),
      'entries both under',
    ],
    [
      'an entry that has a date',
      ['0.2.0'],
      () => set({ 'CHANGELOG.md': changelog('', '\n## [0.2.0] - 2026-01-01\n\n- A.\n') }),
      'says that 0.2.0 was released',
    ],
    [
      'a package of no repository',
      ['0.2.0'],
      () => set({ 'package.json': JSON.stringify({ ...manifest, repository: undefined }) }),
      'package.json names no repository',
    ],
    [
      'a repository of nobody',
      ['0.2.0'],
      () => set({ 'package.json': JSON.stringify({ ...manifest, bugs: 'https://github.com/OWNER/connectx/issues' }) }),
      'in place of OWNER',
    ],
  ])('refuses %s', (_, args, arrange, words) => {
    arrange();
    const { status, said } = release(...args, '--dry-run');
    expect([status, said]).toEqual([1, expect.stringMatching(/^No release: /)]);
    expect(said).toContain(words);
  });
});
