// A table of bars that grow: redrawn in place on a terminal, printed once, at its end, anywhere else. NO_COLOR is honoured.
import { styleText } from 'node:util';

const { stdout } = process;
const hasColors = stdout.isTTY && stdout.hasColors();
const paint = (style, text) => (hasColors ? styleText(style, text) : text);

export const bold = (text) => paint('bold', text);
export const dim = (text) => paint('dim', text);

const WIDTH = 78;

/** Whether tables are redrawn. A line that the terminal would break cannot be. */
export const isLive = stdout.isTTY && stdout.columns >= WIDTH && process.env.TERM !== 'dumb';

export class Table {
  #rows;
  #columns;
  #full;
  #counts;
  #height = 0;

  /** `full` is the length of the longest bar. */
  constructor(rows, columns, full) {
    this.#rows = rows;
    this.#columns = columns;
    this.#full = full;
    this.#counts = columns.map(() => rows.map(() => 0));
    if (isLive) this.#draw();
  }

  counts(column) {
    return this.#counts[column];
  }

  add(row, column) {
    this.#counts[column][row]++;
    if (isLive) this.#draw();
  }

  finish() {
    if (!isLive) this.#draw();
  }

  #draw() {
    const lines = this.#lines();
    if (this.#height > 0) stdout.moveCursor(0, -this.#height);
    console.log(lines.join('\n'));
    this.#height = lines.length;
  }

  #lines() {
    const name = Math.max(...this.#rows.map((row) => row.length));
    const cell = this.#full + 5;
    const line = (first, cells) => `  ${first.padEnd(name)}   ${cells.join('   ')}`.trimEnd();
    const totals = this.#counts.map((counts) => counts.reduce((sum, count) => sum + count, 0));
    return [
      line(
        'to',
        this.#columns.map((column) => bold(column.padEnd(cell))),
      ),
      ...this.#rows.map((row, index) =>
        line(
          row,
          this.#counts.map((counts) => this.#bar(counts[index], cell)),
        ),
      ),
      line(
        'total',
        totals.map((total) => bold(`${total}`.padStart(cell))),
      ),
    ];
  }

  #bar(count, cell) {
    const bar = '■'.repeat(count).padEnd(this.#full);
    return paint(count > 0 ? 'green' : 'dim', `${bar}${`${count}`.padStart(cell - this.#full)}`);
  }
}
