// Before npm packs the package (`npm pack`, `npm publish`): everything that belongs to it is made, or nothing is packed. A package for
// this machine has the binary for it; what is published has all of them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { newest, root, run } from './lib.mjs';
import { defectsOf, HERE, targets } from './prebuilds.mjs';

// `npm pack --json` prints its answer on the standard output.
const apart = { stdio: ['ignore', 2, 2] };
const prebuilds = join(root, 'prebuilds');
const sources = newest(join(root, 'native'));
const isStale = ({ file }) => newest(join(prebuilds, file)) < sources;

function refuse(...why) {
  console.error(`Nothing is packed:\n${why.join('\n')}`);
  process.exit(1);
}

run(process.execPath, ['scripts/setup.mjs'], apart);
if (process.env.npm_command === 'publish') {
  const found = defectsOf(prebuilds);
  if (found.length > 0) refuse(...found, '`npm run prebuild` builds what is published.');
} else {
  if (HERE === undefined)
    refuse(`There is no binary for ${process.platform} on ${process.arch}, and none can be built.`);
  const old = targets.filter(
    (target) => target !== HERE && existsSync(join(prebuilds, target.file)) && isStale(target),
  );
  if (old.length > 0) {
    refuse(
      ...old.map(({ file }) => `prebuilds/${file} is older than native/.`),
      'Remove it, or build it: npm run prebuild',
    );
  }
  if (isStale(HERE)) run(process.execPath, ['scripts/prebuild.mjs', 'here'], apart);
}
