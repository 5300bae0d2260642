// Runs the tests in a network namespace of their own: `npm test [-- vitest arguments]`. Where none can be made, the tests
// that need one are left out and named. With CI=true nothing may be left out. What came of a whole run goes to
// reports/node-<release>.json, and the files in which a test was left out to reports/left-out.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCgroups } from './cgroups.mjs';
import { report, root, works } from './lib.mjs';
import { install } from './parts.mjs';

install('tests');
const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '../vitest.mjs');
const given = process.argv.slice(2);
const command = [process.execPath, vitest, 'run', ...given];

// Where `unshare` may make a namespace, the namespace's root may do in it all that the tests do.
const namespaces = process.platform === 'linux' && works('unshare', ['-Urn', 'ip', 'link', 'set', 'lo', 'up']);
const isolated = ['unshare', '-Urn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...command];
const [file, ...args] = namespaces ? isolated : command;
if (!namespaces) {
  console.log(
    'No network namespace can be made here (unshare -Urn, and ip of iproute2): tests that need one are left out.',
  );
}

const cgroups = makeCgroups();
const directory = mkdtempSync(join(tmpdir(), 'connectx-test-'));
// Whoever starts this one may ask for the counts, too.
const summary = process.env.CONNECTX_TEST_SUMMARY ?? join(directory, 'summary.json');
console.log(`Node ${process.version}`);
const { status, error } = spawnSync(file, args, {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    CONNECTX_TEST_SUMMARY: summary,
    CONNECTX_TEST_NAMESPACE: namespaces ? '1' : '',
    CONNECTX_TEST_CGROUPS: cgroups.path ?? '',
    CONNECTX_TEST_SK_LOOKUP: cgroups.skLookup ?? '',
    CONNECTX_TEST_CGROUPS_MISSING: cgroups.reason ?? '',
  },
});
cgroups.remove();
if (error) throw error;
const { passed, failed, skipped, leftOutIn } = existsSync(summary) ? JSON.parse(readFileSync(summary, 'utf8')) : {};
rmSync(directory, { recursive: true });
if (given.length === 0 && passed !== undefined && !process.env.CONNECTX_TEST_SUMMARY) {
  const [major] = process.versions.node.split('.');
  const detail = skipped > 0 ? `${skipped} left out` : '';
  const row = { what: `every test, Node ${process.versions.node}`, tried: passed + failed, failed, detail };
  report(`node-${major}`, 'npm test', [row]);
  writeFileSync(join(root, 'reports/left-out.json'), `${JSON.stringify(leftOutIn, undefined, 2)}\n`);
}
if (status === 0 && skipped > 0 && process.env.CI === 'true') {
  console.error('CI runs every test, and some were left out.');
  process.exit(1);
}
process.exit(status ?? 1);
