// Runs the tests in a network namespace of their own: `npm test [-- vitest arguments]`. Where none can be made, the tests
// that need one are left out and named. With CI=true nothing may be left out.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, works } from './lib.mjs';

const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '../vitest.mjs');
const command = [process.execPath, vitest, 'run', ...process.argv.slice(2)];

// Where `unshare` may make a namespace, the namespace's root may do in it all that the tests do.
const namespaces = process.platform === 'linux' && works('unshare', ['-Urn', 'ip', 'link', 'set', 'lo', 'up']);
const isolated = ['unshare', '-Urn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...command];
const [file, ...args] = namespaces ? isolated : command;
if (!namespaces) {
  console.log(
    'No network namespace can be made here (unshare -Urn, and ip of iproute2): tests that need one are left out.',
  );
}

const directory = mkdtempSync(join(tmpdir(), 'connectx-test-'));
// Whoever starts this one may ask for the counts, too.
const summary = process.env.CONNECTX_TEST_SUMMARY ?? join(directory, 'summary.json');
console.log(`Node ${process.version}`);
const { status, error } = spawnSync(file, args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, CONNECTX_TEST_SUMMARY: summary, CONNECTX_TEST_NAMESPACE: namespaces ? '1' : '' },
});
if (error) throw error;
const { skipped } = status === 0 ? JSON.parse(readFileSync(summary, 'utf8')) : { skipped: 0 };
rmSync(directory, { recursive: true });
if (status === 0 && skipped > 0 && process.env.CI === 'true') {
  console.error('CI runs every test, and some were left out.');
  process.exit(1);
}
process.exit(status ?? 1);
