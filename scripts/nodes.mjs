// Other releases of Node, out of npm's node-linux-* packages; they stay in .nodes/.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, run } from './lib.mjs';

/** The path of the newest release of each of these majors, by major; those that are missing are downloaded. */
export function nodes(majors) {
  const folder = join(root, '.nodes');
  mkdirSync(folder, { recursive: true });
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) writeFileSync(manifest, '{"private":true}\n');
  const paths = Object.fromEntries(majors.map((major) => [major, join(folder, `node_modules/node${major}/bin/node`)]));
  const missing = majors.filter((major) => !existsSync(paths[major]));
  if (missing.length > 0) {
    console.log(`Installing Node ${missing.join(', ')}: about 200 MB each in .nodes/`);
    const packages = missing.map((major) => `node${major}@npm:node-linux-${process.arch}@${major}`);
    const args = [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      '--no-json',
      ...packages,
    ];
    run('npm', args, { cwd: folder });
  }
  for (const path of Object.values(paths)) if (!existsSync(path)) throw new Error(`${dirname(path)} has no node`);
  return paths;
}
