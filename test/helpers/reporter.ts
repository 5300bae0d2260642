// Ends the run with one plain line of counts, and names what was left out.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { TestCase, TestModule } from 'vitest/node';

/** Why a test was left out while it was running, in the words in which others have it in their names. */
function noteOf(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note !== undefined ? ` [left out: ${result.note}]` : '';
}

export default class Counts {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let passed = 0;
    let failed = errors.length;
    const left: string[] = [];
    const again: string[] = [];
    const leftOutIn = new Set<string>();
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if ((test.diagnostic()?.retryCount ?? 0) > 0) again.push(test.fullName);
        if (state === 'passed') passed++;
        else if (state === 'failed') failed++;
        else {
          left.push(`${test.fullName}${noteOf(test)}`);
          leftOutIn.add(relative(process.cwd(), module.moduleId));
        }
      }
    }
    for (const name of again) console.log(`run again: ${name}`);
    for (const name of left) console.log(`left out: ${name}`);
    console.log(`\ntests: ${passed} passed, ${failed} failed, ${left.length} skipped`);
    const summary = process.env.CONNECTX_TEST_SUMMARY;
    const counts = { passed, failed, skipped: left.length, leftOutIn: [...leftOutIn] };
    if (summary) writeFileSync(summary, JSON.stringify(counts));
  }
}
