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

export const colourOf = (ratio: number): 'red' | 'yellow' | 'green' =>
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

/** One thing that the doctor has looked at. */
export interface Check {
  readonly name: string;
  readonly level: 'ok' | 'note' | 'finding';
  readonly message: string;
  /** A command, or what else to do. */
  readonly remedy?: string | undefined;
  /** What makes the remedy outlast the next start of the machine, where that is something else. */
  readonly lasting?: string | undefined;
}

const MARKS = { ok: 'ok', note: 'note', finding: 'FINDING' } as const;
const MARK_COLOURS = { ok: 'green', note: 'yellow', finding: 'red' } as const;

export function doctorText(checks: readonly Check[], paint: Paint): string {
  const below = (arrow: string, text: string | undefined) =>
    text === undefined ? [] : [`${' '.repeat(9)}${arrow} ${printable(text)}`];
  const lines = checks.flatMap(({ level, message, remedy, lasting }) => [
    `${paint(MARK_COLOURS[level], MARKS[level].padEnd(8))} ${printable(message)}`,
    ...below('->', remedy),
    ...below('for good:', lasting),
  ]);
  return `${lines.join('\n')}\n`;
}
