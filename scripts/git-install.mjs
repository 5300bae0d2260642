// npm runs the script `dependencies` of a checkout whenever it has changed node_modules. In a checkout of one's own there is nothing to
// do. When a project installs connectx from a Git repository, npm installs the dependencies in a clone and then makes a package of it
// without `prepack`: what that makes has to be made here. (A script `prepare` would do as well, but npm 11 and 12 warn of it whenever
// the tarball is installed.)
import { run } from './lib.mjs';

// Set by npm for the npm that it starts in such a clone.
if (process.env._PACOTE_NO_PREPARE_) run(process.execPath, ['scripts/prepack.mjs'], { stdio: ['ignore', 2, 2] });
