// The ports in use as they change: on a terminal, or as text or JSON for whoever reads it.
import { emitKeypressEvents } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { Selection } from './filter';
import { tcpCounters } from './kernel_files';
import { layoutOf, type Row, WATCH_FIELDS } from './table';
import { type Paint, plain } from './text';
import { OwnerNames } from './watch_owners';
import { Growth } from './watch_rows';
import { type Screen, screenOf, type View } from './watch_screen';
import { nativeFor } from '../kernel/load';
import { checkFilter, usageNow } from '../usage/port_usage';

export interface WatchOptions {
  /** Milliseconds. */
  readonly interval: number;
  /** How many samples; undefined: until a key or a signal. */
  readonly count: number | undefined;
  readonly selection: Selection;
  readonly how: 'screen' | 'text' | 'json';
  readonly paint: Paint;
}

interface Sample {
  readonly rows: readonly Row[];
  readonly connects: number | undefined;
}

/** Takes samples, and remembers what the next one is compared with. */
class Sampler {
  readonly #native = nativeFor('connectx watch');
  readonly #growth = new Growth();
  readonly #selection: Selection;
  readonly owners = new OwnerNames(this.#native);
  #opens: { readonly count: number; readonly at: number } | undefined;

  constructor(selection: Selection) {
    this.#selection = selection;
  }

  async sample(): Promise<Sample> {
    const { filter, includes } = this.#selection;
    const usage = await usageNow(this.#native, checkFilter(filter));
    const now = performance.now();
    return { rows: this.#growth.rowsOf(usage.filter(includes), now), connects: this.#connects(now) };
  }

  /** The rows with the names that are known. */
  named(rows: readonly Row[]): Row[] {
    return rows.map((row) => ({ ...row, process: this.owners.nameOf(row.usage) }));
  }

  #connects(at: number): number | undefined {
    const count = tcpCounters().get('ActiveOpens');
    const before = this.#opens;
    this.#opens = count === undefined ? undefined : { count, at };
    if (count === undefined || before === undefined) return undefined;
    return ((count - before.count) * 1000) / Math.max(at - before.at, 1);
  }
}

/** As one line of JSON. */
function jsonLine({ rows, connects }: Sample): string {
  const groups = rows.map(({ usage, growth = null, fullIn = null, process = null }) => ({
    ...usage,
    growthPerSecond: growth,
    secondsUntilFull: fullIn,
    process,
  }));
  return `${JSON.stringify({ time: new Date().toISOString(), connectsPerSecond: connects ?? null, groups })}\n`;
}

function textOf({ rows, connects }: Sample): string {
  const { head, lines } = layoutOf(rows, WATCH_FIELDS, undefined, plain);
  const rate = connects === undefined ? '' : `, ${connects.toFixed(1)} connects/s`;
  const title = `${new Date().toISOString()}  ${rows.length} groups${rate}`;
  return `${[title, ...head, ...rows.flatMap(lines)].join('\n')}\n\n`;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Aborted by the signals that end a program. */
function untilSignal(): AbortController {
  const ended = new AbortController();
  for (const signal of SIGNALS) process.once(signal, () => ended.abort());
  return ended;
}

/** After the pause: true. When it is all over: false, at once. */
function sleep(ms: number, signal: AbortSignal): Promise<boolean> {
  return pause(ms, true, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
    return false;
  });
}

async function print({ interval, count = Infinity, selection, how }: WatchOptions): Promise<void> {
  const sampler = new Sampler(selection);
  const { signal } = untilSignal();
  let n = 0;
  do {
    const { rows, connects } = await sampler.sample();
    await sampler.owners.look(rows.map(({ usage }) => usage));
    const sample = { rows: sampler.named(rows), connects };
    process.stdout.write(how === 'json' ? jsonLine(sample) : textOf(sample));
  } while (++n < count && (await sleep(interval, signal)));
}

const ENTER = '\x1b[?1049h\x1b[?25l'; // the alternate screen, no cursor
const LEAVE = '\x1b[?25h\x1b[?1049l';

/** How far a key scrolls, in pages or in groups. */
function scrolled(name: string, { top, shown }: Screen): number | undefined {
  const page = Math.max(shown.length - 1, 1);
  switch (name) {
    case 'up':
    case 'k':
      return top - 1;
    case 'down':
    case 'j':
      return top + 1;
    case 'pageup':
    case 'b':
      return top - page;
    case 'pagedown':
    case 'space':
      return top + page;
    case 'home':
      return 0;
    case 'end':
      return Infinity;
    default:
      return undefined;
  }
}

/** The terminal: what is on it, and what keys do to it, until the signal says that it is somebody else's again. */
class Terminal {
  readonly #sampler: Sampler;
  readonly #paint: Paint;
  readonly #signal: AbortSignal;
  #view: View = { rows: [], order: 'f', top: 0, connects: undefined, problem: undefined };
  #screen: Screen;

  constructor(sampler: Sampler, paint: Paint, signal: AbortSignal) {
    this.#sampler = sampler;
    this.#paint = paint;
    this.#signal = signal;
    this.#screen = this.draw();
  }

  show(change: Partial<View>): void {
    if (this.#signal.aborted) return;
    this.#view = { ...this.#view, ...change };
    this.draw();
  }

  draw(): Screen {
    const { columns, rows } = process.stdout;
    const view = { ...this.#view, rows: this.#sampler.named(this.#view.rows) };
    this.#screen = screenOf(view, { columns, rows }, this.#paint);
    this.#view = { ...this.#view, top: this.#screen.top, order: this.#screen.order };
    process.stdout.write(`\x1b[H${this.#screen.lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
    return this.#screen;
  }

  key(name: string): void {
    const top = scrolled(name, this.#screen);
    if (top !== undefined) this.show({ top });
    else if (this.#screen.orders.includes(name)) this.show({ order: name, top: 0 });
  }

  /** Whose the groups on the screen are, which takes a while: samples go on. */
  lookAtOwners(): void {
    const groups = this.#screen.shown.map(({ usage }) => usage);
    void this.#sampler.owners.look(groups).then(
      (isNew) => {
        if (isNew) this.show({});
      },
      (error: unknown) => this.show({ problem: (error as Error).message }),
    );
  }
}

async function sampleOn(
  terminal: Terminal,
  sampler: Sampler,
  signal: AbortSignal,
  { interval, count = Infinity }: WatchOptions,
): Promise<void> {
  let n = 0;
  do {
    try {
      const { rows, connects } = await sampler.sample();
      terminal.show({ rows, connects, problem: undefined });
      terminal.lookAtOwners();
    } catch (error) {
      terminal.show({ problem: (error as Error).message });
    }
  } while ((await sleep(interval, signal)) && ++n < count);
}

async function watchOnTerminal(options: WatchOptions): Promise<void> {
  const { stdin, stdout } = process;
  const sampler = new Sampler(options.selection);
  const ended = untilSignal();
  stdout.write(ENTER);
  const terminal = new Terminal(sampler, options.paint, ended.signal);
  const onKey = (_text: unknown, key: { name?: string; ctrl?: boolean } | undefined): void => {
    const { name = '', ctrl = false } = key ?? {};
    if (name === 'q' || (ctrl && name === 'c')) ended.abort();
    else if (!ctrl) terminal.key(name);
  };
  const onResize = () => void terminal.draw();
  emitKeypressEvents(stdin);
  stdin.on('keypress', onKey);
  stdin.once('end', () => ended.abort());
  stdout.on('resize', onResize);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    await sampleOn(terminal, sampler, ended.signal, options);
  } finally {
    stdin.off('keypress', onKey);
    stdin.setRawMode(false);
    stdin.pause();
    stdout.off('resize', onResize);
    // Nothing that is still under way may draw over what was there before.
    ended.abort();
    stdout.write(LEAVE);
  }
}

/** Until a key, a signal or the count ends it. */
export function watch(options: WatchOptions): Promise<void> {
  return options.how === 'screen' ? watchOnTerminal(options) : print(options);
}
