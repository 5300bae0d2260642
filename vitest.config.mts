import { defineConfig } from 'vitest/config';

// How much slower than usual the machine is: an emulated one, say (scripts/test-kernels.mjs).
const slowness = Number(process.env.CONNECTX_TEST_SLOWNESS ?? 1);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A process for each file: a test changes the network namespace of the thread that it runs on.
    pool: 'forks',
    maxWorkers: 2,
    // The built package is tested as Node loads it.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 30_000 * slowness,
    hookTimeout: 30_000 * slowness,
    // A test that only passes when it is run again is named at the end (test/helpers/reporter.ts).
    retry: Number(process.env.CONNECTX_TEST_RETRY ?? (process.env.CI === 'true' ? 1 : 0)),
    reporters: [['default', { summary: false }], './test/helpers/reporter.ts'],
  },
});
