// How many instructions does the native part take for each of its operations? Counted by callgrind, so it is the same every time,
// whatever else the machine does: for comparing two commits (--against). The kernel's are not among them.
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ends } from '../lib/ends.mjs';
import { isolated } from '../lib/namespace.mjs';
import { works } from '../../scripts/lib.mjs';
import { withParent } from '../lib/processes.mjs';
import { number } from '../lib/report.mjs';

const command = promisify(execFile);
/** What node-gyp gives the addon. */
const FLAGS = ['-std=c++17', '-O3', '-fno-omit-frame-pointer', '-fno-rtti', '-fno-exceptions', '-fvisibility=hidden'];
const COUNT = 20;
/** Of which one is very many instructions. */
const FEW = { 'DecodeDump, 10,000 sockets': 2 };

async function compile(checkout, directory, name) {
  const native = join(checkout, 'native');
  // The harness of that commit, which knows its headers.
  const harness = join(checkout, 'bench/native/instructions.cc');
  // Without what needs Node.
  const sources = readdirSync(native, { recursive: true })
    .filter((file) => file.endsWith('.cc') && file !== 'binding.cc' && !file.startsWith('napi/'))
    .map((file) => join(native, file));
  const program = join(directory, name);
  await command('c++', [...FLAGS, `-I${native}`, '-o', program, harness, ...sources]);
  return program;
}

async function count(program, operation, family, directory) {
  const file = join(directory, 'callgrind.out');
  const times = FEW[operation] ?? COUNT;
  const callgrind = ['valgrind', '-q', '--tool=callgrind', '--toggle-collect=Measured', `--callgrind-out-file=${file}`];
  const [wrapped, ...args] = withParent(
    isolated([...callgrind, program, operation, `${family}`, `${times}`], ends[family].addresses),
  );
  await command(wrapped, args);
  return Number(/^(?:summary|totals): (\d+)$/m.exec(readFileSync(file, 'utf8'))[1]) / times;
}

export const title = 'instructions: of the native part for each operation, without the kernel (callgrind)';

const leftOut = (why) => ({
  sections: [{ setting: `left out: ${why}`, columns: [''], rows: [], data: { leftOut: why } }],
  targets: [],
});

export async function run({ families, contestants, directory }) {
  for (const [program, packaged] of Object.entries({ valgrind: 'valgrind', 'c++': 'g++' })) {
    if (!works(program, ['--version'])) return leftOut(`${packaged} is not installed`);
  }
  const programs = [];
  for (const [index, { label, checkout }] of contestants(['connectx']).entries()) {
    programs.push({ label, program: await compile(checkout, directory, `instructions-${index}`) });
  }
  const operations = execFileSync(programs[0].program, { encoding: 'utf8' }).trim().split('\n');
  const rows = [];
  for (const operation of operations) {
    for (const family of families) {
      const counts = [];
      for (const { label, program } of programs) {
        counts.push({ label, instructions: await count(program, operation, family, directory) });
      }
      rows.push({ operation, family, counts });
    }
  }
  const section = {
    setting: `each ${COUNT} times, ${FLAGS.join(' ')}`,
    columns: ['', '', ...programs.map(({ label }) => label)],
    text: [0, 1],
    rows: rows.map(({ operation, family, counts }) => [
      operation,
      `IPv${family}`,
      ...counts.map(({ instructions }) => number(instructions, 0)),
    ]),
    data: { count: COUNT, flags: FLAGS, rows },
  };
  return { sections: [section], targets: [] };
}
