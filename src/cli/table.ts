// Groups as lines of a table, or as blocks of lines where there is no room for one. A group is always named in full: two of them never
// look the same. No I/O.
import { bar, colourOf, endpoint, type Paint, percent, printable } from './text';
import type { RestUsage } from '../usage/fullest';
import type { PortUsage } from '../usage/usage';

/** A group, and what `watch` knows of it besides. */
export interface Row {
  readonly usage: PortUsage;
  /** Ports a second that are used more, or less, than before. */
  readonly growth?: number | undefined;
  /** Seconds until it is full if it goes on like this; undefined when it will not be. */
  readonly fullIn?: number | undefined;
  /** Whose connections these are. */
  readonly process?: string | undefined;
}

/** What can be shown of a group. */
export type Field =
  'protocol' | 'source' | 'destination' | 'used' | 'timeWait' | 'capacity' | 'ratio' | 'growth' | 'fullIn' | 'process';

interface Column {
  readonly field: Field;
  readonly title: string;
  readonly right: boolean;
  readonly cell: (row: Row) => string;
}

const left = (field: Field, title: string, cell: Column['cell']): Column => ({ field, title, right: false, cell });
const right = (field: Field, title: string, cell: Column['cell']): Column => ({ field, title, right: true, cell });

/** `+12`, `-0.3`, `0`. */
function signed(value: number | undefined): string {
  if (value === undefined) return '';
  const text = Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(1);
  return Number(text) === 0 ? '0' : Number(text) > 0 ? `+${text}` : text;
}

