// What is printed: text tables.

export const number = (value, digits) =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const ratio = (value) => `${number(value, 2)}x`;

/** The quartiles of a summary. */
export const spread = ({ low, high }, digits) => `${number(low, digits)}-${number(high, digits)}`;

/** The first column to the left, numbers to the right. */
export function table(columns, rows) {
  const widths = columns.map((head, at) => Math.max(head.length, ...rows.map((row) => row[at].length)));
  const line = (row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ');
  return [line(columns), ...rows.map(line)].map((text) => `  ${text.trimEnd()}`).join('\n');
}

/** One line for a target: { what, value, least } or { what, value, most }. */
export function verdict({ what, value, least, most }) {
  const met = isMet({ value, least, most });
  const bound = least === undefined ? `at most ${most}` : `at least ${least}`;
  return `  ${met ? 'met   ' : 'MISSED'}  ${what}: ${number(value, 2)} (${bound})`;
}

export const isMet = ({ value, least = -Infinity, most = Infinity }) => value >= least && value <= most;
