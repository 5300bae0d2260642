// The generated parts of docs/benchmarks.md: everything between `<!-- results: NAME -->` and `<!-- end -->`.
import { isMet, number } from './report.mjs';

const escape = (text) => text.replaceAll('|', '\\|');
const line = (cells) => `| ${cells.map(escape).join(' | ')} |`;

function markdown({ columns, rows, text = [0] }) {
  const rule = columns.map((_, at) => (text.includes(at) ? '---' : '---:'));
  return [line(columns), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n');
}

function targetsTable({ cases }) {
  const rows = Object.entries(cases).flatMap(([name, { targets }]) =>
    targets.map(({ what, value, least, most }) => [
      name,
      what,
      number(value, 2),
      least === undefined ? `at most ${number(most, 2)}` : `at least ${number(least, 2)}`,
      isMet({ value, least, most }) ? 'met' : '**missed**',
    ]),
  );
  return markdown({ columns: ['case', 'what', 'figure', 'target', ''], rows, text: [0, 1, 3, 4] });
}

function settingOf({ time, machine, quick, commit }) {
  const length = quick ? 'a quick run, which has few rounds' : 'a full run';
  const where = commit === undefined ? '' : ` at commit ${commit}`;
  return `Measured on ${time.slice(0, 10)}${where}, ${length}: ${machine}.`;
}

const tablesOf = ({ sections }) =>
  sections.map(({ setting, table }) => `${setting}:\n\n${markdown(table)}`).join('\n\n');

const folded = (summary, text) => `<details>\n<summary>${summary}</summary>\n\n${text}\n\n</details>`;

function part(name, results) {
  if (name === 'setting') return settingOf(results);
  if (name === 'targets') return targetsTable(results);
  const result = results.cases[name];
  if (result === undefined) return 'Not measured in this run.';
  const tables = tablesOf(result);
  return result.sections.length > 4 ? folded('All figures', tables) : tables;
}

/** The page with its generated parts made anew. */
export function pageOf(results, page) {
  return page.replaceAll(/(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)/gs, (whole, begin, name, end) => {
    return `${begin}\n${part(name, results)}\n\n${end}`;
  });
}
