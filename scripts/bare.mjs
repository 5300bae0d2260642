// The two commands of README.md as a stranger runs them: `npm run bare`. In a fresh clone of the last commit, with an empty HOME, and on
// a PATH that has what README.md asks for and the shell's own tools, and nothing else that this machine may have. It fails when
// a command fails, or when anything is left out without saying why.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { root } from './lib.mjs';

const COMMANDS = ['npm run demo', 'npm test'];

// README.md asks for these; `as`, `ld` and `readelf` are g++'s, and Node's build files want flock of util-linux, which unshare is of.
const ASKED = [
  'node',
  'npm',
  'npx',
  'make',
  'g++',
  'as',
  'ld',
  'ar',
  'readelf',
  'python3',
  'git',
  'ip',
  'unshare',
  'flock',
];
const SHELL = [
  ...[
    'sh',
    'bash',
    'env',
    'cat',
    'cp',
    'mv',
    'rm',
    'ln',
    'ls',
    'mkdir',
    'rmdir',
    'touch',
    'chmod',
    'pwd',
    'echo',
    'printf',
    'test',
    'mkfifo',
  ],
  ...[
    'true',
    'false',
    'sleep',
    'sort',
    'uniq',
    'head',
    'tail',
    'tr',
    'cut',
    'wc',
    'tee',
    'date',
    'id',
    'uname',
    'dirname',
  ],
  ...[
    'basename',
    'readlink',
    'realpath',
    'mktemp',
    'expr',
    'seq',
    'kill',
    'sed',
    'grep',
    'awk',
    'find',
    'xargs',
    'tar',
    'gzip',
  ],
];

const folder = mkdtempSync(join(tmpdir(), 'connectx-bare-'));
try {
  const [bin, home, clone] = ['bin', 'home', 'connectx'].map((name) => join(folder, name));
  for (const made of [bin, home]) mkdirSync(made);
  const directories = process.env.PATH.split(delimiter);
  for (const name of [...ASKED, ...SHELL]) {
    const found = directories.map((directory) => join(directory, name)).find((file) => existsSync(file));
    if (found !== undefined) symlinkSync(found, join(bin, name));
    else if (ASKED.includes(name) && name !== 'npx') throw new Error(`README.md asks for ${name}, and it is not here`);
  }
  execFileSync('git', ['clone', '--quiet', root, clone], { stdio: 'inherit' });
  // What leads to the package registry stays. CI=true would forbid what is left out.
  const kept = Object.entries(process.env).filter(([name]) =>
    /(proxy|CERT|CA_BUNDLE|registry|CONNECTX_TEST_SLOWNESS)/i.test(name),
  );
  const env = { ...Object.fromEntries(kept), HOME: home, PATH: bin, NO_COLOR: '1', CONNECTX_TEST_RETRY: '1' };
  for (const command of COMMANDS) {
    const begun = performance.now();
    const child = spawn('sh', ['-c', command], { cwd: clone, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        said += chunk;
        process.stdout.write(chunk);
      });
    }
    const [status, signal] = await once(child, 'close');
    const unnamed = said.split('\n').filter((line) => /^left out: /.test(line) && !/\[left out: .+\]/.test(line));
    const warned = said.split('\n').filter((line) => /^npm (warn|error)/i.test(line));
    if (status !== 0 || unnamed.length > 0 || warned.length > 0) {
      console.error([`${command}, on a bare PATH: ${signal ?? `exit ${status}`}`, ...unnamed, ...warned].join('\n'));
      process.exitCode = 1;
      break;
    }
    console.log(`${command}, on a bare PATH: passed, in ${Math.round((performance.now() - begun) / 1000)} s`);
  }
  // .ci/run then runs these files where there is everything.
  const leftOut = join(clone, 'reports/left-out.json');
  if (existsSync(leftOut)) {
    mkdirSync(join(root, 'reports'), { recursive: true });
    cpSync(leftOut, join(root, 'reports/left-out.json'));
  }
} finally {
  rmSync(folder, { recursive: true });
}
