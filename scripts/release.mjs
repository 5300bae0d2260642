// Makes a release, up to its commit and tag: `npm run release -- 0.2.0 [--dry-run]`. Pushing the tag is left to whoever releases,
// and publishing to .github/workflows/release.yml. `--tag v0.2.0` only says whether the tag is that of package.json.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './lib.mjs';

const CHECKS = ['prebuild', 'prebuild:try', 'test', 'lint', 'types', 'package:check'];
const FILES = ['package.json', 'package-lock.json', 'CHANGELOG.md'];

const args = process.argv.slice(2);
const dryRun = args.includes('--dry-run');
const read = (name) => readFileSync(join(root, name), 'utf8');
const manifest = JSON.parse(read('package.json'));

function refuse(why) {
  console.error(`No release: ${why}`);
  process.exit(1);
}

function git(...options) {
  const { status, stdout, stderr } = spawnSync('git', options, { cwd: root, encoding: 'utf8' });
  if (status !== 0) refuse(`git ${options.join(' ')} says: ${stderr.trim()}`);
  return stdout.trim();
}

/** Major, minor, patch; undefined for anything else. There are no pre-releases. */
function parse(version) {
  return /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/.exec(version)?.slice(1).map(Number);
}

function below(a, b) {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at >= 0 && a[at] < b[at];
}

/** The changelog with its entry for this version dated: what is under [Unreleased], or under [version] - unreleased. */
function dated(text, version, date) {
  const heading = `## [${version}]`;
  const sections = text.split(/^(?=## )/m);
  const find = (start) => sections.findIndex((section) => section.startsWith(start));
  const hasText = (index) => index >= 0 && sections[index].split('\n').slice(1).join('').trim() !== '';
  const [unreleased, own] = [find('## [Unreleased]'), find(heading)];
  if (unreleased < 0) refuse('CHANGELOG.md has no section [Unreleased]');
  if (own < 0) {
    if (!hasText(unreleased)) refuse(`CHANGELOG.md has no entry for ${version}, and nothing under [Unreleased]`);
    sections[unreleased] = sections[unreleased].replace('## [Unreleased]', `## [Unreleased]\n\n${heading} - ${date}`);
    return sections.join('');
  }
  if (!sections[own].startsWith(`${heading} - unreleased\n`)) refuse(`CHANGELOG.md says that ${version} was released`);
  if (!hasText(own)) refuse(`CHANGELOG.md has nothing under [${version}]`);
  if (hasText(unreleased)) refuse(`CHANGELOG.md has entries both under [Unreleased] and under [${version}]`);
  sections[own] = sections[own].replace('unreleased', date);
  return sections.join('');
}

if (args[0] === '--tag') {
  if (args[1] !== `v${manifest.version}`) refuse(`${args[1]} is not the tag of version ${manifest.version}`);
  process.exit(0);
}

const [version, ...more] = args.filter((argument) => argument !== '--dry-run');
if (version === undefined || more.length > 0) refuse('say which: npm run release -- 0.2.0 [--dry-run]');
const parts = parse(version);
if (parts === undefined) refuse(`${version} is no version; one has three numbers, 0.2.0`);
if (below(parts, parse(manifest.version))) refuse(`${version} is before ${manifest.version}`);
if (!manifest.repository?.url)
  refuse('package.json names no repository, and npm wants it for the provenance of the package');
if (JSON.stringify([manifest.repository, manifest.homepage, manifest.bugs]).includes('/OWNER/'))
  refuse(
    'package.json names github.com/OWNER/connectx: put the owner of the repository in place of OWNER (CONTRIBUTING.md)',
  );
const branch = git('rev-parse', '--abbrev-ref', 'HEAD');
if (branch !== 'main') refuse(`this is branch ${branch}, and releases are made of main`);
const changed = git('status', '--porcelain');
if (changed !== '') refuse(`files differ from the last commit:\n${changed}`);
if (git('tag', '--list', `v${version}`) !== '') refuse(`there is a tag v${version}`);
const changelog = dated(read('CHANGELOG.md'), version, new Date().toISOString().slice(0, 10));

if (dryRun) {
  console.log(`Would set version ${version}, date its entry in CHANGELOG.md, run`);
  for (const check of CHECKS) console.log(`  npm run ${check}`);
  console.log(`and, when they pass, commit it as "Release ${version}" with the tag v${version}. Nothing was changed.`);
  process.exit(0);
}

writeFileSync(join(root, 'CHANGELOG.md'), changelog);
const commands = [
  ['npm', ['version', version, '--no-git-tag-version', '--allow-same-version', '--ignore-scripts']],
  ...CHECKS.map((check) => ['npm', ['run', check]]),
];
for (const [command, options] of commands) {
  const { status } = spawnSync(command, options, { cwd: root, stdio: 'inherit', env: { ...process.env, CI: 'true' } });
  if (status !== 0) {
    git('checkout', '--', ...FILES);
    refuse(`${command} ${options.join(' ')} failed; version and changelog are as before`);
  }
}
git('commit', '--quiet', '-m', `Release ${version}`, '--', ...FILES);
git('tag', '--annotate', `v${version}`, '-m', `connectx ${version}`);
console.log(`Committed and tagged. To publish: git push origin main v${version}`);
