// What is printed: text tables.

/** Null: there is no such figure. */
export const number = (value, digits) =>
  value === null
    ? '-'
    : value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const ratio = (value) => `${number(value, 2)}x`;

/** The quartiles of a summary. */
export const spread = ({ low, high }, digits) => `${number(low, digits)}-${number(high, digits)}`;

/** `text` has the columns that are aligned to the left; numbers go to the right. */
export function table(columns, rows, text = [0]) {
  const widths = columns.map((head, at) => Math.max(head.length, ...rows.map((row) => row[at].length)));
  const cell = (content, at) => (text.includes(at) ? content.padEnd(widths[at]) : content.padStart(widths[at]));
  return [columns, ...rows].map((row) => `  ${row.map(cell).join('  ')}`.trimEnd()).join('\n');
}

/** One line for a target: { what, value, least } or { what, value, most }. */
export function verdict({ what, value, least, most }) {
  const met = isMet({ value, least, most });
  const bound = least === undefined ? `at most ${most}` : `at least ${least}`;
  return `  ${met ? 'met   ' : 'MISSED'}  ${what}: ${number(value, 2)} (${bound})`;
}

export const isMet = ({ value, least = -Infinity, most = Infinity }) => value >= least && value <= most;
