// One screen of `watch`: which groups, in which order, from where on. Plain data.
import { type Field, type Layout, layoutOf, type Row, WATCH_FIELDS } from './table';
import { type Paint, printable } from './text';
import { byFullness, usageKey } from '../usage/usage';

interface Order {
  readonly key: string;
  readonly name: string;
  /** What has to be shown for it. */
  readonly field: Field;
  readonly compare: (a: Row, b: Row) => number;
}

const byNumber =
  (of: (row: Row) => number): Order['compare'] =>
  (a, b) =>
    of(b) - of(a);

const FULLEST: Order = { key: 'f', name: 'full', field: 'ratio', compare: (a, b) => byFullness(a.usage, b.usage) };

const ORDERS: readonly Order[] = [
  FULLEST,
  { key: 'u', name: 'used', field: 'used', compare: byNumber(({ usage }) => usage.used) },
  { key: 't', name: 'TIME-WAIT', field: 'timeWait', compare: byNumber(({ usage }) => usage.timeWait) },
  { key: 'g', name: 'growth', field: 'growth', compare: byNumber(({ growth = 0 }) => growth) },
  {
    key: 'd',
    name: 'destination',
    field: 'destination',
    compare: (a, b) =>
      a.usage.family.localeCompare(b.usage.family) ||
      a.usage.remoteAddress.localeCompare(b.usage.remoteAddress, 'en', { numeric: true }) ||
      a.usage.remotePort - b.usage.remotePort,
  },
];

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What is shown, and what keys change. */
export interface View {
  readonly rows: readonly Row[];
  /** The key of the order. */
  readonly order: string;
  /** The first group that is shown, in this order. */
  readonly top: number;
  /** TCP connects a second of the network namespace; undefined when it is not known (yet). */
  readonly connects: number | undefined;
  /** Instead of the first line. */
  readonly problem: string | undefined;
}

export interface Screen {
  readonly lines: readonly string[];
  /** The groups on it. */
  readonly shown: readonly Row[];
  /** `top`, where that was too far. */
  readonly top: number;
  /** The order in force. */
  readonly order: string;
  /** Those that can be asked for: what they go by is shown. */
  readonly orders: readonly string[];
}

/** How many of the rows from `top` on have room in `height` lines; one at least. */
function fitting(rows: readonly Row[], top: number, height: number, layout: Layout): number {
  let lines = 0;
  let count = 0;
  for (const row of rows.slice(top)) {
    lines += layout.lines(row).length;
    if (lines > height && count > 0) break;
    count++;
  }
  return count;
}

/** The last `top` with which the screen is full. */
function lastTop(rows: readonly Row[], height: number, layout: Layout): number {
  let lines = 0;
  let top = rows.length;
  for (const row of [...rows].reverse()) {
    lines += layout.lines(row).length;
    if (lines > height && top < rows.length) break;
    top--;
  }
  return top;
}

function heading(first: string, order: Order, { connects }: View, columns: number): string {
  const rate =
    connects === undefined ? '' : `, ${connects >= 10 ? connects.toFixed(0) : connects.toFixed(1)} connects/s`;
  const text = `${first}, by ${order.name}${rate}`;
  const title = 'connectx watch  ';
  return (title.length + text.length <= columns ? title + text : text).slice(0, columns);
}

function keysLine(orders: readonly Order[], columns: number): string {
  const long = `q quit  arrows, PgUp, PgDn scroll  sort: ${orders.map(({ key, name }) => `${key} ${name}`).join('  ')}`;
  const middle = `q quit  arrows scroll  ${orders.map(({ key, name }) => `${key} ${name}`).join(' ')}`;
  const short = `q quit, arrows scroll, sort: ${orders.map(({ key }) => key).join(' ')}`;
  return ([long, middle].find((line) => line.length <= columns) ?? short).slice(0, columns);
}

/** Never more lines than there are, and none wider. */
export function screenOf(view: View, size: Size, paint: Paint): Screen {
  const { columns, rows: height } = size;
  const layout = layoutOf(view.rows, WATCH_FIELDS, columns, paint);
  const orders = ORDERS.filter(({ field }) => layout.fields.includes(field));
  const order = orders.find(({ key }) => key === view.order) ?? FULLEST;
  // Equally full ones stay in their places.
  const keyed = view.rows.map((row) => ({ row, key: usageKey(row.usage) }));
  keyed.sort((a, b) => order.compare(a.row, b.row) || (a.key < b.key ? -1 : 1));
  const sorted = keyed.map(({ row }) => row);
  const room = Math.max(height - 2 - layout.head.length, 1);
  const top = Math.max(0, Math.min(view.top, lastTop(sorted, room, layout)));
  const shown = sorted.slice(top, top + fitting(sorted, top, room, layout));
  const range = shown.length === 0 ? 'no groups' : `${top + 1}-${top + shown.length} of ${sorted.length}`;
  const head = view.problem === undefined ? heading(range, order, view, columns) : printable(view.problem);
  const body = [...layout.head, ...shown.flatMap(layout.lines)].slice(0, Math.max(height - 2, 0));
  const lines = [paint('bold', head.slice(0, columns)), ...body];
  while (lines.length < height - 1) lines.push('');
  return {
    lines: [...lines, keysLine(orders, columns)].slice(0, height),
    shown,
    top,
    order: order.key,
    orders: orders.map(({ key }) => key),
  };
}
