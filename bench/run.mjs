// Measures connectx beside node:net: `npm run bench`, `node bench/run.mjs --help`. See bench/README.md for what the figures mean.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileFloor, isFloor } from './lib/floor.mjs';
import { commitOf, machine } from './lib/machine.mjs';
import { enterNamespace } from './lib/namespace.mjs';
import { publish } from './lib/publish.mjs';
import { isMet, table, verdict } from './lib/report.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cases = readdirSync(join(here, 'cases')).map((file) => file.replace(/\.mjs$/, ''));
/** A name for several cases: those that begin with it. */
const GROUPS = ['limit'];
const inGroup = (group) => cases.filter((name) => name.startsWith(`${group}-`));
/** Only when they are asked for. */
const LONG = new Set(['steady', 'against', ...GROUPS.flatMap(inGroup)]);

const help = `node bench/run.mjs [options]
  --only NAME      only this case (${cases.join(', ')}),
                   or those of a group (${GROUPS.join(', ')}); may be repeated;
                   without it all but ${[...LONG].join(', ')}
  --quick          fewer rounds: a look, not a measurement
  --rounds N       no more rounds than N: whether it works at all
  --family 4|6     only this address family (default: both)
  --against DIR    the connectx built in DIR takes part too, for a comparison of two checkouts
  --json FILE      where the figures go (default: bench/results/<time>.json)
  --publish        the pages and charts, and docs/figures.json, become those of this run
  --check          exit with 1 when a target is missed`;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: 'Infinity' },
    family: { type: 'string' },
    against: { type: 'string' },
    json: { type: 'string' },
    publish: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const wanted =
  values.only?.flatMap((name) => (GROUPS.includes(name) ? inGroup(name) : [name])) ??
  cases.filter((name) => !LONG.has(name));
const unknown = wanted.find((name) => !cases.includes(name));
if (
  values.help ||
  unknown !== undefined ||
  ![undefined, '4', '6'].includes(values.family) ||
  !(Number(values.rounds) >= 1)
) {
  console.log(help);
  process.exit(values.help ? 0 : 2);
}

enterNamespace();

const checkout = join(here, '..');
// Gone when this process is, also when it is interrupted; the parties die with it anyway.
const directory = mkdtempSync(join(tmpdir(), 'connectx-bench-'));
process.once('exit', () => rmSync(directory, { recursive: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}
const floor = compileFloor(directory);
const options = {
  quick: values.quick,
  /** How many rounds. */
  atMost: ({ quick, full }) => Math.min(values.quick ? quick : full, Number(values.rounds)),
  families: values.family === undefined ? [4, 6] : [Number(values.family)],
  checkout,
  /** For what a case writes meanwhile. */
  directory,
  /** A setting for each of these peers; with --against, a second one for each that is connectx. */
  contestants(peers) {
    const ours = peers
      .filter((peer) => floor !== undefined || !isFloor(peer))
      .map((peer) => ({ peer, label: peer, checkout, floor }));
    if (values.against === undefined) return ours;
    const theirs = peers.filter((peer) => /^connect(x|Udp)/.test(peer));
    return [
      ...ours,
      ...theirs.map((peer) => ({ peer, label: `${peer} [${values.against}]`, checkout: resolve(values.against) })),
    ];
  },
};

// Now: by the end of the run the work tree may be another one.
const commit = commitOf(checkout);
console.log(machine);
if (floor === undefined) console.log('left out: the C programs beside the others, for want of a compiler (cc)');
const now = new Date().toISOString();
const file = values.json ?? join(here, 'results', `${now.replaceAll(/[:.]/g, '-')}.json`);
const figures = { time: now, machine, commit, quick: values.quick, cases: {} };
mkdirSync(dirname(file), { recursive: true });
let missed = 0;
for (const name of wanted) {
  const { run, title } = await import(`./cases/${name}.mjs`);
  console.log(`\n${title}`);
  const result = await run(options);
  for (const { setting, columns, rows, text } of result.sections) {
    console.log(`\n  ${setting}\n${table(columns, rows, text)}`);
  }
  if (result.targets.length > 0) console.log(`\n${result.targets.map(verdict).join('\n')}`);
  missed += result.targets.filter((target) => !isMet(target)).length;
  figures.cases[name] = {
    title,
    targets: result.targets.map((target) => ({ ...target, met: isMet(target) })),
    sections: result.sections.map(({ setting, columns, rows, text, data }) => ({
      setting,
      ...data,
      table: { columns, rows, text },
    })),
  };
  // After each case: a run that is ended before its end has taken minutes by then.
  writeFileSync(file, `${JSON.stringify(figures, undefined, 1)}\n`);
}

console.log(`\n${file}`);
if (values.publish) for (const made of publish(figures)) console.log(made);
if (values.check && missed > 0) process.exit(1);
