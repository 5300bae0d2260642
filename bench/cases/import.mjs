// What does it cost to have connectx in a program?
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CLIENT_CORE, onCore } from '../lib/processes.mjs';
import { number, spread } from '../lib/report.mjs';
import { summary } from '../lib/statistics.mjs';

// Each prints milliseconds. node:net is loaded before: nearly every program has it anyway.
const PROGRAMS = {
  "require('connectx')": (checkout) => `
    require('node:net');
    const start = performance.now();
    require(${JSON.stringify(join(checkout, 'dist/index.js'))});
    console.log(performance.now() - start);`,
  "import('connectx')": (checkout) => `
    require('node:net');
    const start = performance.now();
    import(${JSON.stringify(pathToFileURL(join(checkout, 'dist/index.mjs')).href)}).then(() => console.log(performance.now() - start));`,
  'the addon, at the first connect()': (checkout) => `
    const { capabilities } = require(${JSON.stringify(join(checkout, 'dist/index.js'))});
    const start = performance.now();
    capabilities();
    console.log(performance.now() - start);`,
  "require('node:https'), for comparison": () => `
    require('node:net');
    const start = performance.now();
    require('node:https');
    console.log(performance.now() - start);`,
};

const LOADS = ["require('connectx')", "import('connectx')"];

export const title = 'import: milliseconds to load, a fresh process each time, files in the page cache';

export async function run({ contestants, atMost }) {
  const rounds = atMost({ quick: 10, full: 40 });
  const programs = contestants(['connectx']).flatMap(({ label, checkout }) =>
    Object.entries(PROGRAMS).map(([what, program]) => ({
      label: label === 'connectx' ? what : `${what} ${label.replace('connectx ', '')}`,
      program: program(checkout),
    })),
  );
  const taken = programs.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, { program }] of programs.entries()) {
      const [file, ...args] = onCore(CLIENT_CORE, [process.execPath, '-e', program]);
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
