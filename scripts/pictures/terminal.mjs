// What a program shows on a terminal, recorded and drawn: an SVG that plays once, and whose last picture is what stays.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { bar, frame, MONOSPACE, svg, text } from '../../bench/lib/svg.mjs';

/** Of the terminal. */
const SIZES = { columns: 80, rows: 50 };
const SIZE = 12;
const [WIDTH, HEIGHT] = [7.25, 17];
const [LEFT, TOP] = [16, 52];

const ESCAPE = '\u001b';
/** A sequence with its parameters and its command, or a character. */
const PARTS = new RegExp(`${ESCAPE}\\[(\\??[\\d;]*)([A-Za-z])|[^${ESCAPE}]`, 'gsu');

/** Runs it on a terminal of its own, by script(1) of util-linux. Resolves with what it has written, and when: [ms, text][]. */
export async function record(command, { columns, rows } = SIZES) {
  const inside = `stty cols ${columns} rows ${rows}; exec ${command}`;
  const child = spawn('script', ['-qec', inside, '/dev/null'], {
    env: { ...process.env, TERM: 'xterm-256color', NO_COLOR: undefined },
    // Open: script(1) passes the end of its input on, as Ctrl-D.
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const began = performance.now();
  const chunks = [];
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (data) => chunks.push([performance.now() - began, data]));
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`${command}: exit code ${status}\n${chunks.map(([, data]) => data).join('')}`);
  return chunks;
}

/** The part of a terminal that the demo and `connectx watch` use. `rows` are arrays of { char, colour, bold }. */
class Screen {
  rows = [[]];
  #row = 0;
  #column = 0;
  #style = { colour: 'ink', bold: false };

