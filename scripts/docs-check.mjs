// Runs the commands of the documentation that need the package registry, and so cannot be run by the tests, which have no
// network: those below `<!-- run by npm run docs:check -->`. They find a copy of this checkout in a folder `connectx`, and an
// empty project `app` beside it, in which `connectx` must work afterwards.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root, run } from './lib.mjs';

const blocks = ['README.md', 'docs/guides/operators-story.md'].flatMap((name) => {
  const page = readFileSync(join(root, name), 'utf8');
  const found = [...page.matchAll(/^<!-- run by npm run docs:check -->\n\n```sh\n(.*?)^```$/gms)].map(
    ([, code]) => code,
  );
  if (found.length === 0) throw new Error(`${name} has no such commands`);
  return found;
});

const folder = mkdtempSync(join(tmpdir(), 'connectx-docs-'));
try {
  const copy = join(folder, 'connectx');
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  for (const file of files.toString().split('\0').filter(Boolean)) {
    if (!existsSync(join(root, file))) continue;
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(root, file), join(copy, file), { preserveTimestamps: true });
  }
  // What is installed and built is up to date, and takes long.
  for (const made of ['node_modules', 'dist', 'build', 'test/native/build', 'scripts/zig/node_modules']) {
    if (existsSync(join(root, made))) run('cp', ['-a', made, join(copy, made)]);
  }
  const app = join(folder, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{ "private": true, "type": "module" }\n');
  // What is installed globally goes into the folder.
  const prefix = join(folder, 'global');
  const env = { ...process.env, npm_config_prefix: prefix, PATH: `${join(prefix, 'bin')}:${process.env.PATH}` };
  for (const code of blocks) run('sh', ['-euxc', code], { cwd: copy, env });
  const program = `
    import { capabilities } from 'connectx';
    const { native, nativeError } = capabilities();
    if (!native) throw nativeError;
  `;
  run(process.execPath, ['--input-type=module', '-e', program], { cwd: app });
  const installed = JSON.parse(readFileSync(join(app, 'node_modules/connectx/package.json'), 'utf8'));
  console.log(`connectx ${installed.version} is installed, and works`);
} finally {
  rmSync(folder, { recursive: true });
}
