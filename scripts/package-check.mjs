// Checks the package as npm would publish it: its prebuilt binaries, and publint and are-the-types-wrong on the packed tarball.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './lib.mjs';
import { defectsOf } from './prebuilds.mjs';

const found = defectsOf(join(root, 'prebuilds'));
if (found.length > 0) {
  console.error(`${found.join('\n')}\n\`npm run prebuild\` makes them.`);
  process.exit(1);
}

const directory = mkdtempSync(join(tmpdir(), 'connectx-pack-'));
try {
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', directory], {
    cwd: root,
  });
  const [{ filename }] = JSON.parse(packed.toString());
  const tarball = join(directory, filename);
  run('npx', ['publint', 'run', tarball, '--strict']);
  // Below Node 16's resolution there are no `exports`; the package needs Node 20.
  run('npx', ['attw', '--profile', 'node16', tarball]);
} finally {
  rmSync(directory, { recursive: true });
}
