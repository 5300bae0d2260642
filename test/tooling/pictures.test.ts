// The pictures of docs/pictures are made by scripts/pictures.mjs, and say what they say in light and in dark.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { layoutOf, WATCH_FIELDS } from '../../src/cli/table.js';
import { plain } from '../../src/cli/text.js';
import { screenOf } from '../../src/cli/watch_screen.js';
import { describeIsolated } from '../helpers/netns.js';
import { pages, read } from '../helpers/documents.js';

const root = join(import.meta.dirname, '../..');
const pictures = ['docs/pictures', 'docs/benchmarks'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.svg'))
    .map((name) => `${folder}/${name}`),
);

test('what is drawn is what the scripts draw', () => {
  execFileSync(process.execPath, ['scripts/pictures.mjs', '--check'], { cwd: root });
});

test.each(pictures)('%s has a colour of each theme for all that is drawn, and is small', (picture) => {
  const text = read(picture);
  const [, light = '', dark = ''] =
    /<style>(.*?)@media \(prefers-color-scheme:dark\)\{(.*?)\}<\/style>/.exec(text) ?? [];
  const classes = new Set([...text.matchAll(/ class="(\w+)"/g)].map(([, name = '']) => name));
  expect(classes.size).toBeGreaterThan(2);
  for (const theme of [light, dark]) expect([...classes].filter((name) => !theme.includes(`.${name}{`))).toEqual([]);
  expect(text.length).toBeLessThan(60_000);
});

test('every picture is on a page, with a sentence that says what it shows', () => {
  const shown = pages.flatMap((page) => [...read(page).matchAll(/!\[([^\]]*)\]\((?:\.\.\/)*([^)]+\.svg)\)/g)]);
  for (const [, alt = ''] of shown) expect(alt.split(' ').length, alt).toBeGreaterThan(7);
  const names = shown.map(([, , path = '']) => path.split('/').at(-1));
  expect(pictures.filter((picture) => !names.includes(picture.split('/').at(-1)))).toEqual([]);
});

test('the recorded watch shows the columns and the keys that watch has', () => {
  const drawn = read('docs/pictures/watch.svg').replaceAll(/<[^>]+>/g, ' ');
  const [titles = ''] = layoutOf([], WATCH_FIELDS, undefined, plain).head;
  const view = { rows: [], order: 'f', top: 0, connects: undefined, problem: undefined };
  const keys = screenOf(view, { columns: 112, rows: 8 }, plain).lines.at(-1) ?? '';
  const words = [...titles.split(/\s{2,}/), ...keys.split(/\s{2,}/)];
  expect(words.length).toBeGreaterThan(12);
  expect(words.filter((word) => !drawn.includes(word))).toEqual([]);
});

describeIsolated('the recorded demo', () => {
  test('shows what the demo prints', { timeout: 30_000 }, () => {
    const output = execFileSync(process.execPath, ['examples/demo.mjs'], { cwd: root, encoding: 'utf8' });
    const wordsOf = (text: string) => new Set(text.match(/\b[A-Za-z]{4,}\b/g));
    const [, ...lines] = output.split('\n');
    // A word may be broken at the end of a line.
    const drawn = read('docs/pictures/demo.svg').replaceAll(/<[^>]+>/g, ' ');
    const missing = [...wordsOf(lines.join(' '))].filter((word) => !wordsOf(drawn).has(word));
    expect(missing.length).toBeLessThan(3);
    expect(drawn).toMatch(/total\s+20\s+100/);
  });
});