/** Seconds as `43 s`, `12 min`, `5 h` or `3 d`, rounded down. */
export function duration(seconds: number): string {
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 360_000) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.min(999, Math.floor(seconds / 86_400))} d`;
}

const fullIn = (row: Row): string => (row.fullIn === undefined ? '' : duration(row.fullIn));

const COLUMNS: Readonly<Record<Field, Column>> = {
  protocol: left('protocol', 'PROTO', ({ usage }) => usage.protocol),
  source: left('source', 'SOURCE', ({ usage }) => usage.localAddress),
  destination: left('destination', 'DESTINATION', ({ usage }) =>
    endpoint(usage, usage.remoteAddress, usage.remotePort),
  ),
  used: right('used', 'USED', ({ usage }) => `${usage.used}`),
  timeWait: right('timeWait', 'TIME-WAIT', ({ usage }) => `${usage.timeWait}`),
  capacity: right('capacity', 'CAPACITY', ({ usage }) => `${usage.capacity}`),
  ratio: right('ratio', 'FULL', ({ usage }) => percent(usage.ratio)),
  growth: right('growth', '+/S', ({ growth }) => signed(growth)),
  fullIn: right('fullIn', 'FULL IN', fullIn),
  process: left('process', 'PROCESS', ({ process = '' }) => process),
};

/** What `usage` shows. */
export const USAGE_FIELDS: readonly Field[] = [
  'protocol',
  'source',
  'destination',
  'used',
  'timeWait',
  'capacity',
  'ratio',
];
/** What `watch` shows. */
export const WATCH_FIELDS: readonly Field[] = [...USAGE_FIELDS, 'growth', 'fullIn', 'process'];

/** What is left out first where there is little room. */
const DISPENSABLE: readonly Field[] = ['timeWait', 'capacity', 'process', 'growth', 'fullIn'];
const GAP = 2;
const LEAST_BAR = 10;
const MOST_BAR = 40;

const widthsOf = (columns: readonly Column[], rows: readonly Row[]): number[] =>
  columns.map(({ title, cell }) =>
    rows.reduce((width, row) => Math.max(width, printable(cell(row)).length), title.length),
  );

const total = (widths: readonly number[]): number =>
  widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);

/** Pieces of at most `width` characters. */
function fold(text: string, width: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += width) lines.push(text.slice(at, at + width));
  return lines;
}

/** Joins what fits on a line; what is longer than a line is folded. */
function flow(parts: readonly string[], separator: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of parts) {
    const joined = `${lines.at(-1)}${separator}${part}`;
    if (lines.length > 0 && joined.length <= width) lines[lines.length - 1] = joined;
    else lines.push(...fold(part, Math.max(width, 1)));
  }
  return lines;
}

/** How rows are shown. */
export interface Layout {
  /** What is shown of each. */
  readonly fields: readonly Field[];
  /** The titles of the columns; none above blocks. */
  readonly head: readonly string[];
  /** The lines of a row. */
  lines(row: Row): string[];
}

function asColumns(columns: readonly Column[], widths: readonly number[], room: number, paint: Paint): Layout {
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, index) => {
        const size = widths[index] ?? 0;
        return columns[index]?.right === true ? text.padStart(size) : text.padEnd(size);
      })
      .join(' '.repeat(GAP));
  return {
    fields: columns.map(({ field }) => field),
    head: [paint('bold', line(columns.map(({ title }) => title)).trimEnd())],
    lines: (row) => {
      const { ratio } = row.usage;
      const text = line(columns.map(({ cell }) => printable(cell(row))));
      if (room < LEAST_BAR) return [paint(colourOf(ratio), text.trimEnd())];
      return [`${paint(colourOf(ratio), text)}${' '.repeat(GAP)}${paint(colourOf(ratio), bar(ratio, room))}`];
    },
  };
}

/** A group as `tcp 192.0.2.7 > 203.0.113.10:443`, and its figures below. */
function asBlocks(fields: readonly Field[], width: number, paint: Paint): Layout {
  const cell = (field: Field, row: Row): string => printable(COLUMNS[field].cell(row));
  return {
    fields,
    head: [],
    lines: (row) => {
      const { used, capacity, timeWait, ratio } = row.usage;
      const name = flow([cell('protocol', row), cell('source', row), `> ${cell('destination', row)}`], ' ', width);
      const figures = [
        percent(ratio),
        `${used} of ${capacity}`,
        ...(row.usage.protocol === 'tcp' ? [`TIME-WAIT ${timeWait}`] : []),
        ...(row.growth === undefined ? [] : [`${cell('growth', row)}/s`]),
        ...(row.fullIn === undefined ? [] : [`full in ${fullIn(row)}`]),
        ...(row.process === undefined ? [] : [cell('process', row)]),
      ];
      const below = flow(figures, ', ', Math.max(width - 4, 1)).map(
        (line) => `${' '.repeat(width > 4 ? 4 : 0)}${line}`,
      );
      return [...name, ...below].map((line) => paint(colourOf(ratio), line));
    },
  };
}

/** How these rows are shown in `width` columns; undefined: there is no limit, and no bar. */
export function layoutOf(
  rows: readonly Row[],
  fields: readonly Field[],
  width: number | undefined,
  paint: Paint,
): Layout {
  let columns = fields.map((field) => COLUMNS[field]);
  let widths = widthsOf(columns, rows);
  for (const field of DISPENSABLE) {
    if (width === undefined || total(widths) <= width) break;
    columns = columns.filter((column) => column.field !== field);
    widths = widthsOf(columns, rows);
  }
  if (width !== undefined && total(widths) > width) return asBlocks(fields, width, paint);
  const room = width === undefined ? 0 : Math.min(MOST_BAR, width - total(widths) - GAP);
  return asColumns(columns, widths, room, paint);
}

function restLine({ protocol, groups, used, timeWait, ratio }: RestUsage): string {
  const what = `${groups} more ${protocol} ${groups === 1 ? 'group' : 'groups'}`;
  return `${what}: ${used} ports in use, ${timeWait} in TIME-WAIT, the fullest ${percent(ratio)}`;
}

/** What `connectx usage` prints: with a `width`, no line is longer. */
export function usageTable(
  usage: readonly PortUsage[],
  width: number | undefined,
  paint: Paint,
  rest: readonly RestUsage[] = [],
): string[] {
  const rows = usage.map((one) => ({ usage: one }));
  const { head, lines } = layoutOf(rows, USAGE_FIELDS, width, paint);
  const sums = rest.flatMap((sum) => flow(restLine(sum).split(' '), ' ', width ?? Infinity));
  return [...head, ...rows.flatMap(lines), ...sums];
}
