import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A process for each file: a test changes the network namespace of the thread that it runs on.
    pool: 'forks',
    maxWorkers: 2,
    // The built package is tested as Node loads it.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // A test that only passes when it is run again is named at the end (test/helpers/reporter.ts).
    retry: process.env.CI === 'true' ? 1 : 0,
    reporters: [['default', { summary: false }], './test/helpers/reporter.ts'],
  },
});
