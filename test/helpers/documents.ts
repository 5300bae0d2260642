// The pages of the documentation, and what can be checked in them: blocks of code, tables, headings, links.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');
export const read = (page: string): string => readFileSync(join(root, page), 'utf8');

const below = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => `${folder}/${path}`);

/** Every page, by its path; not what `npm run docs:api` makes. */
export const pages: readonly string[] = [
  ...readdirSync(root),
  ...['docs', 'examples', 'bench', 'model'].flatMap(below),
].filter((path) => path.endsWith('.md') && !path.startsWith('docs/api/'));

export interface Block {
  page: string;
  line: number;
  language: string;
  code: string;
  /** What a comment right above the block says of how it is checked, e.g. `not run: it takes minutes`. */
  directive: string | undefined;
}

/** Throws on a fence that is not the whole of a line, or that is never closed: its code would not be checked. */
export function blocksOf(page: string): Block[] {
  const lines = read(page).split('\n');
  const blocks: Block[] = [];
  let open: Block | undefined;
  for (const [index, line] of lines.entries()) {
    const [, language] = /^```(\w*)$/.exec(line) ?? [];
    if (language === undefined) {
      if (/^\s*(```|~~~)/.test(line)) throw new Error(`${page}:${index + 1}: a fence that is not understood`);
      if (open !== undefined) open.code += `${line}\n`;
    } else if (open === undefined) {
      const [, directive] = /^<!-- (.*) -->$/.exec(lines[index - 1] || (lines[index - 2] ?? '')) ?? [];
      open = { page, line: index + 1, language, code: '', directive };
    } else if (language === '') {
      blocks.push(open);
      open = undefined;
    } else throw new Error(`${page}:${index + 1}: a block within a block`);
  }
  if (open !== undefined) throw new Error(`${page}:${open.line}: a block without an end`);
  return blocks;
}

export const blocks: readonly Block[] = pages.flatMap(blocksOf);

/** The examples of the docstrings in src/, which are TypeScript. */
export const examples: readonly Block[] = below('src')
  .filter((path) => path.endsWith('.ts'))
  .flatMap((page) =>
    [...read(page).matchAll(/^( *)\* @example\n((?:\1\*(?! @|\/).*\n)+)/gm)].map(
      ({ index, 1: indent = '', 2: text = '' }) => ({
        page,
        line: read(page).slice(0, index).split('\n').length,
        language: 'ts',
        code: text.replaceAll(new RegExp(`^${indent}\\* ?`, 'gm'), ''),
        directive: undefined,
      }),
    ),
  );

/** The fragments that links may lead to, as GitHub makes them: a title that comes again has a number. */
export function anchorsOf(page: string): string[] {
  const text = read(page);
  const seen = new Map<string, number>();
  const titles = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => {
    const anchor = title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-');
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    return times === 0 ? anchor : `${anchor}-${times}`;
  });
  return [...titles, ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)];
}

/** The cells of the rows of the first table below the heading. */
export function tableBelow(page: string, heading: string): string[][] {
  const [, section = ''] = read(page).split(`\n## ${heading}\n`);
  const [table = ''] = /^\|.*\|$(\n^\|.*\|$)+/m.exec(section) ?? [];
  const rows = table.split('\n').slice(2);
  // A bar within a cell is escaped.
  return rows.map((row) => row.split(/(?<!\\)\|/).slice(1, -1)).map((cells) => cells.map((cell) => cell.trim()));
}

/** What is written as code in a text. */
export const codeIn = (text = ''): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
