// What does it cost to have connectx in a program?
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CLIENT_CORE, onCore } from '../lib/processes.mjs';
import { number, spread } from '../lib/report.mjs';
import { summary } from '../lib/statistics.mjs';

const address = (file) => JSON.stringify(pathToFileURL(file).href);

// Each prints milliseconds. A program that adds connectx has node:net and some package of others already, and with it what Node
// needs once to load any package at all.
const PROGRAMS = {
  "require('connectx')": (checkout, other) => `
    require('node:net');
    require(${JSON.stringify(other)});
    const start = performance.now();
    require(${JSON.stringify(join(checkout, 'dist/index.js'))});
    console.log(performance.now() - start);`,
  "import('connectx')": (checkout, other) => `
    import 'node:net';
    import ${address(other)};
    const start = performance.now();
    await import(${address(join(checkout, 'dist/index.js'))});
    console.log(performance.now() - start);`,
  'the addon, at the first connect()': (checkout) => `
    const { capabilities } = require(${JSON.stringify(join(checkout, 'dist/index.js'))});
    const start = performance.now();
    capabilities();
    console.log(performance.now() - start);`,
  "require('node:https'), for comparison": (_, other) => `
    require('node:net');
    require(${JSON.stringify(other)});
    const start = performance.now();
    require('node:https');
    console.log(performance.now() - start);`,
};

const typeOf = (program) => (program.includes('await import') ? ['--input-type=module'] : []);

const LOADS = ["require('connectx')", "import('connectx')"];

export const title = 'import: milliseconds to load, a fresh process each time, files in the page cache';

export async function run({ contestants, atMost, directory }) {
  const other = join(directory, 'other.cjs');
  writeFileSync(other, 'exports.name = 1;\n');
  const rounds = atMost({ quick: 10, full: 40 });
  const programs = contestants(['connectx']).flatMap(({ label, checkout }) =>
    Object.entries(PROGRAMS).map(([what, program]) => ({
      label: label === 'connectx' ? what : `${what} ${label.replace('connectx ', '')}`,
      program: program(checkout, other),
    })),
  );
  const taken = programs.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, { program }] of programs.entries()) {
      const [file, ...args] = onCore(CLIENT_CORE, [process.execPath, ...typeOf(program), '-e', program]);
      const ms = Number(execFileSync(file, args, { encoding: 'utf8' }));
      if (round > 0) taken[index].push(ms);
    }
  }
  const rows = programs.map(({ label }, index) => ({ what: label, ms: summary(taken[index]) }));
  const section = {
    setting: `${rounds} rounds`,
    columns: ['', 'ms', 'quartiles'],
    rows: rows.map(({ what, ms }) => [what, number(ms.median, 2), spread(ms, 2)]),
    data: { rounds, rows },
  };
  const targets = rows
    .filter(({ what }) => LOADS.includes(what))
    .map(({ what, ms }) => ({ what: `${what}, ms`, value: ms.median, most: 10 }));
  return { sections: [section], targets };
}
