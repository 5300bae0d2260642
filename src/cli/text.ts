// What the command line shows, as text: no I/O, so that it can be tested with plain data.
import type { PortUsage } from '../usage/usage';

/** Wraps text in a colour, or does not. */
export type Paint = (colour: 'red' | 'yellow' | 'green' | 'bold', text: string) => string;

const CODES = { red: 31, yellow: 33, green: 32, bold: 1 } as const;

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Text of others, such as the name of a process, as one line that a terminal takes no orders from: control characters (C0, DEL, C1), and
 * those that change lines or the direction of writing, are shown as `\\x1b` and `\\u202e`.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

export const plain: Paint = (_, text) => text;
export const coloured: Paint = (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`;

const colourOf = (ratio: number): 'red' | 'yellow' | 'green' =>
  ratio >= 0.8 ? 'red' : ratio >= 0.5 ? 'yellow' : 'green';

/** As `net` writes it: IPv6 in brackets. */
export function endpoint({ family }: Pick<PortUsage, 'family'>, address: string, port: number): string {
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Never rounded up to 100: it says 100 when nothing is left. */
export function percent(ratio: number): string {
  return `${ratio >= 1 ? 100 : Math.min(99, Math.round(ratio * 100))} %`;
}

/** A bar of exactly `width` characters; something in use is something to be seen. */
export function bar(ratio: number, width: number): string {
  const filled = ratio <= 0 ? 0 : ratio >= 1 ? width : Math.max(1, Math.min(width - 1, Math.round(ratio * width)));
  return '#'.repeat(filled) + '.'.repeat(width - filled);
}

interface Column {
  readonly title: string;
  readonly right: boolean;
  readonly cell: (usage: PortUsage) => string;
}

const left = (title: string, cell: Column['cell']): Column => ({ title, right: false, cell });
const right = (title: string, cell: Column['cell']): Column => ({ title, right: true, cell });

const RATIO = right('FULL', ({ ratio }) => percent(ratio));
const DESTINATION = left('DESTINATION', (usage) => endpoint(usage, usage.remoteAddress, usage.remotePort));
const ALL: readonly Column[] = [
  left('PROTO', ({ protocol }) => protocol),
  left('SOURCE', ({ localAddress }) => localAddress),
  DESTINATION,
  right('USED', ({ used }) => `${used}`),
  right('TIME-WAIT', ({ timeWait }) => `${timeWait}`),
  right('CAPACITY', ({ capacity }) => `${capacity}`),
  RATIO,
];
/** What is left out first where there is little room. */
const DISPENSABLE = ['TIME-WAIT', 'CAPACITY', 'PROTO', 'USED', 'SOURCE'];
const GAP = 2;
const LEAST_BAR = 10;
const MOST_BAR = 40;

function widthsOf(columns: readonly Column[], usage: readonly PortUsage[]): number[] {
  return columns.map(({ title, cell }) => Math.max(title.length, ...usage.map((one) => printable(cell(one)).length)));
}

const total = (widths: readonly number[]): number =>
  widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);

/**
 * The table, a line for each group and one for the titles. With a `width`, no line is longer: columns are left out, and what
 * is still too long is cut off; and where there is room for it each line ends in a bar.
 */
export function usageTable(usage: readonly PortUsage[], width: number | undefined, paint: Paint): string[] {
  let columns = ALL;
  let widths = widthsOf(columns, usage);
  for (const title of DISPENSABLE) {
    if (width === undefined || total(widths) <= width) break;
    columns = columns.filter((column) => column.title !== title);
    widths = widthsOf(columns, usage);
  }
  if (width !== undefined && total(widths) > width) {
    const at = columns.indexOf(DESTINATION);
    widths[at] = Math.max(1, (widths[at] ?? 0) - (total(widths) - width));
  }
  const room = width === undefined ? 0 : Math.min(MOST_BAR, width - total(widths) - GAP);
  const line = (texts: readonly string[]) =>
    texts
      .map((text, index) => {
        const size = widths[index] ?? 0;
        const cut = text.length > size ? text.slice(0, size) : text;
        return columns[index]?.right === true ? cut.padStart(size) : cut.padEnd(size);
      })
      .join(' '.repeat(GAP))
      .slice(0, width);
  const rows = usage.map((one) => {
    const text = paint(colourOf(one.ratio), line(columns.map(({ cell }) => printable(cell(one)))));
    return room < LEAST_BAR ? text : `${text}${' '.repeat(GAP)}${paint(colourOf(one.ratio), bar(one.ratio, room))}`;
  });
  return [paint('bold', line(columns.map(({ title }) => title))), ...rows];
}

export const METRICS = [
  { name: 'connectx_ports_used', help: 'Ephemeral ports in use, TIME-WAIT included', key: 'used' },
  { name: 'connectx_ports_time_wait', help: 'Ephemeral ports in TIME-WAIT', key: 'timeWait' },
  { name: 'connectx_ports_capacity', help: 'Ephemeral ports that there are', key: 'capacity' },
  { name: 'connectx_ports_ratio', help: 'Ephemeral ports in use, of those that there are, 0 to 1', key: 'ratio' },
] as const;

/** In the order in which they are written. */
export const labelsOf = ({ protocol, family, localAddress, remoteAddress, remotePort }: PortUsage) => ({
  protocol,
  family,
  local_address: localAddress,
  remote_address: remoteAddress,
  remote_port: remotePort,
});

/** The text format of Prometheus (exposition format 0.0.4). */
export function prometheusText(usage: readonly PortUsage[]): string {
  return METRICS.map(({ name, help, key }) => {
    const lines = usage.map((one) => {
      // Numeric addresses have nothing in them that needs escaping.
      const labels = Object.entries(labelsOf(one)).map(([label, value]) => `${label}="${value}"`);
      return `${name}{${labels.join(',')}} ${one[key]}\n`;
    });
    return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join('')}`;
  }).join('');
}

/** One thing that the doctor has looked at. */
export interface Check {
  readonly name: string;
  readonly level: 'ok' | 'note' | 'finding';
  readonly message: string;
  /** A command, or what else to do. */
  readonly remedy?: string | undefined;
}

const MARKS = { ok: 'ok', note: 'note', finding: 'FINDING' } as const;
const MARK_COLOURS = { ok: 'green', note: 'yellow', finding: 'red' } as const;

export function doctorText(checks: readonly Check[], paint: Paint): string {
  const lines = checks.flatMap(({ level, message, remedy }) => [
    `${paint(MARK_COLOURS[level], MARKS[level].padEnd(8))} ${printable(message)}`,
    ...(remedy === undefined ? [] : [`${' '.repeat(9)}-> ${printable(remedy)}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
