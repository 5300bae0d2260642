// What the contests come to, for scripts/test-races.mjs, which makes a report of it.
import { appendFileSync } from 'node:fs';

/** A file to write to; nothing is told without it. */
const { CONNECTX_TEST_RACES: file } = process.env;

export function tellRace(row: { what: string; tried: number; failed: number; detail: string }): void {
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(row)}\n`);
}
