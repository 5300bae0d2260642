// Checks the package as npm would publish it: its prebuilt binaries, publint and are-the-types-wrong on the packed tarball, and then the
// tarball with every package manager. `npm run package:check -- here` takes the binary of this machine alone for enough.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { root, run } from './lib.mjs';
import { tryManagers } from './package-managers.mjs';
import { install } from './parts.mjs';
import { defectsOf } from './prebuilds.mjs';

const found = process.argv.includes('here') ? [] : defectsOf(join(root, 'prebuilds'));
if (found.length > 0) {
  console.error(`${found.join('\n')}\n\`npm run prebuild\` makes them.`);
  process.exit(1);
}

install('package');
install('npm');
const directory = mkdtempSync(join(tmpdir(), 'connectx-pack-'));
const bin = join(root, 'scripts/package/node_modules/.bin');
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
try {
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', directory], { cwd: root });
  const [{ filename }] = JSON.parse(packed.toString());
  const tarball = join(directory, filename);
  run('publint', ['run', tarball, '--strict'], { env });
  // Below Node 16's resolution there are no `exports`; the package needs Node 20.
  run('attw', ['--profile', 'node16', tarball], { env });
  await tryManagers(tarball);
} finally {
  rmSync(directory, { recursive: true });
}