  write(data) {
    for (const [part, parameters, command] of data.matchAll(PARTS)) {
      if (command === undefined) this.#put(part);
      else if (command === 'A') this.#row = Math.max(this.#row - Number(parameters || 1), 0);
      else if (command === 'G') this.#column = Number(parameters || 1) - 1;
      else if (command === 'H' && parameters === '') [this.#row, this.#column] = [0, 0];
      else if (command === 'K' && parameters === '') this.rows[this.#row].length = this.#column;
      else if (command === 'J' && parameters === '') this.rows.length = this.#row + 1;
      // The cursor is not drawn.
      else if (/^[hl]$/.test(command) && parameters === '?25') continue;
      else if (command === 'm') for (const code of parameters.split(';')) this.#paint(Number(code));
      else throw new Error(`a sequence that is not known here: ${JSON.stringify(part)}`);
    }
  }

  #put(char) {
    if (char === '\r') this.#column = 0;
    else if (char === '\n') this.rows[++this.#row] ??= [];
    else this.rows[this.#row][this.#column++] = { char, ...this.#style };
  }

  #paint(code) {
    if (code === 1) this.#style.bold = true;
    else if (code === 2) this.#style.colour = 'soft';
    else if (code === 22)
      this.#style = { ...this.#style, bold: false, ...(this.#style.colour === 'soft' && { colour: 'ink' }) };
    else if (code === 31) this.#style.colour = 'red';
    else if (code === 32) this.#style.colour = 'green';
    else if (code === 33) this.#style.colour = 'orange';
    else if (code === 39) this.#style.colour = 'ink';
    else if (code === 0) this.#style = { colour: 'ink', bold: false };
    else throw new Error(`a colour that is not known here: ${code}`);
  }
}

/** The rows that a terminal makes of a line. */
const broken = (cells, columns) =>
  Array.from({ length: Math.max(Math.ceil(cells.length / columns), 1) }, (_, n) =>
    cells.slice(n * columns, (n + 1) * columns),
  );

/** A row in runs of one style. */
function runsOf(cells) {
  const runs = [];
  for (const [column, cell] of cells.entries()) {
    if (cell === undefined || cell.char === ' ') continue;
    const last = runs.at(-1);
    const isBar = cell.char === '■';
    const gap = last === undefined ? 0 : column - last.column - last.text.length;
    if (
      last !== undefined &&
      gap <= 1 &&
      last.isBar === isBar &&
      !(isBar && gap) &&
      last.colour === cell.colour &&
      last.bold === cell.bold
    )
      last.text += ' '.repeat(gap) + cell.char;
    else runs.push({ column, text: cell.char, colour: cell.colour, bold: cell.bold, isBar });
  }
  return runs;
}

function drawn(runs, y) {
  return runs.map(({ column, text: content, colour, bold, isBar }) => {
    const x = LEFT + column * WIDTH;
    if (isBar) return bar(x, y - 10, content.length * WIDTH - 1, 11, colour);
    return text(x, y, content, {
      size: SIZE,
      colour,
      bold,
      more: `textLength="${Math.round(content.length * WIDTH * 10) / 10}"`,
    });
  });
}

/** What was recorded on the alternate screen, if there is one: it is gone when the program has ended. */
function onAlternate(chunks) {
  const [enter, leave] = ['h', 'l'].map((command) => `${ESCAPE}[?1049${command}`);
  const from = chunks.findIndex(([, data]) => data.includes(enter));
  if (from < 0) return chunks;
  const to = chunks.findIndex(([, data]) => data.includes(leave));
  const inside = chunks.slice(from, to + 1).map(([time, data]) => [time - chunks[from][0], data]);
  inside[0][1] = inside[0][1].slice(inside[0][1].indexOf(enter) + enter.length);
  inside.at(-1)[1] = inside.at(-1)[1].slice(0, inside.at(-1)[1].indexOf(leave));
  return inside;
}

/** The recording at `frames` moments, in `seconds`. */
export function terminalPicture(title, heading, recording, { seconds, frames, columns = SIZES.columns }) {
  const chunks = onAlternate(recording);
  const screen = new Screen();
  const last = chunks.at(-1)[0];
  const states = [];
  for (const [index, [time, data]] of chunks.entries()) {
    screen.write(data);
    const step = Math.floor((time / last) * frames);
    if (index < chunks.length - 1 && Math.floor((chunks[index + 1][0] / last) * frames) === step) continue;
    const rows = screen.rows.flatMap((cells) => broken(cells, columns)).map(runsOf);
    states.push({ at: (step / frames) * seconds, rows });
  }
  const count = Math.max(...states.map(({ rows }) => rows.length));
  const parts = [];
  for (let row = 0; row < count; row++) {
    const y = TOP + HEIGHT * row;
    // What the row shows, from when on.
    const shown = [];
    for (const { at, rows } of states) {
      const content = drawn(rows[row] ?? [], y).join('');
      if (content !== (shown.at(-1)?.content ?? '')) shown.push({ at, content });
    }
    for (const [n, { at, content }] of shown.entries()) {
      const next = shown[n + 1];
      const [from, to] = [`${at.toFixed(2)}s`, `${(next?.at ?? 0).toFixed(2)}s`];
      if (content === '') continue;
      // Without animation the last picture is what there is to see.
      if (next === undefined)
        parts.push(
          `<g>${content}${at > 0 ? `<set attributeName="visibility" to="hidden" begin="0s" end="${from}"/>` : ''}</g>`,
        );
      else
        parts.push(
          `<g visibility="hidden">${content}<set attributeName="visibility" to="visible" begin="${from}" end="${to}"/></g>`,
        );
    }
  }
  const [width, height] = [2 * LEFT + columns * WIDTH, TOP + HEIGHT * (count - 1) + 16];
  const chrome = [
    frame(1, 1, width - 2, height - 2, 'axis'),
    text(LEFT, 24, `$ ${heading}`, { size: SIZE, bold: true }),
  ];
  return svg(width, height, title, [...chrome, ...parts], { font: MONOSPACE });
}
